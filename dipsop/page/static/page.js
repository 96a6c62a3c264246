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

let pictures = [], chosen = null, shown = {};
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

// Say for those who cannot see it how a picture goes: every change, and every quarter of the way.
function say(picture, before) {
  const quarter = (each) => Math.floor(4 * (each?.done ?? 0));
  if (before?.stage === picture.stage && quarter(before) === quarter(picture)) return;
  const way = picture.stage === "running" ? `${25 * quarter(picture)} %, ` : "";
  at("said").textContent = `${picture.name}: ${way}${state(picture)}`;
}

// Ask the server how things are, and show it.
async function refresh() {
  const told = await wire.told();
  for (const picture of told) say(picture, pictures.find(({ key }) => key === picture.key));
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
    if (picture.stage === "ready") await trying(() => wire.start(picture.key, options.choice()));
    await trying(refresh);
  }
  showAll();
}

function choose(key) {
  const picture = pictures.find((each) => each.key === key);
  if (!picture?.width) return;
  chosen = key;
  shown = {};
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
  at("sentence").textContent = wire.sentence(picture.problem ?? "");
  at("start").textContent = busy(picture) ? "Begin anew with these" : "Start anew with these";
  at("show-found").disabled = !picture.version;
  showAgain(picture);
  showDownloads(picture);
}

// Load what is new to be shown: the picture that came, the first look, the fit as it goes, the result.
function showLooks(picture) {
  const version = picture.version ?? 0;
  put(picture, "before", "before", 0);
  if (picture.live && busy(picture)) put(picture, "after", "live", picture.live);
  else if (version) put(picture, "after", "after", version);
  else put(picture, "after", "first", 0);
  if (version) put(picture, "found", "found", version);
  at("tag-after").textContent = after(picture);
}

// What stands right of the line.
function after(picture) {
  if (busy(picture) && picture.live) return picture.seconds_left === null ? "First look" : "So far";
  if (!picture.version) return "First look";
  return busy(picture) ? "Before this run" : "After";
}

async function put(picture, place, name, version) {
  const address = wire.look(picture.key, name, version);
  if (shown[place] === address) return;
  shown[place] = address;
  const image = await load(address).catch(() => null); // written anew just now: the next one will come
  if (image && shown[place] === address) view.set(place, image);
  else if (!image && shown[place] === address) shown[place] = "";
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

// The command line that made the result; once a choice is touched, the one that would make the next.
let asked = 0, touched = false;
async function showCommand() {
  const picture = current(), mine = ++asked;
  if (!picture) return;
  const line = picture.result_command && !touched && !busy(picture)
    ? picture.result_command
    : await wire.command(picture.key, busy(picture) && picture.again ? againChoice() : options.choice()).catch((error) => error.message);
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
    await copy(at("command").textContent);
    at("copy").textContent = "Copied";
    setTimeout(() => { at("copy").textContent = "Copy"; }, 1500);
  });
  at("options").addEventListener("submit", (event) => { event.preventDefault(); start(false); });
  at("show-found").addEventListener("change", () => { view.showFound = at("show-found").checked; view.draw(); });
  at("size").addEventListener("input", () => { brush.size = Number(at("size").value); view.draw(); });
  for (const radio of document.querySelectorAll("[name=brush]"))
    radio.addEventListener("change", () => { brush.mode = radio.value; at("tools").dataset.brush = radio.value; view.draw(); });
  at("zoom-in").addEventListener("click", () => view.zoomBy(1.5));
  at("zoom-out").addEventListener("click", () => view.zoomBy(1 / 1.5));
  at("fit").addEventListener("click", () => view.fit());
  at("single").addEventListener("click", () => view.zoomBy(1 / view.scale));
  view.changed = () => { at("zoom").textContent = `${Math.round(100 * view.scale)} %`; };
  brush.changed = () => { if (chosen) { strokes.set(chosen, brush.strokes); showAgain(current()); } };
}

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
  window.addEventListener("beforeunload", (event) => { if (pictures.some((each) => busy(each) || each.version)) event.preventDefault(); });
  keepAsking();
}

trying(begin);
