// How pictures come in: dropped, chosen or pasted; sent one after the other.

import * as wire from "./wire.js";

const at = (id) => document.getElementById(id);

export class Uploads {
  constructor(about, came) {
    Object.assign(this, { about, came, sending: [] });
    this.chain = Promise.resolve();
    for (const id of ["choose", "more"]) at(id).addEventListener("click", () => at("files").click());
    at("files").addEventListener("change", () => { this.send([...at("files").files]); at("files").value = ""; });
    document.addEventListener("paste", (event) => this.send([...(event.clipboardData?.files ?? [])]));
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      at("drop").hidden = !event.dataTransfer.types.includes("Files");
    });
    document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) at("drop").hidden = true; });
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      at("drop").hidden = true;
      this.send([...(event.dataTransfer?.files ?? [])]);
    });
  }

  send(files) {
    for (const file of files) {
      const key = `sending-${crypto.getRandomValues(new Uint32Array(1))[0]}`;
      const waiting = { key, name: file.name, stage: "sending", ending: new AbortController() };
      this.sending.push(waiting);
      this.chain = this.chain.then(() => this.one(file, waiting));
    }
    if (files.length) this.came(null);
  }

  async one(file, waiting) {
    if (!this.sending.includes(waiting)) return; // taken away before it was its turn
    try {
      if (file.size > this.about.most_bytes)
        throw new Error(`${file.name} is larger than ${this.about.most_bytes >> 20} MB: crop or scale it down.`);
      await file.slice(0, 1).arrayBuffer().catch(() => {
        throw new Error(`${file.name} cannot be read: drop pictures, not their folder, and leave them where they are.`);
      });
      const picture = await wire.upload(file, waiting.ending.signal);
      const wanted = this.sending.includes(waiting);
      this.forget(waiting.key);
      if (wanted) await this.came(picture);
      else await wire.remove(picture.key);
    } catch (error) {
      Object.assign(waiting, { stage: "refused", problem: error.message });
      this.came(null);
    }
  }

  forget(key) {
    this.sending.find((waiting) => waiting.key === key)?.ending.abort(); // what has been sent whole does not mind
    this.sending = this.sending.filter((waiting) => waiting.key !== key);
  }
}
