// RUN holds the list as columns, the most suspect first; INSIDE the pictures of the first of them.
const TILES = 60; // of a page of the list
const ALL_RIGHT = 20; // so many kept in a row: what follows is hardly worth a look
const MOST_CLASSES = 24; // of the table; more make a list of the commonest pairs
const KEY = "dipsop labels " + RUN.run;
const count = RUN.samples.length;
const wide = matchMedia("(min-width: 52rem)"); // as in page.css
const $ = (id) => document.getElementById(id);
const name = (k) => RUN.classes[k];

// What was decided: rank from 0 → {what: "keep" | "change" | "skip", label}. Kept in the browser with every decision.
const decided = new Map();
let keeps = true;
try {
  for (const [i, what, label] of JSON.parse(localStorage.getItem(KEY) || "[]")) decided.set(i, {what, label});
} catch (error) { keeps = false; }

let view = []; // ranks that the filters let through
let at = 0; // place in it
let unsaved = false;
const undone = []; // [rank, what was decided before]

function remember() {
  unsaved = true;
  try {
    localStorage.setItem(KEY, JSON.stringify([...decided].map(([i, d]) => [i, d.what, d.label])));
  } catch (error) { keeps = false; }
}

// Pictures: those inside, and chunks of the others, each a script that calls pictures() once it is there.
const chunks = new Map();
window.pictures = (number, packed) => chunks.set(number, packed);

function picture(i) {
  if (i < RUN.in_page) return INSIDE[i];
  const packed = chunks.get(Math.floor((i - RUN.in_page) / RUN.chunk));
  return packed && packed[(i - RUN.in_page) % RUN.chunk];
}

function fetchChunk(i) {
  const number = Math.floor((i - RUN.in_page) / RUN.chunk);
  if (i < RUN.in_page || chunks.has(number)) return;
  chunks.set(number, null); // on its way
  const script = document.createElement("script");
  script.src = `${RUN.beside}/${number}.js`;
  script.onload = () => { drawList(); drawStage(); };
  script.onerror = () => say(`The pictures in ${RUN.beside} are missing: keep that folder beside this page.`);
  document.head.append(script);
}

function show(image, i) {
  const packed = picture(i);
  image.hidden = !packed;
  if (!packed) return fetchChunk(i);
  image.src = "data:image/webp;base64," + packed;
}

// The list.
function fits(i) {
  const [state, given, suggested] = [$("state").value, $("given").value, $("suggested").value];
  if (given !== "" && RUN.given[i] !== +given) return false;
  if (suggested !== "" && RUN.suggested[i] !== +suggested) return false;
  if (state === "all") return true;
  if (state === "other") return RUN.suggested[i] !== RUN.given[i];
  const what = decided.get(i)?.what ?? "open";
  return what === state;
}

function filter() {
  view = [];
  for (let i = 0; i < count; i++) if (fits(i)) view.push(i);
  at = 0;
  draw();
}

function tile(i, place) {
  const [button, image, words, mark] = ["button", "img", "span", "span"].map((tag) => element(tag));
  Object.assign(button, {type: "button", className: "tile"});
  image.alt = "";
  words.className = "words";
  mark.className = "mark";
  words.append(line(name(RUN.given[i])));
  if (RUN.suggested[i] !== RUN.given[i]) words.append(line("→ ", strong(name(RUN.suggested[i]))));
  button.title = RUN.samples[i];
  button.append(image, words, mark);
  button.onclick = () => go(place);
  show(image, i);
  return button;
}

function drawList() {
  const first = Math.floor(at / TILES) * TILES;
  const shown = view.slice(first, first + TILES);
  $("list").replaceChildren(...shown.map((i, k) => tile(i, first + k)));
  $("nothing").hidden = view.length > 0;
  $("pages").hidden = view.length <= TILES;
  $("which").textContent = `page ${first / TILES + 1} of ${Math.max(1, Math.ceil(view.length / TILES))}`;
  $("earlier").disabled = first === 0;
  $("later").disabled = first + TILES >= view.length;
  drawMarks();
}

function drawMarks() {
  const first = Math.floor(at / TILES) * TILES;
  [...$("list").children].forEach((button, k) => {
    const i = view[first + k];
    const d = decided.get(i);
    button.setAttribute("aria-current", first + k === at);
    if (d) button.dataset.state = d.what; else delete button.dataset.state;
    const state = !d ? "not looked at" : d.what === "change" ? name(d.label) : {keep: "kept", skip: "skipped"}[d.what];
    button.lastChild.textContent = d ? state : "";
    button.setAttribute("aria-label",
      `${i + 1}: ${RUN.samples[i]}, given ${name(RUN.given[i])}, suggested ${name(RUN.suggested[i])}, ${state}`);
  });
}

// The label in question.
function drawStage() {
  const i = view[at];
  $("stage").hidden = i === undefined;
  if (i === undefined) return;
  const [given, suggested] = [RUN.given[i], RUN.suggested[i]];
  const d = decided.get(i);
  drawPicture(i);
  $("name").textContent = `${i + 1}. ${RUN.home === null ? "image " : ""}${RUN.samples[i]}`;
  $("question").replaceChildren("given ", strong(name(given)),
    ...(suggested === given ? [", and nothing else suggested"] : [", suggested ", strong(name(suggested))]));
  $("facts").textContent = `score ${RUN.score[i].toFixed(2)}, ` +
    `the network gives ${name(given)} ${(100 * RUN.probability[i]).toFixed(1)}\u00a0%`;
  $("keep").replaceChildren("Keep ", name(given), " ", key("K"));
  $("change").replaceChildren("Change to ", name(suggested), " ", key("C"));
  $("change").hidden = suggested === given;
  $("keep").setAttribute("aria-pressed", d?.what === "keep");
  $("change").setAttribute("aria-pressed", d?.what === "change" && d.label === suggested);
  $("skip").setAttribute("aria-pressed", d?.what === "skip");
  [...$("classes").children].forEach((button, k) => button.setAttribute("aria-pressed", d?.what === "change" && d.label === k));
  $("others").value = d?.what === "change" ? d.label : "";
  $("undo").disabled = undone.length === 0;
  $("back").disabled = at === 0;
  $("on").disabled = at >= view.length - 1;
}

function drawPicture(i) {
  const image = $("picture");
  image.alt = `${RUN.samples[i]}, given ${name(RUN.given[i])}`;
  show(image, i);
  $("original").removeAttribute("href");
  if (RUN.home === null || location.protocol !== "file:") return;
  let url;
  try {
    const path = RUN.samples[i].split("/").map(encodeURIComponent).join("/");
    url = path.startsWith("/") ? "file://" + path : RUN.home + path;
  } catch (error) { return; } // a name that is no text
  const whole = new Image(); // the file itself, where the browser can show it; the small picture stands in
  whole.onload = () => {
    if (view[at] !== i) return;
    image.src = url;
    $("original").href = url;
  };
  whole.src = url;
}

function element(tag, ...content) {
  const made = document.createElement(tag);
  made.append(...content);
  return made;
}

const strong = (text) => element("strong", text);
const key = (text) => element("kbd", text);
const line = (...content) => element("span", ...content);

function drawCount() {
  const pair = $("given").value !== "" || $("suggested").value !== "";
  const among = pair ? view : {length: count};
  const seen = pair ? view.filter((i) => decided.has(i)).length : decided.size;
  const changed = [...decided.values()].filter((d) => d.what === "change").length;
  $("count").textContent = `${seen} of ${among.length} looked at` + (pair ? " here" : "") + `, ${changed} changed` + (pair ? " in all" : "");
  $("bar").max = Math.max(1, among.length);
  $("bar").value = seen;
}

function draw() {
  drawList();
  drawStage();
  drawCount();
}

function say(sentence) { $("said").textContent = sentence; }

function go(place) {
  if (place < 0 || place >= view.length) return;
  const turned = Math.floor(place / TILES) !== Math.floor(at / TILES);
  at = place;
  if (turned) drawList(); else drawMarks();
  drawStage();
  if (wide.matches) $("list").children[at % TILES].scrollIntoView({block: "nearest"}); // else the picture is above it
}

function turn(by) {
  go((Math.floor(at / TILES) + by) * TILES);
  $("filters").scrollIntoView();
}

// Decisions.
function decide(what, label) {
  const i = view[at];
  if (i === undefined) return;
  undone.push([i, decided.get(i)]);
  decided.set(i, {what, label});
  remember();
  const words = {keep: `kept ${name(label)}`, change: `changed to ${name(label)}`, skip: "skipped"}[what];
  say(`${i + 1} ${words}.${advice()}`);
  drawCount();
  if (at < view.length - 1) go(at + 1); else { drawMarks(); drawStage(); }
}

function advice() {
  if (at === view.length - 1) return " That was the last of these.";
  const last = view.slice(Math.max(0, at + 1 - ALL_RIGHT), at + 1);
  const right = last.length === ALL_RIGHT && last.every((i) => decided.get(i)?.what === "keep");
  if (right) return ` The last ${ALL_RIGHT} were all right: those that follow are less suspect still.`;
  return keeps ? "" : " This browser keeps nothing: save before you leave.";
}

function undo() {
  const last = undone.pop();
  if (!last) return;
  const [i, before] = last;
  if (before) decided.set(i, before); else decided.delete(i);
  remember();
  if (!view.includes(i)) { $("filters").reset(); filter(); }
  go(view.indexOf(i));
  drawCount();
  say(`${i + 1} is as before.`);
}

const keep = () => decide("keep", RUN.given[view[at]]);
const skip = () => decide("skip", RUN.given[view[at]]);
const label = (k) => k === RUN.given[view[at]] ? keep() : decide("change", k);
const change = () => { if (RUN.suggested[view[at]] !== RUN.given[view[at]]) label(RUN.suggested[view[at]]); };

// corrections.csv
function csv() {
  const quoted = (text) => /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  const lines = [["sample", "given_label", "decision", "label"]];
  for (const [i, d] of [...decided].sort((a, b) => a[0] - b[0])) {
    if (d.what !== "skip") lines.push([RUN.samples[i], name(RUN.given[i]), d.what, name(d.label)]);
  }
  return lines.map((line) => line.map(quoted).join(",") + "\n").join("");
}

function bytes(text) { // names that are no text come as lone surrogates, one for each byte
  const encoder = new TextEncoder();
  return text.split(/([\udc80-\udcff])/u).map((part) => {
    const code = part.length === 1 ? part.charCodeAt(0) : 0;
    return code >= 0xdc80 && code <= 0xdcff ? Uint8Array.of(code - 0xdc00) : encoder.encode(part);
  });
}

function save() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(bytes(csv()), {type: "text/csv"}));
  link.download = "corrections.csv";
  link.click();
  URL.revokeObjectURL(link.href);
  unsaved = false;
  const made = [...decided.values()].filter((d) => d.what !== "skip").length;
  say(`${made} decision${made === 1 ? "" : "s"} saved as corrections.csv.`);
}

// Given against suggested.
function pair(given, suggested) {
  const again = $("given").value === String(given) && $("suggested").value === String(suggested);
  $("given").value = again ? "" : given;
  $("suggested").value = again ? "" : suggested;
  filter();
  drawPairs();
  scrollTo(0, 0);
}

function pairButton(given, suggested, number, words) {
  const button = element("button", words);
  button.type = "button";
  button.setAttribute("aria-label", `given ${name(given)}, suggested ${name(suggested)}: ${number}`);
  button.setAttribute("aria-pressed", $("given").value === String(given) && $("suggested").value === String(suggested));
  button.title = `given ${name(given)}, suggested ${name(suggested)}`;
  button.onclick = () => pair(given, suggested);
  return button;
}

const numbers = new Map(); // "given suggested" → how many
for (let i = 0; i < count; i++) {
  const both = `${RUN.given[i]} ${RUN.suggested[i]}`;
  numbers.set(both, (numbers.get(both) ?? 0) + 1);
}

function drawPairs() {
  const focused = $("pairs").contains(document.activeElement) ? document.activeElement.title : null;
  $("pairs").replaceChildren(RUN.classes.length <= MOST_CLASSES ? table() : commonest());
  if (focused) [...$("pairs").querySelectorAll("button")].find((button) => button.title === focused)?.focus({preventScroll: true});
}

function table() {
  const all = document.createElement("table");
  const head = all.createTHead().insertRow();
  const most = Math.max(1, ...[...numbers].filter(([both]) => new Set(both.split(" ")).size > 1).map(([, n]) => n));
  head.append(heading("given ↓  suggested →", "col"));
  RUN.classes.forEach((text) => {
    head.append(heading(line(text), "col"));
  });
  const body = all.createTBody();
  RUN.classes.forEach((text, given) => {
    const row = body.insertRow();
    row.append(heading(text, "row"));
    RUN.classes.forEach((_, suggested) => {
      const cell = row.insertCell();
      const number = numbers.get(`${given} ${suggested}`);
      if (!number) return;
      if (given === suggested) cell.className = "same";
      else cell.style.background = `rgb(var(--tint) / ${0.1 + 0.5 * Math.sqrt(number / most)})`;
      cell.append(pairButton(given, suggested, number, number));
    });
  });
  return all;
}

function heading(text, scope) {
  return Object.assign(element("th", text), {scope});
}

function commonest() {
  const list = document.createElement("ol");
  const pairs = [...numbers].map(([both, n]) => [...both.split(" ").map(Number), n]).filter(([a, b]) => a !== b);
  for (const [given, suggested, n] of pairs.sort((a, b) => b[2] - a[2]).slice(0, 60)) {
    list.append(element("li", pairButton(given, suggested, n, `${name(given)} → ${name(suggested)}  ${n}`)));
  }
  return list;
}

// Before anything is drawn.
function options(select, first) {
  select.replaceChildren(new Option(first, ""), ...RUN.classes.map((text, k) => new Option(text, k)));
}

function begin() {
  const where = RUN.data.replace(/[\\/]+$/, "");
  document.title = `Labels to look at: ${where}`;
  $("about").textContent = `${where}: ${count} images, ${RUN.classes.length} classes, the most suspect label first`;
  $("commands").textContent =
    `dipsop classify --data ${RUN.data} --corrections corrections.csv --out AGAIN` +
    (RUN.home === null ? "" : `\ndipsop relabel ${RUN.data} corrections.csv --out CORRECTED`);
  options($("given"), "any");
  options($("suggested"), "any");
  options($("others"), "any class …");
  RUN.classes.slice(0, 10).forEach((text, k) => {
    const button = element("button", key((k + 1) % 10), " ", text);
    button.type = "button";
    button.setAttribute("aria-keyshortcuts", (k + 1) % 10);
    button.onclick = () => label(k);
    $("classes").append(button);
  });
  $("others").hidden = RUN.classes.length <= 10;
  $("keep").onclick = keep;
  $("change").onclick = change;
  $("skip").onclick = skip;
  $("undo").onclick = undo;
  $("back").onclick = () => go(at - 1);
  $("on").onclick = () => go(at + 1);
  $("save").onclick = save;
  $("others").onchange = () => { if ($("others").value !== "") label(+$("others").value); $("others").blur(); };
  $("filters").onchange = () => { filter(); drawPairs(); };
  $("filters").onsubmit = (event) => event.preventDefault();
  $("filters").onreset = () => setTimeout(() => { filter(); drawPairs(); });
  $("earlier").onclick = () => turn(-1);
  $("later").onclick = () => turn(1);
  document.addEventListener("keydown", press);
  addEventListener("beforeunload", (event) => { if (unsaved && !keeps) event.preventDefault(); });
  filter();
  drawPairs();
  const first = view.findIndex((i) => !decided.has(i)); // where it was left
  if (decided.size && first > 0) go(first);
}

function columns() {
  return getComputedStyle($("list")).gridTemplateColumns.split(" ").length;
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
  const digit = /^[0-9]$/.test(event.key) ? (+event.key + 9) % 10 : -1;
  const keys = {
    k: keep, c: change, s: skip, u: undo,
    ArrowLeft: () => go(at - 1), ArrowRight: () => go(at + 1),
    ArrowUp: () => go(at - columns()), ArrowDown: () => go(at + columns()),
  };
  const action = digit >= 0 && digit < RUN.classes.length ? () => label(digit) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || view.length === 0) return;
  event.preventDefault();
  action();
}

begin();
