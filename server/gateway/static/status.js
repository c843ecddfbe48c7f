// The one message that says what happened; screen readers read it aloud.
const SHOWN_MS = 6000;
const line = document.getElementById("status");
const close = document.getElementById("status-close");
let timer = 0;

// A `bad` one stays until it is closed or something else is said; a `quiet` one is only read aloud.
export function say(text, { bad = false, quiet = false } = {}) {
  clearTimeout(timer);
  line.textContent = text;
  line.className = bad ? "bad" : quiet ? "quiet" : "";
  close.hidden = !bad;
  if (!bad) timer = setTimeout(() => line.classList.add("quiet"), SHOWN_MS);
}

close.addEventListener("click", () => say(""));
