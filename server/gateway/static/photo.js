// One photo: shown before and after, marked, dressed up, downloaded.
//
// While sliders move, a smaller copy of the photo is worked on; the download is made of the photo
// itself with the same options.
import { remove } from "./api.js";
import { base64, isCropped, readLook, watchLook } from "./look.js";
import { Marks } from "./marks.js";
import { say } from "./status.js";

const PREVIEW_PX = 1600;
const WAIT_MS = 120; // after the last change
const at = (id) => document.getElementById(id);
const HINTS = {
  compare: "Drag across the picture, or move the slider, to compare.",
  subject: "Click what you want. Shift-click what you do not. By keyboard: arrows, then Enter.",
  keep: "Paint over what was lost.",
  remove: "Paint over what should go.",
};
const ENDINGS = { "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg" };

let photo = null; // { file, copy, scale, width, height }: sizes of the copy
let alpha = null; // of the copy, as a bitmap; fetched when the first stroke needs it
let working = null; // AbortController of the request under way
let timer = 0;
let marks = null;

export function startPhoto() {
  marks = new Marks(at("marks"));
  at("photo-file").addEventListener("change", (event) => {
    if (event.target.files[0]) openPhoto(event.target.files[0]);
    event.target.value = "";
  });
  watchLook(soon);
  for (const radio of document.querySelectorAll('[name="tool"]')) {
    radio.addEventListener("change", () => useTool(radio.value));
  }
  at("divider").addEventListener("input", () => split(+at("divider").value));
  watchPointer(at("stage"));
  watchKeys(at("stage"));
  at("undo").addEventListener("click", () => {
    marks.undo(tool() === "keep" || tool() === "remove" || !marks.points.length);
    soon();
  });
  at("start-over").addEventListener("click", () => {
    marks.clear(photo.width, photo.height);
    soon();
  });
  at("download").addEventListener("click", download);
  at("copy-call").addEventListener("click", copyCall);
  at("another").addEventListener("click", () => at("photo-file").click());
}

export async function openPhoto(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    // The server reads more types than browsers do, but then there is nothing to show before.
    say(`${file.name} cannot be shown by this browser: choose a JPEG, PNG or WebP.`, { bad: true });
    return;
  }
  const scale = Math.min(1, PREVIEW_PX / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * scale));
  const height = Math.max(1, Math.round(bitmap.height * scale));
  photo = { file, copy: file, scale, width, height };
  if (scale < 1) {
    const board = new OffscreenCanvas(width, height);
    board.getContext("2d").drawImage(bitmap, 0, 0, width, height);
    photo.copy = await board.convertToBlob({ type: "image/jpeg", quality: 0.92 });
  }
  bitmap.close();
  alpha = null;
  at("drop").hidden = true;
  at("workbench").hidden = false;
  at("stage").style.setProperty("--ratio", width / height);
  show(at("before"), photo.copy);
  at("after").removeAttribute("src");
  marks.clear(width, height);
  await work();
}

function soon() {
  clearTimeout(timer);
  timer = setTimeout(work, WAIT_MS);
}

async function work() {
  if (!photo) return;
  working?.abort();
  const mine = new AbortController();
  working = mine;
  at("busy").hidden = false;
  at("undo").disabled = at("start-over").disabled = marks.isEmpty;
  try {
    const isMarking = tool() !== "compare";
    const options = await readLook({ scale: photo.scale, whole: isMarking });
    const subject = await readMarks(mine.signal);
    const { blob, report } = await remove(photo.copy, { ...options, ...subject }, mine);
    if (mine.signal.aborted) return;
    show(at("after"), blob);
    at("stage").classList.toggle("result-is-cropped", isCropped() && !isMarking);
    tell(report);
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, { bad: true });
  } finally {
    if (working === mine) at("busy").hidden = true;
  }
}

// `subject` of the options, or nothing without marks; places are pixels of the copy.
async function readMarks(signal) {
  if (marks.strokes.length) {
    if (!alpha) {
      const points = subjectPoints();
      const { blob } = await remove(photo.copy, { output: "OUTPUT_ALPHA", ...points }, { signal });
      alpha = await createImageBitmap(blob);
    }
    const trimap = await marks.trimap(alpha);
    return { subject: { trimap: { encoded: await base64(trimap) } } };
  }
  alpha = null;
  return subjectPoints();
}

function subjectPoints() {
  return marks.points.length ? { subject: { points: marks.points } } : {};
}

function tell(report) {
  const model = report.model ?? {};
  const rows = {
    Model: `${model.name ?? "?"} ${model.version ?? ""}`,
    Engine: `${model.engine ?? "?"}, ${model.device ?? ""}`,
    Time: `${(report.timings?.total_ms ?? 0).toFixed(0)} ms`,
    "Subject takes": `${((report.coverage ?? 0) * 100).toFixed(0)} %`,
    Unsure: `${((report.uncertainty ?? 0) * 100).toFixed(0)} %`,
  };
  at("facts").replaceChildren(
    ...Object.entries(rows).flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
  if (report.no_subject) {
    say("No subject was found in this photo. Click on it, or paint over it.", { bad: true });
  } else {
    say([`Done in ${rows.Time}.`, ...(report.notes ?? [])].join(" "));
  }
}

async function download() {
  if (!photo) return;
  at("download").disabled = true;
  say("Working on the photo at its full size…");
  try {
    const options = await readLook();
    if (marks.strokes.length) {
      // Marks are on the copy; the server wants them at the size of what it is given.
      const bitmap = await createImageBitmap(await marks.trimap(alpha));
      const board = new OffscreenCanvas(Math.round(bitmap.width / photo.scale), Math.round(bitmap.height / photo.scale));
      const pen = board.getContext("2d");
      pen.imageSmoothingEnabled = false;
      pen.drawImage(bitmap, 0, 0, board.width, board.height);
      options.subject = { trimap: { encoded: await base64(await board.convertToBlob()) } };
    } else if (marks.points.length) {
      const points = marks.points.map(({ x, y, exclude }) => ({ x: x / photo.scale, y: y / photo.scale, exclude }));
      options.subject = { points };
    }
    const { blob, report } = await remove(photo.file, options);
    save(blob, `${photo.file.name.replace(/\.[^.]*$/, "")}-mattestream.${ENDINGS[blob.type] ?? "png"}`);
    tell(report);
  } catch (error) {
    say(error.message, { bad: true });
  } finally {
    at("download").disabled = false;
  }
}

async function copyCall() {
  const options = await readLook();
  delete options.background?.image; // megabytes
  const call = `curl -o result -F image=@photo.jpg -F 'options=${JSON.stringify(options)}' ${new URL("v1/remove", location.href)}`;
  try {
    await navigator.clipboard.writeText(call);
    say("The call is on the clipboard.");
  } catch {
    say(call);
  }
}

export function save(blob, name) {
  const link = element("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

export function element(name, text = "") {
  const made = document.createElement(name);
  made.textContent = text;
  return made;
}

function show(image, blob) {
  const old = image.src;
  image.src = URL.createObjectURL(blob);
  if (old.startsWith("blob:")) URL.revokeObjectURL(old);
}

function tool() {
  return document.querySelector('[name="tool"]:checked').value;
}

function useTool(name) {
  at("stage").dataset.tool = name;
  at("hint").textContent = HINTS[name];
  at("stage").tabIndex = name === "compare" ? -1 : 0;
  marks.cursor = null;
  marks.draw();
  if (isCropped()) soon(); // marks are made on the whole photo
}

function split(percent) {
  at("stage").style.setProperty("--split", `${percent}%`);
  at("divider").value = percent;
  at("divider").setAttribute("aria-valuetext", `${Math.round(percent)} % before`);
}

function watchPointer(stage) {
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    const x = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    const y = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    return [x, y];
  };
  let isDown = false;
  stage.addEventListener("pointerdown", (event) => {
    if (!photo || event.button) return;
    isDown = true;
    stage.setPointerCapture(event.pointerId);
    const [x, y] = place(event);
    act(x, y, event.shiftKey);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!isDown) return;
    const [x, y] = place(event);
    if (tool() === "compare") split(x * 100);
    else if (tool() !== "subject") marks.extendStroke(x * photo.width, y * photo.height);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, () => {
      if (isDown && tool() !== "compare") soon();
      isDown = false;
    });
  }
}

function watchKeys(stage) {
  stage.addEventListener("keydown", (event) => {
    if (!photo || tool() === "compare") return;
    const step = (event.shiftKey ? 0.005 : 0.02) * Math.max(photo.width, photo.height);
    const [dx, dy] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    const [x, y] = marks.cursor ?? [photo.width / 2, photo.height / 2];
    if (event.key === "Enter" || event.key === " ") {
      act(x / photo.width, y / photo.height, event.shiftKey);
      soon();
    } else if (!dx && !dy) {
      return;
    }
    event.preventDefault();
    marks.cursor = [
      Math.min(photo.width, Math.max(0, x + dx * step)),
      Math.min(photo.height, Math.max(0, y + dy * step)),
    ];
    marks.draw();
  });
}

// `x` and `y` from 0 to 1.
function act(x, y, exclude) {
  const name = tool();
  if (name === "compare") split(x * 100);
  else if (name === "subject") marks.addPoint(x * photo.width, y * photo.height, exclude);
  else marks.beginStroke(x * photo.width, y * photo.height, name === "keep");
}
