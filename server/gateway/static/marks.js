// What a person marks on the photo: places on the subject, and strokes of what to keep or remove.
//
// Strokes go to the server as a trimap: sure subject, sure background, and unknown along the present
// edge, where it finds the hair by itself.
const SURE = 0.98;
const DOT_PX = 9; // on the screen, whatever the picture's size
const GREEN = "#1db37c";
const RED = "#e0433a";

export class Marks {
  constructor(canvas) {
    this.canvas = canvas;
    this.brush = 1;
    this.clear(1, 1);
  }

  // `width` and `height` are those of the picture that is worked on, in pixels.
  clear(width, height) {
    this.list = []; // in the order they were made: { x, y, exclude } or { keep, wide, path }
    this.canvas.width = width;
    this.canvas.height = height;
    this.cursor = null; // { x, y, ring }
    this.draw();
  }

  get isEmpty() {
    return !this.list.length;
  }

  get points() {
    return this.list.filter((mark) => !mark.path);
  }

  // Whether they say where the subject is: places that are not wanted do not.
  get pointOut() {
    return this.points.some((point) => !point.exclude);
  }

  get strokes() {
    return this.list.filter((mark) => mark.path);
  }

  addPoint(x, y, exclude) {
    this.list.push({ x, y, exclude });
    this.draw();
  }

  beginStroke(x, y, keep) {
    this.list.push({ keep, wide: this.brush, path: [[x, y]] });
    this.draw();
  }

  extendStroke(x, y) {
    this.list.at(-1).path.push([x, y]);
    this.draw();
  }

  undo() {
    this.list.pop();
    this.draw();
  }

  draw() {
    const pen = this.canvas.getContext("2d");
    const px = this.canvas.width / (this.canvas.clientWidth || this.canvas.width); // of the screen
    pen.clearRect(0, 0, this.canvas.width, this.canvas.height);
    pen.globalAlpha = 0.4;
    this.#strokes(pen, (keep) => (keep ? GREEN : RED));
    pen.globalAlpha = 1;
    for (const point of this.points) drawPoint(pen, point, px);
    if (this.cursor) this.#cursor(pen, this.cursor, px);
  }

  // The brush as large as it paints, or cross-hairs for a place.
  #cursor(pen, { x, y, ring }, px) {
    for (const [style, wide] of [["#000", 3 * px], ["#fff", 1.5 * px]]) {
      pen.strokeStyle = style;
      pen.lineWidth = wide;
      pen.beginPath();
      if (ring) pen.arc(x, y, this.brush / 2, 0, 7);
      else for (const [dx, dy] of [[14 * px, 0], [0, 14 * px]]) line(pen, x - dx, y - dy, x + dx, y + dy);
      pen.stroke();
    }
  }

  // A PNG of the picture's size. `alpha` is the server's alpha as a bitmap.
  async trimap(alpha) {
    const { width, height } = this.canvas;
    const board = new OffscreenCanvas(width, height);
    const pen = board.getContext("2d", { willReadFrequently: true });
    pen.drawImage(alpha, 0, 0, width, height);
    eachGrey(pen, (value) => (value >= SURE * 255 ? 255 : value <= (1 - SURE) * 255 ? 0 : 128));
    this.#strokes(pen, (keep) => (keep ? "#fff" : "#000"));
    // Smoothing leaves greys at the rim of a stroke, and a trimap knows three values.
    eachGrey(pen, (value) => (value === 255 || value === 0 ? value : 128));
    return board.convertToBlob({ type: "image/png" });
  }

  #strokes(pen, color) {
    pen.lineCap = pen.lineJoin = "round";
    for (const { keep, wide, path } of this.strokes) {
      pen.lineWidth = wide;
      pen.strokeStyle = color(keep);
      pen.beginPath();
      pen.moveTo(...path[0]);
      for (const place of path) pen.lineTo(...place);
      pen.stroke();
    }
  }
}

function drawPoint(pen, { x, y, exclude }, px) {
  pen.beginPath();
  pen.arc(x, y, DOT_PX * px, 0, 7);
  pen.fillStyle = exclude ? RED : GREEN;
  pen.fill();
  pen.lineWidth = 2 * px;
  pen.strokeStyle = "#fff";
  pen.stroke();
  pen.beginPath();
  line(pen, x - 4 * px, y, x + 4 * px, y);
  if (!exclude) line(pen, x, y - 4 * px, x, y + 4 * px);
  pen.stroke();
}

function line(pen, x, y, toX, toY) {
  pen.moveTo(x, y);
  pen.lineTo(toX, toY);
}

function eachGrey(pen, change) {
  const pixels = pen.getImageData(0, 0, pen.canvas.width, pen.canvas.height);
  for (let at = 0; at < pixels.data.length; at += 4) pixels.data.fill(change(pixels.data[at]), at, at + 3);
  pen.putImageData(pixels, 0, 0);
}
