// Many photos: a queue with progress, and all results in one zip.
import { remove } from "./api.js";
import { readLook } from "./look.js";
import { ENDINGS, element, save } from "./photo.js";
import { say } from "./status.js";
import { zip } from "./zip.js";

const AT_ONCE = 2;
const at = (id) => document.getElementById(id);

let jobs = []; // { file, card, state, result, name }: the name is that of the result
let running = 0;
let stop = new AbortController();

export function startBatch() {
  at("batch-files").addEventListener("change", (event) => {
    addToBatch([...event.target.files]);
    event.target.value = "";
  });
  at("batch-stop").addEventListener("click", () => {
    stop.abort();
    for (const job of jobs) if (job.state === "waiting") tell(job, "stopped");
    count();
  });
  at("batch-clear").addEventListener("click", () => {
    stop.abort();
    for (const { card } of jobs) URL.revokeObjectURL(card.querySelector("img").src);
    jobs = [];
    at("batch-list").replaceChildren();
    count();
  });
  at("batch-download").addEventListener("click", async () => {
    const files = jobs.filter((job) => job.result).map((job) => ({ name: job.name, blob: job.result }));
    say("Packing…");
    save(await zip(files), "mattestream.zip");
    say(`${files.length} results are in mattestream.zip.`);
  });
}

export function addToBatch(files) {
  if (stop.signal.aborted) stop = new AbortController();
  for (const file of files) {
    const job = { file, card: makeCard(file), state: "", result: null, name: "" };
    tell(job, "waiting");
    jobs.push(job);
    at("batch-list").append(job.card);
  }
  count();
  while (running < AT_ONCE && jobs.some((job) => job.state === "waiting")) work();
}

async function work() {
  running += 1;
  const { signal } = stop;
  for (let job; !signal.aborted && (job = jobs.find((one) => one.state === "waiting")); ) {
    tell(job, "working…");
    try {
      const { options, files } = at("batch-look").checked ? readLook() : { options: {}, files: {} };
      const { blob, report } = await remove(job.file, options, { files, signal, retries: 30 });
      job.result = blob;
      job.name = freeName(job.file.name, ENDINGS[blob.type] ?? "png");
      showResult(job, report);
    } catch (error) {
      tell(job, error.name === "AbortError" ? "stopped" : error.message, error.name !== "AbortError");
    }
    count();
  }
  running -= 1;
}

function showResult(job, report) {
  const image = job.card.querySelector("img");
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(job.result);
  image.alt = `${job.file.name} without its background`;
  tell(job, report.no_subject ? "no subject found" : `${(report.timings?.total_ms ?? 0).toFixed(0)} ms`);
  const button = element("button", "Download");
  button.type = "button";
  button.setAttribute("aria-label", `Download ${job.name}`);
  button.addEventListener("click", () => save(job.result, job.name));
  job.card.append(button);
}

function makeCard(file) {
  const card = element("li");
  const image = element("img");
  image.className = "thumb";
  image.src = URL.createObjectURL(file);
  image.alt = "";
  image.addEventListener("error", () => image.removeAttribute("src"));
  const name = element("span", file.name);
  name.className = "name";
  name.title = file.name;
  const state = element("span");
  state.className = "state";
  card.append(image, name, state);
  return card;
}

function tell(job, state, isBad = false) {
  job.state = state;
  job.card.dataset.state = state;
  const line = job.card.querySelector(".state");
  line.textContent = state;
  line.classList.toggle("bad", isBad);
}

function count() {
  const done = jobs.filter((job) => job.state !== "waiting" && job.state !== "working…").length;
  const made = jobs.filter((job) => job.result).length;
  at("batch-bar").hidden = !jobs.length;
  at("batch-progress").max = Math.max(1, jobs.length);
  at("batch-progress").value = done;
  at("batch-count").value = `${done} of ${jobs.length}`;
  at("batch-download").disabled = !made;
  at("batch-stop").disabled = done === jobs.length;
  if (jobs.length && done === jobs.length) {
    say(`${made} of ${jobs.length} photos are done.`, { bad: made < jobs.length });
  }
}

function freeName(fileName, ending) {
  const taken = new Set(jobs.map((job) => job.name));
  const stem = fileName.replace(/\.[^.]*$/, "");
  for (let number = 1; ; number += 1) {
    const name = number === 1 ? `${stem}.${ending}` : `${stem}-${number}.${ending}`;
    if (!taken.has(name)) return name;
  }
}
