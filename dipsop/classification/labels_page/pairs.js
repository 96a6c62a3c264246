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
      else cell.style.background = `rgb(var(--tint) / ${0.1 + 0.35 * Math.sqrt(number / most)})`;
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
