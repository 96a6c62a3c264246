// What is done about a label, and the file that it ends in.

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
  if (!view.includes(i)) { // not reset(), whose listener comes later and goes to the first
    for (const choice of $("filters").querySelectorAll("select")) choice.selectedIndex = 0;
    filter();
    drawPairs();
  }
  go(view.indexOf(i));
  drawCount();
  say(`${i + 1} is as before.`);
}

const keep = () => decide("keep", RUN.given[view[at]]);
const skip = () => decide("skip", RUN.given[view[at]]);
const label = (k) => k === RUN.given[view[at]] ? keep() : decide("change", k);
const change = () => {
  const suggested = RUN.suggested[view[at]];
  if (suggested !== RUN.given[view[at]]) label(suggested);
  else say("Nothing else is suggested: name the class.");
};

// The file, corrections.csv or that of a later round.
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
  link.download = RUN.saved_as;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 40_000); // Safari asks for it later
  unsaved = false;
  const made = [...decided.values()].filter((d) => d.what !== "skip").length;
  say(`${made} decision${made === 1 ? "" : "s"} saved as ${RUN.saved_as}.`);
}
