// The queue: a thumbnail, a name and a few words for every picture.

import { look, sentence } from "./wire.js";

export function clock(seconds) {
  const whole = Math.round(seconds), minutes = Math.floor(whole / 60);
  if (minutes >= 60) return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  return minutes ? `${minutes} min ${whole % 60} s` : `${whole} s`;
}

export function share(fraction) {
  const percent = 100 * fraction;
  const digits = percent >= 1 ? 1 : Math.min(20, Math.max(3, 1 - Math.floor(Math.log10(percent))));
  return percent ? `${percent.toFixed(digits)} %` : "nothing";
}

// A few words on how a picture is doing.
export function state(picture) {
  switch (picture.stage) {
    case "sending": return "coming in";
    case "refused": case "failed": return sentence(picture.problem, picture.name);
    case "waiting": return picture.ahead === 1 ? "waits for one other" : `waits for ${picture.ahead} others`;
    case "running": return picture.seconds_left === null ? "starting" : `${clock(picture.seconds_left)} left`;
    case "done": return picture.result.fraction_corrupted ? `${share(picture.result.fraction_corrupted)} found` : "nothing found";
    default: return "ready";
  }
}

export class Queue {
  constructor(list, choose, remove) {
    Object.assign(this, { list, choose, remove });
    this.rows = new Map();
  }

  show(pictures, chosen) {
    for (const [key, row] of this.rows) if (!pictures.some((picture) => picture.key === key)) this.drop(key, row);
    for (const picture of pictures) {
      if (!this.rows.has(picture.key)) this.rows.set(picture.key, this.row(picture));
      this.update(this.rows.get(picture.key), picture, picture.key === chosen);
    }
  }

  // Whoever goes by keys stays where the row was.
  drop(key, row) {
    const next = row.nextElementSibling ?? row.previousElementSibling, held = row.contains(document.activeElement);
    row.remove();
    this.rows.delete(key);
    if (held) (next?.querySelector(".open") ?? document.getElementById("choose")).focus();
  }

  row(picture) {
    const row = document.createElement("li");
    const open = document.createElement("button"), away = document.createElement("button");
    open.className = "open";
    open.append(document.createElement("img"), document.createElement("strong"), document.createElement("span"),
      document.createElement("progress"));
    open.querySelector("img").alt = "";
    open.addEventListener("click", () => this.choose(row.dataset.key));
    away.className = "away";
    away.textContent = "×";
    away.setAttribute("aria-label", `Take ${picture.name} away`);
    away.addEventListener("click", () => this.remove(row.dataset.key));
    row.append(open, away);
    row.dataset.key = picture.key;
    this.list.insertBefore(row, picture.stage === "sending" ? null : this.list.querySelector(".sending"));
    return row;
  }

  update(row, picture, chosen) {
    const [image, name, words, bar] = row.querySelector(".open").children;
    const bad = picture.stage === "refused" || picture.stage === "failed";
    row.className = bad ? "bad" : picture.stage;
    row.querySelector(".open").setAttribute("aria-current", chosen);
    name.textContent = picture.name;
    words.textContent = state(picture);
    bar.hidden = picture.stage !== "running";
    if (!bar.hidden) bar.value = picture.done;
    const address = picture.width ? look(picture.key, "thumb", picture.version ?? 0) : "";
    image.hidden = !address;
    if (address && image.dataset.address !== address) image.src = image.dataset.address = address;
  }
}
