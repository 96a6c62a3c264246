// The picture: before left of a line, after right of it, at any zoom, with what was found and what is painted over it.
// Lengths are device pixels, scale is device pixels per pixel of the picture.

const LARGEST = 64;
const FOUND = [225, 29, 132];

export class View {
  constructor(stage, canvas, wipe, divider) {
    Object.assign(this, { stage, canvas, wipe, divider });
    this.pixels = canvas.getContext("2d");
    this.width = this.height = 0;
    this.before = this.after = this.found = null;
    this.showFound = false;
    this.over = () => {}; // what else is drawn, in the coordinates of the picture
    this.changed = () => {};
    this.fitted = true;
    new ResizeObserver(() => this.resize()).observe(stage);
    wipe.addEventListener("input", () => this.draw());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), this.at(event));
    }, { passive: false });
  }

  resize() {
    if (!this.stage.clientWidth) return; // behind the other tab
    const ratio = window.devicePixelRatio || 1;
    this.canvas.width = Math.max(1, Math.round(this.stage.clientWidth * ratio));
    this.canvas.height = Math.max(1, Math.round(this.stage.clientHeight * ratio));
    if (this.fitted) this.fit();
    else this.move(0, 0);
  }

  // Show a picture of this size; the images come later, and may be smaller.
  show(width, height) {
    Object.assign(this, { width, height, before: null, after: null, found: null });
    this.fit();
  }

  fit() {
    if (!this.width) return;
    this.scale = Math.min(this.canvas.width / this.width, this.canvas.height / this.height, LARGEST);
    this.x = (this.canvas.width - this.width * this.scale) / 2;
    this.y = (this.canvas.height - this.height * this.scale) / 2;
    this.fitted = true;
    this.draw();
  }

  zoomBy(factor, at = { x: this.canvas.width / 2, y: this.canvas.height / 2 }) {
    const smallest = Math.min(1, this.canvas.width / this.width, this.canvas.height / this.height) / 2;
    const scale = Math.min(LARGEST, Math.max(smallest, this.scale * factor));
    this.x = at.x - ((at.x - this.x) * scale) / this.scale;
    this.y = at.y - ((at.y - this.y) * scale) / this.scale;
    this.scale = scale;
    this.fitted = false;
    this.move(0, 0);
  }

  // Move the picture, but leave some of it in sight.
  move(dx, dy) {
    const within = (value, length, room) => Math.min(room - 40, Math.max(40 - length, value));
    this.x = within(this.x + dx, this.width * this.scale, this.canvas.width);
    this.y = within(this.y + dy, this.height * this.scale, this.canvas.height);
    if (dx || dy) this.fitted = false;
    this.draw();
  }

  // Where an event is on the canvas, and on the picture.
  at(event) {
    const box = this.canvas.getBoundingClientRect();
    const x = ((event.clientX - box.left) * this.canvas.width) / box.width;
    const y = ((event.clientY - box.top) * this.canvas.height) / box.height;
    return { x, y, column: (x - this.x) / this.scale, row: (y - this.y) / this.scale };
  }

  // The part of the canvas that the picture covers, from left to right.
  sides() {
    return [Math.max(0, this.x), Math.min(this.canvas.width, this.x + this.width * this.scale)];
  }

  wipeTo(x) {
    const [left, right] = this.sides();
    this.wipe.value = (x - left) / (right - left || 1);
    this.draw();
  }

  lineAt() {
    const [left, right] = this.sides();
    return left + this.wipe.value * (right - left);
  }

  set(name, image) {
    this[name] = name === "found" && image ? coloured(image) : image;
    this.draw();
  }

  draw() {
    if (!this.waiting) this.waiting = requestAnimationFrame(() => { this.waiting = 0; this.drawNow(); });
  }

  drawNow() {
    const { pixels, canvas } = this;
    pixels.setTransform(1, 0, 0, 1, 0, 0);
    pixels.clearRect(0, 0, canvas.width, canvas.height);
    if (!this.width) return;
    const line = this.after ? this.lineAt() : canvas.width;
    pixels.imageSmoothingEnabled = this.scale < 1;
    pixels.imageSmoothingQuality = "high";
    this.clipped(0, line, () => this.put(this.before ?? this.after));
    this.clipped(line, canvas.width, () => {
      this.put(this.after);
      if (this.showFound && this.found) this.put(this.found);
    });
    pixels.setTransform(this.scale, 0, 0, this.scale, this.x, this.y);
    this.over(pixels, this.scale);
    this.divider.hidden = !this.after;
    this.divider.style.left = `${(100 * line) / canvas.width}%`;
    this.changed();
  }

  clipped(left, right, draw) {
    this.pixels.save();
    this.pixels.beginPath();
    this.pixels.rect(left, 0, right - left, this.canvas.height);
    this.pixels.clip();
    draw();
    this.pixels.restore();
  }

  // Draw the part of an image that is in sight.
  put(image) {
    if (!image) return;
    const across = image.width / this.width, down = image.height / this.height;
    const left = Math.max(0, Math.floor(-this.x / this.scale)), top = Math.max(0, Math.floor(-this.y / this.scale));
    const right = Math.min(this.width, Math.ceil((this.canvas.width - this.x) / this.scale));
    const bottom = Math.min(this.height, Math.ceil((this.canvas.height - this.y) / this.scale));
    if (right <= left || bottom <= top) return;
    this.pixels.drawImage(
      image, left * across, top * down, (right - left) * across, (bottom - top) * down,
      this.x + left * this.scale, this.y + top * this.scale, (right - left) * this.scale, (bottom - top) * this.scale,
    );
  }
}

export async function load(address) {
  const image = new Image();
  image.src = address;
  await image.decode();
  return image;
}

// A map of what was found, white on black, as a colour to lay over the picture.
function coloured(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  const pixels = canvas.getContext("2d");
  pixels.drawImage(image, 0, 0);
  const data = pixels.getImageData(0, 0, image.width, image.height);
  const [red, green, blue] = FOUND;
  for (let i = 0; i < data.data.length; i += 4) {
    const channels = (data.data[i] + data.data[i + 1] + data.data[i + 2]) / 255; // of a pixel, found
    data.data[i] = red;
    data.data[i + 1] = green;
    data.data[i + 2] = blue;
    data.data[i + 3] = 80 * channels;
  }
  pixels.putImageData(data, 0, 0);
  return canvas;
}
