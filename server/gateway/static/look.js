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
  const chosen = background();
  for (const part of document.querySelectorAll("[data-for]")) {
    const wanted = part.dataset.for;
    part.hidden = wanted === "shadow" ? !at("shadow").value : wanted !== chosen;
  }
  at("look").style.setProperty("--chosen", at("background-color").value);
  at("crop").disabled = chosen === "studio"; // it is cut as it is
  const jpeg = at("format").querySelector('[value="FORMAT_JPEG"]');
  jpeg.disabled = chosen === "transparent";
  if (jpeg.disabled && jpeg.selected) at("format").value = "FORMAT_PNG";
  for (const [id, text] of Object.entries(SHOWN)) {
    document.querySelector(`output[for="${id}"]`).value = text(at(id).value);
  }
}

function background() {
  return document.querySelector('[name="background"]:checked').value;
}

export function isCropped() {
  return at("crop").checked || background() === "studio";
}

// { options, files } for `remove`. Lengths on the form are pixels of the photo; `scale` is how much
// smaller the picture is that they go with. `whole` leaves the crop out, for marking on the photo.
export function readLook({ scale = 1, whole = false } = {}) {
  const options = { output: "OUTPUT_CUTOUT", format: at("format").value, edges: {} };
  const files = {};
  if (at("refine").value) options.edges.refine = at("refine").value;
  if (+at("feather").value) options.edges.feather_px = +at("feather").value * scale;
  if (+at("shift").value) options.edges.shift_px = +at("shift").value * scale;
  if (at("shadow").value) {
    options.shadow = { kind: at("shadow").value, opacity: at("shadow-opacity").value / 100 };
  }
  const chosen = background();
  const picture = at("background-image").files[0];
  if (chosen === "white" || chosen === "studio") options.background = { color: "white" };
  if (chosen === "color") options.background = { color: at("background-color").value };
  if (chosen === "blur") options.background = { blur: { radius_px: at("background-blur").value * scale } };
  if (chosen === "image" && picture) files.background = picture;
  if (options.background || files.background) options.output = "OUTPUT_COMPOSITE";
  if (chosen === "studio") options.shadow ??= { kind: "SHADOW_KIND_CONTACT", opacity: 0.35 };
  if (isCropped() && !whole) {
    const margin = { percent: chosen === "studio" ? 10 : 4 };
    options.crop = { margin_top: margin, margin_right: margin, margin_bottom: margin, margin_left: margin };
    options.crop.flush = chosen === "studio"; // a portrait must not float above its cut
  }
  return { options, files };
}
