// What a person marks on the photo: places on the subject, and strokes of what to keep or remove.
//
// Strokes go to the server as a trimap: sure subject, sure background, and unknown along the present
// edge, where it finds the hair by itself.
const SURE = 0.98;

export class Marks {
  constructor(canvas) {
    this.canvas = canvas;
    this.clear(1, 1);
  }

  // `width` and `height` are those of the picture that is worked on, in pixels.
  clear(width, height) {
    this.points = [];
    this.strokes = [];
    this.canvas.width = width;
    this.canvas.height = height;
    this.cursor = null;
    this.draw();
  }

  get isEmpty() {
    return !this.points.length && !this.strokes.length;
  }

  get brush() {
    return Math.max(6, Math.max(this.canvas.width, this.canvas.height) / 40);
  }

  addPoint(x, y, exclude) {
    this.points.push({ x, y, exclude });
    this.draw();
  }

  beginStroke(x, y, keep) {
    this.strokes.push({ keep, path: [[x, y]] });
    this.draw();
  }

  extendStroke(x, y) {
    this.strokes.at(-1).path.push([x, y]);
    this.draw();
  }

  undo(isBrush) {
    (isBrush ? this.strokes : this.points).pop();
    this.draw();
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.globalAlpha = 0.45;
    this.#strokes(pen, (keep) => (keep ? "#1db37c" : "#e0433a"));
    pen.globalAlpha = 1;
    for (const { x, y, exclude } of this.points) {
      pen.beginPath();
      pen.arc(x, y, this.brush / 3, 0, 7);
      pen.fillStyle = exclude ? "#e0433a" : "#1db37c";
      pen.fill();
      pen.lineWidth = this.brush / 10;
      pen.strokeStyle = "#fff";
      pen.stroke();
    }
    if (this.cursor) {
      const [x, y] = this.cursor;
      pen.lineWidth = this.brush / 8;
      for (const style of ["#000", "#fff"]) {
        pen.strokeStyle = style;
        pen.beginPath();
        pen.moveTo(x - this.brush, y);
        pen.lineTo(x + this.brush, y);
        pen.moveTo(x, y - this.brush);
        pen.lineTo(x, y + this.brush);
        pen.stroke();
        pen.lineWidth /= 2;
      }
    }
  }

  // A PNG of the picture's size, or null without strokes. `alpha` is the server's alpha as a bitmap.
  async trimap(alpha) {
    if (!this.strokes.length) return null;
    const { width, height } = this.canvas;
    const board = new OffscreenCanvas(width, height);
    const pen = board.getContext("2d", { willReadFrequently: true });
    pen.drawImage(alpha, 0, 0, width, height);
    const pixels = pen.getImageData(0, 0, width, height);
    for (let at = 0; at < pixels.data.length; at += 4) {
      const value = pixels.data[at] / 255;
      const sure = value >= SURE ? 255 : value <= 1 - SURE ? 0 : 128;
      pixels.data.fill(sure, at, at + 3);
    }
    pen.putImageData(pixels, 0, 0);
    this.#strokes(pen, (keep) => (keep ? "#fff" : "#000"));
    // Smoothing leaves greys at the rim of a stroke, and a trimap knows three values.
    const drawn = pen.getImageData(0, 0, width, height);
    for (let at = 0; at < drawn.data.length; at += 4) {
      const value = drawn.data[at];
      drawn.data.fill(value === 255 || value === 0 ? value : 128, at, at + 3);
    }
    pen.putImageData(drawn, 0, 0);
    return board.convertToBlob({ type: "image/png" });
  }

  #strokes(pen, color) {
    pen.lineCap = pen.lineJoin = "round";
    pen.lineWidth = this.brush;
    for (const { keep, path } of this.strokes) {
      pen.strokeStyle = color(keep);
      pen.beginPath();
      pen.moveTo(...path[0]);
      for (const place of path) pen.lineTo(...place);
      pen.stroke();
    }
  }
}
