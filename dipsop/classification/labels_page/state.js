// RUN holds the list as columns, the most suspect first; INSIDE the pictures of the first of them.
const TILES = 60; // of a page of the list
const ALL_RIGHT = 20; // so many kept in a row: what follows is hardly worth a look
const MOST_CLASSES = 24; // of the table; more make a list of the commonest pairs
const KEY = "dipsop labels " + RUN.run;
const count = RUN.samples.length;
const wide = matchMedia("(min-width: 52rem)"); // as in page.css
const $ = (id) => document.getElementById(id);
const name = (k) => RUN.classes[k];

// What was decided: rank from 0 → {what: "keep" | "change" | "skip", label}. Kept in the browser with every decision, and
// with this tab where it is left: Chromium now and then finds nothing after a reload that follows a decision closely.
const decided = new Map();
let keeps = true;
let kept = null;
try { kept = localStorage.getItem(KEY); } catch (error) { keeps = false; }
kept ||= (history.state?.key === KEY && history.state.kept) || "[]";
recall(kept);
addEventListener("beforeunload", () => history.replaceState({key: KEY, kept: packed()}, ""));
addEventListener("storage", (event) => { // of another tab, whose decisions this one would replace
  if (event.key !== KEY || !event.newValue) return;
  recall(event.newValue);
  draw();
});

let view = []; // ranks that the filters let through
let at = 0; // place in it
let unsaved = false;
const undone = []; // [rank, what was decided before]

function recall(text) {
  decided.clear();
  for (const [i, what, label] of JSON.parse(text)) decided.set(i, {what, label});
}

function packed() {
  return JSON.stringify([...decided].map(([i, d]) => [i, d.what, d.label]));
}

function remember() {
  unsaved = true;
  try {
    localStorage.setItem(KEY, packed());
  } catch (error) { keeps = false; }
}
