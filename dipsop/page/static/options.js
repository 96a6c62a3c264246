// What can be chosen, with the defaults that the server says, and the command line that does the same.

const at = (id) => document.getElementById(id);

export class Options {
  constructor(about, changed) {
    this.about = about;
    fill(at("kind"), about.kinds, about.defaults.kind);
    fill(at("strength"), about.strengths, about.defaults.strength);
    fill(at("preset"), about.presets, about.defaults.preset);
    at("seed").value = about.defaults.seed;
    at("options").addEventListener("input", () => { this.fit(); changed(); });
    // What is refused is shown, where it is folded away too.
    at("options").addEventListener("invalid", ({ target }) => target.closest("details")?.setAttribute("open", ""), true);
    this.fit();
  }

  // Shut off what the preset does not heed, and say how many steps it takes.
  fit() {
    const preset = this.about.presets.find(({ value }) => value === at("preset").value);
    for (const id of ["kind", "strength"]) {
      at(id).disabled = !preset.searches;
      if (!preset.searches) at(id).value = this.about.defaults[id];
    }
    at("dip-words").hidden = preset.searches;
    at("steps").placeholder = preset.steps;
  }

  choice() {
    const number = (id) => (at(id).value === "" ? null : Number(at(id).value));
    return {
      kind: at("kind").value, preset: at("preset").value, strength: Number(at("strength").value),
      steps: number("steps"), seed: number("seed"),
    };
  }

  valid() {
    return at("options").reportValidity();
  }
}

function fill(select, entries, chosen) {
  select.replaceChildren(...entries.map(({ value, words }) => new Option(words, value, value === chosen, value === chosen)));
}

export async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea"); // over http from another computer there is no clipboard to write to
  area.value = text;
  document.body.append(area);
  const before = document.activeElement;
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  before.focus();
  if (!copied) throw new Error("The browser does not let it be copied: mark it, and copy it by hand.");
}
