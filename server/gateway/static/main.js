// Starts the page: tabs, the status line, and dropping or pasting pictures anywhere.
import { addToBatch, startBatch } from "./batch.js";
import { startCamera, stopCamera } from "./camera.js";
import { openPhoto, startPhoto } from "./photo.js";
import { say } from "./status.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];

function choose(tab, focus = false) {
  for (const other of tabs) {
    const chosen = other === tab;
    other.setAttribute("aria-selected", String(chosen));
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
  if (focus) tab.focus();
  if (tab.id !== "tab-camera") stopCamera();
}

function shownPanel() {
  return tabs.find((tab) => tab.getAttribute("aria-selected") === "true").getAttribute("aria-controls");
}

function take(files) {
  const pictures = [...files].filter((file) => file.type.startsWith("image/"));
  if (!pictures.length) {
    if (files.length) say("That is no picture: drop a JPEG, PNG or WebP.", { bad: true });
    return;
  }
  if (pictures.length > 1 || shownPanel() === "batch") {
    choose(document.getElementById("tab-batch"));
    addToBatch(pictures);
  } else {
    choose(document.getElementById("tab-photo"));
    openPhoto(pictures[0]);
  }
}

for (const [at, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) choose(tabs[(at + step + tabs.length) % tabs.length], true);
  });
}

let drags = 0; // dragenter of a child comes before dragleave of its parent
addEventListener("dragenter", () => document.body.classList.toggle("dragging", ++drags > 0));
addEventListener("dragleave", () => document.body.classList.toggle("dragging", --drags > 0));
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  drags = 0;
  document.body.classList.remove("dragging");
  take(event.dataTransfer.files);
});
addEventListener("paste", (event) => take(event.clipboardData?.files ?? []));

startPhoto();
startBatch();
startCamera((shot) => {
  choose(document.getElementById("tab-photo"));
  openPhoto(shot);
});
