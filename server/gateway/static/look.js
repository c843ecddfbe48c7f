// The form at the side of the photo: what it shows, and the RemoveOptions it stands for.
const at = (id) => document.getElementById(id);
const SHOWN = { feather: (v) => `${v} px`, shift: (v) => `${v} px`, "background-blur": (v) => `${v} px`,
  "shadow-opacity": (v) => `${v} %` };

// Calls `changed` after every change that the result depends on.
export function watchLook(changed) {
  at("look").addEventListener("submit", (event) => event.preventDefault());
  at("look").addEventListener("input", () => {
    tidy();
    changed();
  });
  tidy();
}

// Hides what has no meaning now, and writes the sliders' values beside them.
function tidy() {
  const background = at("background").value;
  for (const part of document.querySelectorAll("[data-for]")) {
    const wanted = part.dataset.for;
    part.hidden = wanted === "shadow" ? !at("shadow").value : wanted !== background;
  }
  const jpeg = at("format").querySelector('[value="FORMAT_JPEG"]');
  jpeg.disabled = background === "transparent";
  if (jpeg.disabled && jpeg.selected) at("format").value = "FORMAT_PNG";
  for (const [id, text] of Object.entries(SHOWN)) {
    document.querySelector(`output[for="${id}"]`).value = text(at(id).value);
  }
}

export function isCropped() {
  return at("crop").checked || at("background").value === "studio";
}

// The options as JSON. Lengths on the form are pixels of the photo; `scale` is how much smaller the
// picture is that they go with. `whole` leaves the crop out, for marking on the photo.
export async function readLook({ scale = 1, whole = false } = {}) {
  const options = { output: "OUTPUT_CUTOUT", format: at("format").value, edges: {} };
  if (at("refine").value) options.edges.refine = at("refine").value;
  if (+at("feather").value) options.edges.feather_px = +at("feather").value * scale;
  if (+at("shift").value) options.edges.shift_px = +at("shift").value * scale;
  if (at("shadow").value) {
    options.shadow = { kind: at("shadow").value, opacity: at("shadow-opacity").value / 100 };
  }
  const background = await readBackground(scale);
  if (background) Object.assign(options, { output: "OUTPUT_COMPOSITE", background });
  const margin = { percent: at("background").value === "studio" ? 10 : 4 };
  if (at("background").value === "studio") {
    options.shadow ??= { kind: "SHADOW_KIND_CONTACT", opacity: 0.35 };
  }
  if (isCropped() && !whole) {
    options.crop = { margin_top: margin, margin_right: margin, margin_bottom: margin, margin_left: margin };
  }
  return options;
}

async function readBackground(scale) {
  switch (at("background").value) {
    case "color":
      return { color: at("background-color").value };
    case "studio":
      return { color: "white" };
    case "blur":
      return { blur: { radius_px: at("background-blur").value * scale } };
    case "image": {
      const file = at("background-image").files[0];
      return file ? { image: { image: { encoded: await base64(file) } } } : null;
    }
    default:
      return null;
  }
}

// The bytes of a blob as protobuf's JSON wants them.
export async function base64(blob) {
  const bytes = new Uint8Array(await blob.arrayBuffer());
  let text = "";
  for (let from = 0; from < bytes.length; from += 0x8000) {
    text += String.fromCharCode(...bytes.subarray(from, from + 0x8000));
  }
  return btoa(text);
}
