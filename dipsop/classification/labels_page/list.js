// What there is to see: pictures, tiles, and the label in question.

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
  script.onerror = () => {
    chunks.delete(number); // it is asked for again when it is to be shown again
    say(`The pictures in ${RUN.beside} are missing: keep that folder beside this page.`);
  };
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
    image.hidden = false;
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
