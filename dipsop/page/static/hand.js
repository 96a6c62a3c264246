// Mouse, fingers and keys on the picture: they move it, the line, or the brush.

const NEAR = 18; // CSS pixels, how near to the line one takes hold of it
const KEYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export function listen(view, brush) {
  const { canvas } = view;
  const fingers = new Map();
  let doing = "";

  canvas.addEventListener("pointerdown", (event) => {
    if (!view.width) return;
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, event);
    const { x, column, row } = view.at(event);
    if (fingers.size === 2) {
      if (doing === "paint") brush.undo(); // the first finger of two was not meant to paint
      doing = "pinch";
    } else if (view.after && near(x) && !brush.mode) {
      doing = "wipe";
    } else if (brush.mode && event.button === 0) {
      doing = "paint";
      brush.begin(column, row);
    } else {
      doing = "move";
    }
  });

  const end = (event) => {
    fingers.delete(event.pointerId);
    brush.end();
    doing = fingers.size ? "move" : "";
  };

  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons && fingers.has(event.pointerId)) end(event); // a menu took the release
    const at = view.at(event), last = fingers.get(event.pointerId);
    brush.cursor = at;
    if (last) {
      const before = view.at(last);
      if (doing === "pinch") pinch(event, before, at);
      else if (doing === "wipe") view.wipeTo(at.x);
      else if (doing === "paint") for (const point of points(event)) brush.go(point.column, point.row);
      else view.move(at.x - before.x, at.y - before.y);
      fingers.set(event.pointerId, event);
    }
    canvas.style.cursor = doing === "wipe" || (!brush.mode && view.after && near(at.x)) ? "ew-resize" : "";
    if (brush.mode) view.draw();
  });

  const near = (x) => Math.abs(x - view.lineAt()) < NEAR * (window.devicePixelRatio || 1);
  const points = (event) => (event.getCoalescedEvents?.() ?? [event]).map((each) => view.at(each));

  function pinch(event, before, at) {
    const other = [...fingers.entries()].find(([id]) => id !== event.pointerId);
    if (!other) return;
    const still = view.at(other[1]);
    const apart = (point) => Math.hypot(point.x - still.x, point.y - still.y) || 1;
    view.zoomBy(apart(at) / apart(before), still);
  }

  for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, end);
  canvas.addEventListener("pointerleave", () => { brush.cursor = null; view.draw(); });

  canvas.addEventListener("keydown", (event) => {
    if (!view.width || event.ctrlKey || event.metaKey || event.altKey) return;
    const way = KEYS[event.key];
    if (way && brush.mode && !event.shiftKey) step(way);
    else if (way && event.shiftKey) view.move(-60 * way[0], -60 * way[1]);
    else if (way && way[0]) { view.wipe.value = Number(view.wipe.value) + 0.02 * way[0]; view.draw(); }
    else if (event.key === "+" || event.key === "=") view.zoomBy(1.5);
    else if (event.key === "-") view.zoomBy(1 / 1.5);
    else if (event.key === "0") view.fit();
    else if (event.key === "1") view.zoomBy(1 / view.scale);
    else if (event.key === "Enter" && brush.mode && brush.cursor) dab();
    else return;
    event.preventDefault();
  });

  function step([dx, dy]) {
    const by = Math.max(1, brush.across() / 2);
    const { column, row } = brush.cursor ?? { column: view.width / 2, row: view.height / 2 };
    const within = (value, most) => Math.min(most, Math.max(0, value));
    brush.cursor = { column: within(column + by * dx, view.width), row: within(row + by * dy, view.height) };
    view.draw();
  }

  function dab() {
    brush.begin(brush.cursor.column, brush.cursor.row);
    brush.end();
  }
}
