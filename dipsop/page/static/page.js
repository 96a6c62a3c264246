// The page: what the server tells, once a second, and what a person does, brought together.

import { Brush } from "./brush.js";
import { listen } from "./hand.js";
import { Options, copy } from "./options.js";
import { Queue, clock, share, state } from "./queue.js";
import { wireTabs } from "./tabs.js";
import { Uploads } from "./upload.js";
import { View, load } from "./view.js";
import * as wire from "./wire.js";

const at = (id) => document.getElementById(id);
const WORDS = { out: "The picture", corruption_map: "What was found", record: "Record", mask: "What was filled", protect: "What was to stay" };

const view = new View(at("stage"), at("canvas"), at("wipe"), at("divider"));
const brush = new Brush(view);
listen(view, brush);

let pictures = [], chosen = null, shown = {}, coming = {}; // the looks that are there, and that are loaded, by their place
const strokes = new Map(); // of each picture, by its key
const queue = new Queue(at("queue"), choose, remove);
let options, uploads;

const current = () => pictures.find((picture) => picture.key === chosen);
const busy = (picture) => picture?.stage === "waiting" || picture?.stage === "running";

function complain(error) {
  at("trouble").textContent = error.message;
  at("trouble").hidden = false;
}

async function trying(action) {
  at("trouble").hidden = true;
  try {
    return await action();
  } catch (error) {
    complain(error);
    return null;
  }
}

// What is said for those who cannot see it of how a picture goes: every change, and every quarter of the way.
function news(picture, before) {
  const quarter = (each) => Math.floor(4 * (each?.done ?? 0));
  if (before?.stage === picture.stage && quarter(before) === quarter(picture)) return [];
  const way = picture.stage === "running" ? `${25 * quarter(picture)} %, ` : "";
  return [`${picture.name}: ${way}${state(picture)}`];
}

// Ask the server how things are, and show it.
async function refresh() {
  const told = await wire.told();
  const said = told.flatMap((picture) => news(picture, pictures.find(({ key }) => key === picture.key)));
  if (said.length) at("said").textContent = said.join(". ");
  pictures = told;
  showAll();
}

async function keepAsking() {
  for (let lost = false; ;) {
    try {
      await refresh();
      if (lost) at("trouble").hidden = true;
      lost = false;
    } catch (error) {
      complain(error);
      if (error.status === 404) return; // the tab is gone
      lost = true;
    }
    await new Promise((wake) => setTimeout(wake, pictures.some(busy) ? 700 : 2000));
  }
}

async function came(picture) {
  if (picture) {
    pictures = [...pictures.filter(({ key }) => key !== picture.key), picture]; // asked for meanwhile, it may be there
    if (!current() && picture.stage !== "refused") choose(picture.key);
    await trying(async () => { // at once: a second try would hide what the first had to complain of
      if (picture.stage === "ready") await wire.start(picture.key, options.choice());
      await refresh();
    });
  }
  showAll();
}

function choose(key) {
  const picture = pictures.find((each) => each.key === key);
  if (!picture?.width) return;
  chosen = key;
  shown = {};
  coming = {};
  touched = false;
  view.show(picture.width, picture.height);
  brush.take(strokes.get(key) ?? [], picture.width, picture.height);
  showAll();
  showCommand();
}

async function remove(key) {
  uploads.forget(key);
  if (pictures.some((picture) => picture.key === key)) await trying(() => wire.remove(key));
  pictures = pictures.filter((picture) => picture.key !== key);
  strokes.delete(key);
  if (chosen === key) {
    chosen = null;
    const next = pictures.find((picture) => picture.width);
    if (next) choose(next.key);
  }
  showAll();
}

function showAll() {
  at("pictures").toggleAttribute("data-empty", !pictures.length && !uploads.sending.length);
  at("pictures").toggleAttribute("data-none", !current());
  queue.show([...pictures, ...uploads.sending], chosen);
  const done = pictures.filter((picture) => picture.version).length;
  at("zip").hidden = done < 2;
  at("zip").href = wire.zip();
  showPicture();
}

function showPicture() {
  const picture = current();
  if (!picture) return;
  at("canvas").setAttribute("aria-label", `${picture.name}, ${picture.width} by ${picture.height} pixels, before and after`);
  showLooks(picture);
  at("progress").hidden = !busy(picture);
  if (busy(picture)) {
    const bar = at("progress").querySelector("progress");
    if (picture.seconds_left === null) bar.removeAttribute("value");
    else bar.value = picture.done;
    at("left").textContent = picture.stopping ? "stopping, with what there is" : picture.done >= 0.999 ? "the last look" : state(picture);
    at("stop").disabled = picture.stopping;
  }
  at("sentence").hidden = picture.stage !== "failed";
  at("sentence").textContent = wire.sentence(picture.problem ?? "", picture.name);
  at("start").textContent = busy(picture) ? "Begin anew with these" : "Start anew with these";
  at("show-found").disabled = !picture.version;
  showAgain(picture);
  showDownloads(picture);
}

// Load what is new to be shown: the picture that came, the first look, the fit as it goes, the result.
function showLooks(picture) {
  const version = picture.version ?? 0;
  put(picture, "before", "before", 0);
  if (picture.live && busy(picture)) put(picture, "after", "live", picture.live, after(picture));
  else if (version) put(picture, "after", "after", version, after(picture));
  else put(picture, "after", "first", 0, after(picture));
  if (version && at("show-found").checked) put(picture, "found", "found", version);
}

// What stands right of the line.
function after(picture) {
  if (busy(picture) && picture.live) return picture.seconds_left === null ? "First look" : "So far";
  if (!picture.version) return "First look";
  return busy(picture) ? "Before this run" : "After";
}

// Load one at a time in its place: on a slow line each would be replaced before it came.
async function put(picture, place, name, version, words) {
  const address = wire.look(picture.key, name, version), here = coming;
  if (shown[place] !== address) {
    if (here[place]) return;
    here[place] = true;
    const image = await load(address).catch(() => null); // written anew just now: the next one will come
    here[place] = false;
    if (!image || here !== coming) return; // another picture was chosen
    shown[place] = address;
    view.set(place, image);
  }
  if (words) at("tag-after").textContent = words;
}

function showAgain(picture) {
  const painted = brush.strokes.some(({ mode }) => mode === "missed" || (mode === "stay" && picture.version));
  at("again").disabled = !painted || busy(picture);
  at("undo").disabled = !brush.strokes.length;
}

function showDownloads(picture) {
  at("take").hidden = !picture.version;
  if (!picture.version || at("take").dataset.version === `${picture.key} ${picture.version}`) return;
  at("take").dataset.version = `${picture.key} ${picture.version}`;
  const { fraction_corrupted: fraction, seconds, reason, notes = [] } = picture.result;
  const found = fraction ? `${share(fraction)} of the values ${picture.files.includes("mask") ? "filled" : "found and replaced"}` : "Nothing found: the picture is as it came";
  const ended = `${found}, in ${clock(seconds)}${reason === "interrupted" ? ", stopped early" : ""}.`;
  at("summary").textContent = [ended, ...notes].join(" ");
  at("downloads").replaceChildren(...picture.files.map((part) => {
    const link = document.createElement("a");
    Object.assign(link, { href: wire.file(picture.key, part, picture.version), textContent: WORDS[part], download: "" });
    link.className = part === "out" ? "button primary" : "button";
    link.dataset.part = part;
    return link;
  }));
  showCommand();
}

const stays = () => brush.strokes.some(({ mode }) => mode === "stay");

// The command line that made the result or is making one; once a choice is touched, the one that would make the next.
let asked = 0, touched = false;
async function showCommand() {
  const picture = current(), mine = ++asked;
  if (!picture) return;
  const made = busy(picture) ? picture.command : picture.result_command;
  const line = made && !touched ? made : await wire.command(picture.key, options.choice(), stays()).catch((error) => error.message);
  if (mine !== asked) return;
  const parts = line.split(/(?= --)/).map((part) => Object.assign(document.createElement("span"), { textContent: part }));
  at("command").replaceChildren(...parts);
}

const againChoice = () => ({ again: true, seed: options.choice().seed });

async function start(again) {
  const picture = current();
  if (!picture || !options.valid()) return;
  await trying(async () => {
    // Both are drawn before the first is sent: meanwhile another picture, and its strokes, may be chosen.
    const layers = ["missed", "stay"];
    const drawn = await Promise.all(layers.map((layer) => brush.blob(layer)));
    for (const [k, layer] of layers.entries()) await wire.paint(picture.key, layer, drawn[k]);
    touched = false;
    layDownBrush();
    await wire.start(picture.key, again ? againChoice() : options.choice());
    await refresh();
  });
  showCommand();
}

function layDownBrush() {
  const move = document.querySelector('[name=brush][value=""]');
  move.checked = true;
  move.dispatchEvent(new Event("change"));
}

function wireUp() {
  at("stop").addEventListener("click", () => trying(() => wire.stop(chosen).then(refresh)));
  at("again").addEventListener("click", () => start(true));
  at("undo").addEventListener("click", () => { brush.undo(); strokes.set(chosen, brush.strokes); showPicture(); });
  at("copy").addEventListener("click", async () => {
    if (await trying(() => copy(at("command").textContent)) === null) return;
    at("copy").textContent = "Copied";
    setTimeout(() => { at("copy").textContent = "Copy"; }, 1500);
  });
  at("options").addEventListener("submit", (event) => { event.preventDefault(); start(false); });
  at("show-found").addEventListener("change", () => { view.showFound = at("show-found").checked; view.draw(); showPicture(); });
  at("trouble").addEventListener("click", () => { at("trouble").hidden = true; });
  at("size").addEventListener("input", () => { brush.size = Number(at("size").value); view.draw(); });
  for (const radio of document.querySelectorAll("[name=brush]"))
    radio.addEventListener("change", () => { brush.mode = radio.value; at("tools").dataset.brush = radio.value; view.draw(); });
  at("zoom-in").addEventListener("click", () => view.zoomBy(1.5));
  at("zoom-out").addEventListener("click", () => view.zoomBy(1 / 1.5));
  at("fit").addEventListener("click", () => view.fit());
  at("single").addEventListener("click", () => view.zoomBy(1 / view.scale));
  view.changed = () => { at("zoom").textContent = `${Math.round(100 * view.scale)} %`; };
  brush.changed = () => {
    if (!chosen) return;
    strokes.set(chosen, brush.strokes);
    showAgain(current());
    if (touched) showCommand();
  };
}

const unfinished = () => pictures.some((each) => busy(each) || each.version) || uploads.sending.some(({ stage }) => stage === "sending");

async function begin() {
  const about = await wire.about();
  await wire.open();
  options = new Options(about, () => { touched = true; showCommand(); });
  uploads = new Uploads(about, came);
  at("private").textContent = about.local ? "Nothing leaves this computer" : "Pictures stay on the computer that runs dipsop";
  wireUp();
  wireTabs(about);
  window.addEventListener("pagehide", () => wire.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
  window.addEventListener("beforeunload", (event) => { if (unfinished()) event.preventDefault(); });
  keepAsking();
}

trying(begin);
