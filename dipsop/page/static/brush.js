// The brush: strokes on the picture, kept as lines, so that one can be undone; two layers as large as the picture.

const COLOURS = { missed: "#f59e0b", stay: "#22c55e" };

export class Brush {
  constructor(view) {
    this.view = view;
    this.mode = "";
    this.size = 28; // on the screen, across, so that zooming in makes it finer
    this.cursor = null;
    this.changed = () => {};
    this.take([], 1, 1);
    view.over = (pixels, scale) => this.draw(pixels, scale);
  }

  // Go on with the strokes of a picture.
  take(strokes, width, height) {
    this.strokes = strokes;
    this.current = null;
    this.layers = {};
    for (const name of Object.keys(COLOURS)) this.layers[name] = new OffscreenCanvas(width, height);
    for (const stroke of strokes) this.paint(stroke);
    this.changed();
    this.view.draw();
  }

  // Its size on the picture.
  across() {
    return (this.size * (window.devicePixelRatio || 1)) / this.view.scale;
  }

  begin(column, row) {
    this.current = { mode: this.mode, size: this.across(), points: [[column, row]] };
    this.strokes.push(this.current);
    this.paint(this.current);
    this.changed();
    this.view.draw();
  }

  go(column, row) {
    if (!this.current) return;
    const { mode, size, points } = this.current;
    this.paint({ mode, size, points: [points.at(-1), [column, row]] });
    points.push([column, row]);
    this.view.draw();
  }

  end() {
    this.current = null;
  }

  undo() {
    const { width, height } = this.layers.missed;
    this.take(this.strokes.slice(0, -1), width, height);
  }

  // A stroke adds to its own layer and is taken from the other one; the eraser is taken from both.
  paint({ mode, size, points }) {
    for (const [name, layer] of Object.entries(this.layers)) {
      const pixels = layer.getContext("2d");
      pixels.globalCompositeOperation = name === mode ? "source-over" : "destination-out";
      pixels.strokeStyle = COLOURS[name];
      pixels.lineWidth = size;
      pixels.lineCap = pixels.lineJoin = "round";
      pixels.beginPath();
      pixels.moveTo(...points[0]);
      for (const point of points.slice(points.length > 1 ? 1 : 0)) pixels.lineTo(...point);
      pixels.stroke();
    }
  }

  draw(pixels, scale) {
    if (!this.mode) return; // laid down: what is under the strokes is to be seen
    pixels.globalAlpha = 0.6;
    for (const layer of Object.values(this.layers)) pixels.drawImage(layer, 0, 0);
    pixels.globalAlpha = 1;
    if (!this.cursor) return;
    pixels.beginPath();
    pixels.arc(this.cursor.column, this.cursor.row, this.across() / 2, 0, 7);
    for (const [colour, width] of [["#000a", 3], ["#fff", 1.5]]) {
      pixels.strokeStyle = colour;
      pixels.lineWidth = width / scale;
      pixels.stroke();
    }
  }

  // A layer as a PNG, white on black; nothing where it is empty.
  async blob(name) {
    const { width, height } = this.layers[name];
    if (!this.strokes.some((stroke) => stroke.mode === name)) return new Blob([]);
    const canvas = new OffscreenCanvas(width, height);
    const pixels = canvas.getContext("2d");
    pixels.drawImage(this.layers[name], 0, 0);
    pixels.globalCompositeOperation = "source-in";
    pixels.fillStyle = "#fff";
    pixels.fillRect(0, 0, width, height);
    pixels.globalCompositeOperation = "destination-over";
    pixels.fillStyle = "#000";
    pixels.fillRect(0, 0, width, height);
    return canvas.convertToBlob({ type: "image/png" });
  }
}
