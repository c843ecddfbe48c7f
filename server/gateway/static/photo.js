// One photo: shown before and after, marked, dressed up, downloaded.
//
// While sliders move, a smaller copy of the photo is worked on; the download is made of the photo
// itself with the same options.
import { remove } from "./api.js";
import { isCropped, readLook, watchLook } from "./look.js";
import { marks, revealResult, setStage, startStage, tool } from "./stage.js";
import { say } from "./status.js";

const PREVIEW_PX = 1600;
const WAIT_MS = 120; // after the last change
const at = (id) => document.getElementById(id);
export const ENDINGS = { "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg" };

let photo = null; // { file, copy, scale, width, height }: width and height are the file's
let alpha = null; // { bitmap, of }: the copy's, of those points; strokes are painted over it
let working = null; // AbortController of the request under way
let timer = 0;

export function startPhoto() {
  startStage(soon);
  watchLook(soon);
  at("photo-file").addEventListener("change", (event) => {
    if (event.target.files[0]) openPhoto(event.target.files[0]);
    event.target.value = "";
  });
  at("download").addEventListener("click", download);
  at("copy-call").addEventListener("click", copyCall);
  at("another").addEventListener("click", () => at("photo-file").click());
  at("retry").addEventListener("click", work);
  at("api-key").addEventListener("change", work);
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
  const { width, height } = bitmap;
  const scale = Math.min(1, PREVIEW_PX / Math.max(width, height));
  const [wide, high] = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const copy = scale < 1 ? await resized(bitmap, wide, high, { type: "image/jpeg", quality: 0.92 }) : file;
  bitmap.close();
  photo = { file, copy, scale, width, height };
  alpha = null;
  say("");
  at("start").hidden = true;
  at("workbench").hidden = false;
  at("after").removeAttribute("src");
  setStage(wide, high);
  show(at("before"), copy);
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
  const { signal } = mine;
  working = mine;
  at("busy").hidden = false;
  at("retry").hidden = true;
  try {
    const isMarking = tool() !== "compare";
    const look = readLook({ scale: photo.scale, whole: isMarking });
    const { blob, report } = await remove(photo.copy, ...(await withMarks(look, 1, signal)));
    if (signal.aborted) return;
    show(at("after"), blob);
    revealResult(isCropped() && !isMarking);
    tell(report);
  } catch (error) {
    if (error.name === "AbortError" || signal.aborted) return;
    say(error.message, { bad: true });
    at("retry").hidden = false;
  } finally {
    if (working === mine) at("busy").hidden = true;
  }
}

// The look with what was marked, as `remove` takes both; places are times `scale` those of the copy.
async function withMarks({ options, files }, scale, signal) {
  if (marks.strokes.length) {
    const trimap = await marks.trimap(await copysAlpha(signal));
    files.trimap = scale === 1 ? trimap : await enlarged(trimap);
  } else if (marks.pointOut) {
    options.subject = { points: points(scale) };
  }
  return [options, { files, signal }];
}

async function copysAlpha(signal) {
  const of = JSON.stringify(points(1));
  if (alpha?.of !== of) {
    const subject = marks.pointOut ? { subject: { points: points(1) } } : {};
    const { blob } = await remove(photo.copy, { output: "OUTPUT_ALPHA", ...subject }, { signal });
    alpha = { of, bitmap: await createImageBitmap(blob) };
  }
  return alpha.bitmap;
}

function points(scale) {
  return marks.points.map(({ x, y, exclude }) => ({ x: x * scale, y: y * scale, exclude }));
}

// Marks are made on the copy; the server wants a trimap of the size of the photo that it is given.
async function enlarged(trimap) {
  return resized(await createImageBitmap(trimap), photo.width, photo.height, { type: "image/png" }, false);
}

function resized(bitmap, width, height, type, isSmooth = true) {
  const board = new OffscreenCanvas(width, height);
  const pen = board.getContext("2d");
  pen.imageSmoothingEnabled = isSmooth;
  pen.imageSmoothingQuality = "high";
  pen.drawImage(bitmap, 0, 0, width, height);
  return board.convertToBlob(type);
}

function tell(report) {
  const model = report.model ?? {};
  const rows = {
    Model: `${model.name ?? "?"} ${model.version ?? ""}`,
    Engine: `${model.engine ?? "?"}, ${model.device ?? ""}`,
    Time: `${(report.timings?.total_ms ?? 0).toFixed(0)} ms`,
    "Subject takes": `${((report.coverage ?? 0) * 100).toFixed(0)} %`,
    Unsure: `${((report.uncertainty ?? 0) * 100).toFixed(0)} %`,
    ...(report.cached_features && { Photo: "seen before, not looked at again" }),
  };
  at("facts").replaceChildren(
    ...Object.entries(rows).flatMap(([name, value]) => [element("dt", name), element("dd", value)]),
  );
  if (report.no_subject) {
    say("No subject was found in this photo. Choose Click and show where it is, or paint over it with Keep.", { bad: true });
  } else if (marks.points.length && !marks.pointOut) {
    say("Now click what you want: only what you do not want is marked.");
  } else {
    const notes = report.notes ?? [];
    say([`Done in ${rows.Time}.`, ...notes].join(" "), { quiet: !notes.length });
  }
}

async function download() {
  if (!photo) return;
  at("download").disabled = true;
  say("Working on the photo at its full size…");
  try {
    const { blob, report } = await remove(photo.file, ...(await withMarks(readLook(), 1 / photo.scale)));
    tell(report);
    save(blob, `${photo.file.name.replace(/\.[^.]*$/, "")}-mattestream.${ENDINGS[blob.type] ?? "png"}`);
  } catch (error) {
    say(error.message, { bad: true });
  } finally {
    at("download").disabled = false;
  }
}

async function copyCall() {
  const { options, files } = readLook();
  if (marks.pointOut) options.subject = { points: points(1 / photo.scale) };
  const more = files.background ? " -F background=@background.jpg" : "";
  const key = at("api-key").value ? " -H 'X-Api-Key: …'" : "";
  const call = `curl -o result.${at("format").value.slice(7).toLowerCase()} -F image=@photo.jpg${more}${key} -F 'options=${JSON.stringify(options)}' ${new URL("v1/remove", location.href)}`;
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
