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
