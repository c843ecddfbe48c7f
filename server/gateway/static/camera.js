// The camera, live: frames go to the server, alphas come back, the picture is put together here.
//
// Two frames are on their way at a time; what the camera gives meanwhile is skipped, so the picture
// is as late as one round trip and never later.
import { remove } from "./api.js";
import { say } from "./status.js";

const IN_FLIGHT = 2;
const WIDTH_PX = 640;
const ALPHA = { output: "OUTPUT_ALPHA", format: "FORMAT_PNG" };
const at = (id) => document.getElementById(id);

let stream = null;
let video = null;
let stop = null; // AbortController of the frames under way
let sent = 0;
let shown = 0;
let arrivals = [];

export function startCamera(takeShot) {
  at("camera-start").addEventListener("click", () => (stream ? stopCamera() : open()));
  at("camera-shot").addEventListener("click", () => shoot(takeShot));
}

export function stopCamera() {
  stop?.abort();
  for (const track of stream?.getTracks() ?? []) track.stop();
  stream = null;
  at("camera-start").textContent = "Start the camera";
  at("camera-start").classList.add("main");
  at("camera-shot").disabled = true;
  at("camera-empty").hidden = false;
  at("camera-rate").value = "";
}

// Why a browser refuses a camera, by the name of its error.
const REFUSALS = {
  NotAllowedError: "this page may not use it. Allow it in the browser's address bar, then start it again.",
  NotFoundError: "there is none on this machine.",
  NotReadableError: "another program holds it. Close that one, then start it again.",
};

async function open() {
  if (!navigator.mediaDevices) {
    say("The camera cannot be opened: browsers open it on https and localhost only.", { bad: true });
    return;
  }
  try {
    stream = await navigator.mediaDevices.getUserMedia({ video: { width: { ideal: 1280 } } });
  } catch (error) {
    say(`The camera cannot be opened: ${REFUSALS[error.name] ?? error.message}`, { bad: true });
    return;
  }
  video = document.createElement("video");
  video.muted = video.playsInline = true;
  video.srcObject = stream;
  await video.play();
  at("camera-start").textContent = "Stop the camera";
  at("camera-start").classList.remove("main");
  at("camera-shot").disabled = false;
  const view = at("camera-view");
  // People expect a mirror, but not of the camera at a phone's back.
  view.classList.toggle("mirrored", stream.getVideoTracks()[0].getSettings().facingMode !== "environment");
  view.width = WIDTH_PX;
  view.height = Math.round((WIDTH_PX * video.videoHeight) / video.videoWidth);
  stop = new AbortController();
  sent = shown = 0;
  arrivals = [];
  for (let lane = 0; lane < IN_FLIGHT; lane += 1) send(stop.signal);
}

async function send(signal) {
  while (!signal.aborted) {
    const number = (sent += 1);
    const began = performance.now();
    try {
      const frame = await grab();
      const { blob } = await remove(frame.blob, ALPHA, { signal, retries: 0 });
      const alpha = await createImageBitmap(blob);
      if (signal.aborted) return;
      if (number > shown) draw(frame.board, alpha); // a later one may have come first
      shown = Math.max(shown, number);
      at("camera-empty").hidden = true;
      rate(performance.now() - began);
    } catch (error) {
      if (signal.aborted) return;
      if (error.status !== 429 && error.status !== 503) {
        say(error.message, { bad: true });
        stopCamera();
        return;
      }
    }
    await new Promise(requestAnimationFrame); // a hidden page sends nothing
  }
}

async function grab() {
  const { width, height } = at("camera-view");
  const board = new OffscreenCanvas(width, height);
  board.getContext("2d").drawImage(video, 0, 0, width, height);
  return { board, blob: await board.convertToBlob({ type: "image/jpeg", quality: 0.85 }) };
}

function draw(frame, alpha) {
  const view = at("camera-view");
  const pen = view.getContext("2d");
  const background = at("camera-background").value;
  pen.clearRect(0, 0, view.width, view.height);
  if (background === "blur") drawBlurred(pen, frame, view);
  else if (background !== "checker") {
    pen.fillStyle = background;
    pen.fillRect(0, 0, view.width, view.height);
  }
  pen.drawImage(withAlpha(frame, alpha), 0, 0);
}

// Shrunk and stretched again: every browser can, and it is as soft as a blur.
function drawBlurred(pen, frame, view) {
  const small = new OffscreenCanvas(32, Math.max(1, Math.round((32 * view.height) / view.width)));
  const brush = small.getContext("2d");
  brush.imageSmoothingQuality = "high";
  brush.drawImage(frame, 0, 0, small.width, small.height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(small, 0, 0, view.width, view.height);
}

// The frame with the alpha, which comes as a grey picture.
function withAlpha(frame, alpha) {
  const { width, height } = frame;
  const mask = new OffscreenCanvas(width, height);
  const pen = mask.getContext("2d", { willReadFrequently: true });
  pen.drawImage(alpha, 0, 0, width, height);
  const values = pen.getImageData(0, 0, width, height);
  const pixels = frame.getContext("2d").getImageData(0, 0, width, height);
  for (let place = 0; place < values.data.length; place += 4) pixels.data[place + 3] = values.data[place];
  pen.putImageData(pixels, 0, 0);
  return mask;
}

function rate(roundTripMs) {
  const now = performance.now();
  arrivals = [...arrivals.filter((time) => now - time < 2000), now];
  at("camera-rate").value = `${(arrivals.length / 2).toFixed(0)} frames/s, ${roundTripMs.toFixed(0)} ms`;
}

async function shoot(takeShot) {
  const board = new OffscreenCanvas(video.videoWidth, video.videoHeight);
  board.getContext("2d").drawImage(video, 0, 0);
  const blob = await board.convertToBlob({ type: "image/jpeg", quality: 0.95 });
  takeShot(new File([blob], "camera.jpg", { type: "image/jpeg" }));
}
