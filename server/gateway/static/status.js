// The one line that says what happened; screen readers read it aloud.
const line = document.getElementById("status");

export function say(text, { bad = false } = {}) {
  line.textContent = text;
  line.classList.toggle("bad", bad);
}
