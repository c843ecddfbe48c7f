// Starts the page: tabs, the status line, and dropping or pasting pictures anywhere.
import { addToBatch, startBatch } from "./batch.js";
import { startCamera, stopCamera } from "./camera.js";
import { openPhoto, startPhoto } from "./photo.js";
import { say } from "./status.js";

const tabs = [...document.querySelectorAll('[role="tab"]')];

function choose(tab, focus = false) {
  if (tab.getAttribute("aria-selected") !== "true") say(""); // it was about the other panel
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
    if (files.length) say(`${files[0].name} is no picture: drop a JPEG, PNG or WebP.`, { bad: true });
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
    const last = tabs.length - 1;
    const to = { ArrowRight: at === last ? 0 : at + 1, ArrowLeft: at === 0 ? last : at - 1, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(tabs[to], true);
  });
}

// The box for the key closes as menus do.
const keyBox = document.getElementById("key");
addEventListener("pointerdown", (event) => {
  if (!keyBox.contains(event.target)) keyBox.open = false;
});
keyBox.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" && !(event.key === "Enter" && event.target.id === "api-key")) return;
  event.preventDefault(); // else the same key opens it again
  keyBox.open = false;
  keyBox.querySelector("summary").focus();
});

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
