// The stage: the photo and its result on top of each other, the tool in hand, pointer and keys.
//
// It knows what a person does there and nothing of servers: `photo.js` is told through `changed`.
import { isCropped } from "./look.js";
import { Marks } from "./marks.js";

const at = (id) => document.getElementById(id);
const REVEAL_MS = 700;
const BY_TOUCH = matchMedia("(pointer: coarse)").matches;
const HINTS = {
  compare: "Drag across the picture to compare.",
  subject: BY_TOUCH
    ? "Tap what you want. With “Leave out”, tap what you do not."
    : "Click what you want, Shift-click what you do not. By keyboard: arrows, then Enter.",
  keep: `Paint over what was lost.${BY_TOUCH ? "" : " By keyboard: arrows, then Enter."}`,
  remove: `Paint over what should go.${BY_TOUCH ? "" : " By keyboard: arrows, then Enter."}`,
};

export const tool = () => document.querySelector('[name="tool"]:checked').value;
export let marks = null;
let size = null; // { width, height } of what is shown, px; null: nothing yet
let changed = () => {};
let revealing = null; // the animation

// Calls `whenChanged` after every mark that the result depends on.
export function startStage(whenChanged) {
  marks = new Marks(at("marks"));
  changed = () => {
    tidy();
    whenChanged();
  };
  for (const radio of document.querySelectorAll('[name="tool"]')) {
    radio.addEventListener("change", useTool);
  }
  at("divider").addEventListener("input", () => split(+at("divider").value));
  at("brush").addEventListener("input", setBrush);
  at("undo").addEventListener("click", undo);
  at("start-over").addEventListener("click", () => {
    marks.clear(size.width, size.height);
    changed();
  });
  addEventListener("keydown", (event) => {
    const isUndo = (event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z";
    if (isUndo && !event.shiftKey && !marks.isEmpty && at("stage").offsetParent) undo();
  });
  addEventListener("resize", () => marks.draw());
  watchPointer(at("stage"));
  watchKeys(at("stage"));
  useTool();
}

// A photo of this size, whole until its first result is there.
export function setStage(width, height) {
  size = { width, height };
  at("stage").style.setProperty("--ratio", width / height);
  at("stage").classList.add("is-first");
  at("stage").classList.remove("result-is-cropped");
  marks.clear(width, height);
  setBrush();
  tidy();
}

// The result is there: the first time the photo moves aside, for those who like things to move.
export function revealResult(cropped) {
  const stage = at("stage");
  stage.classList.toggle("result-is-cropped", cropped);
  if (!stage.classList.contains("is-first")) return;
  stage.classList.remove("is-first");
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return;
  const way = { "--split": ["100%", `${at("divider").value}%`] };
  revealing = stage.animate(way, { duration: REVEAL_MS, easing: "cubic-bezier(0.3, 0, 0.1, 1)" });
}

function tidy() {
  at("undo").disabled = at("start-over").disabled = marks.isEmpty;
  at("marking").hidden = tool() === "compare" && marks.isEmpty;
  at("exclude-part").hidden = tool() !== "subject";
  at("brush-part").hidden = !isBrush();
}

const isBrush = () => tool() === "keep" || tool() === "remove";

function useTool() {
  const name = tool();
  const stage = at("stage");
  stage.dataset.tool = name;
  at("hint").textContent = HINTS[name];
  stage.tabIndex = name === "compare" ? -1 : 0;
  if (name === "compare") stage.removeAttribute("role");
  else stage.setAttribute("role", "application"); // arrows belong to it
  stage.setAttribute("aria-label", HINTS[name]);
  marks.cursor = null;
  marks.draw();
  tidy();
  if (size && isCropped()) changed(); // marks are made on the whole photo
}

function undo() {
  marks.undo();
  changed();
}

function setBrush() {
  if (size) marks.brush = Math.max(3, (at("brush").value / 100) * Math.max(size.width, size.height));
}

function split(percent) {
  revealing?.cancel();
  at("stage").style.setProperty("--split", `${percent}%`);
  at("divider").value = percent;
  at("divider").setAttribute("aria-valuetext", `${Math.round(percent)} % before`);
}

// What the tool does at a place; `x` and `y` are pixels of the photo.
function act(x, y, exclude) {
  if (tool() === "compare") split((x / size.width) * 100);
  else if (tool() === "subject") marks.addPoint(x, y, exclude || at("exclude").checked);
  else marks.beginStroke(x, y, tool() === "keep");
}

function watchPointer(stage) {
  const place = (event) => {
    const box = stage.getBoundingClientRect();
    const inside = (share) => Math.min(1, Math.max(0, share));
    return [
      inside((event.clientX - box.left) / box.width) * size.width,
      inside((event.clientY - box.top) / box.height) * size.height,
    ];
  };
  let isDown = false;
  stage.addEventListener("pointerdown", (event) => {
    if (!size || event.button || event.target.closest("button")) return;
    isDown = true;
    stage.setPointerCapture(event.pointerId);
    act(...place(event), event.shiftKey);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!size || (!isDown && !isBrush())) return;
    const [x, y] = place(event);
    if (isBrush()) marks.cursor = { x, y, ring: true };
    if (!isDown) marks.draw();
    else if (tool() === "compare") split((x / size.width) * 100);
    else if (isBrush()) marks.extendStroke(x, y);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    stage.addEventListener(end, () => {
      if (isDown && tool() !== "compare") changed();
      isDown = false;
    });
  }
  stage.addEventListener("pointerleave", () => {
    marks.cursor = null;
    marks.draw();
  });
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function watchKeys(stage) {
  const moved = ([dx, dy], step) => {
    const { x, y } = marks.cursor ?? { x: size.width / 2, y: size.height / 2 };
    const within = (value, most) => Math.min(most, Math.max(0, value));
    marks.cursor = { x: within(x + dx * step, size.width), y: within(y + dy * step, size.height), ring: isBrush() };
    marks.draw();
  };
  stage.addEventListener("focus", () => {
    if (size && tool() !== "compare" && stage.matches(":focus-visible")) moved([0, 0], 0);
  });
  stage.addEventListener("keydown", (event) => {
    if (!size || tool() === "compare" || event.target !== stage) return;
    if (STEPS[event.key]) {
      moved(STEPS[event.key], (event.shiftKey ? 0.005 : 0.02) * Math.max(size.width, size.height));
    } else if (event.key === "Enter" || event.key === " ") {
      moved([0, 0], 0);
      act(marks.cursor.x, marks.cursor.y, event.shiftKey);
      changed();
    } else {
      return;
    }
    event.preventDefault();
  });
}
