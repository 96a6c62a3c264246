// Before anything is drawn.
let typed = false; // whether the last thing done was by key
function options(select, first) {
  select.replaceChildren(new Option(first, ""), ...RUN.classes.map((text, k) => new Option(text, k)));
}

function begin() {
  const where = RUN.data.replace(/[\\/]+$/, "");
  document.title = `Labels to look at: ${where}`;
  $("about").textContent = `${where}: ${count} images, ${RUN.classes.length} classes, the most suspect label first`;
  $("file").textContent = RUN.saved_as;
  $("commands").textContent = RUN.commands.join("\n");
  options($("given"), "any");
  options($("suggested"), "any");
  options($("others"), "any class …");
  RUN.classes.slice(0, 10).forEach((text, k) => {
    const button = element("button", key(digitOf(k)), " ", text);
    button.type = "button";
    button.setAttribute("aria-keyshortcuts", digitOf(k));
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
  const choose = () => { if ($("others").value !== "") label(+$("others").value); };
  $("others").onchange = () => { if (typed) return; choose(); $("others").blur(); };
  $("others").onkeydown = (event) => { if (event.key === "Enter") choose(); }; // arrows pass by other classes
  $("filters").onchange = () => {
    filter();
    drawPairs();
    if (!typed) document.activeElement.blur(); // else k, c and s would choose in the filter, and decide nothing
  };
  $("filters").onsubmit = (event) => event.preventDefault();
  $("filters").onreset = () => setTimeout(() => { filter(); drawPairs(); });
  $("earlier").onclick = () => turn(-1);
  $("later").onclick = () => turn(1);
  addEventListener("pointerdown", () => { typed = false; }, true);
  addEventListener("keydown", () => { typed = true; }, true);
  document.addEventListener("keydown", press);
  addEventListener("beforeunload", (event) => { if (unsaved && !keeps) event.preventDefault(); });
  filter();
  drawPairs();
  const first = view.findIndex((i) => !decided.has(i)); // where it was left
  if (decided.size && first > 0) go(first);
}

// The key of one of the first ten classes: 1 to 9 and 0 in their order, but its own digit where all are called by one.
function digitOf(k) {
  const named = RUN.classes.every((text) => /^[0-9]$/.test(text));
  return named ? RUN.classes[k] : String((k + 1) % 10);
}

function columns() {
  return getComputedStyle($("list")).gridTemplateColumns.split(" ").length;
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || /^(SELECT|INPUT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.repeat && event.key === "Enter") return event.preventDefault(); // a button that it presses is pressed once
  const digit = /^[0-9]$/.test(event.key) ? RUN.classes.findIndex((_, k) => k < 10 && digitOf(k) === event.key) : -1;
  const keys = {
    k: keep, c: change, s: skip, u: undo,
    ArrowLeft: () => go(at - 1), ArrowRight: () => go(at + 1),
    ArrowUp: () => go(at - columns()), ArrowDown: () => go(at + columns()),
  };
  const action = digit >= 0 ? () => label(digit) : keys[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action || view.length === 0) return;
  if (event.target === $("pairs") && event.key.startsWith("Arrow")) return; // they scroll it
  event.preventDefault();
  if (!event.repeat || event.key.startsWith("Arrow")) action(); // a key that is held decides once
}

begin();
