// The server as functions; the only file that knows its addresses.
const key = document.getElementById("api-key");
const MOST_WAIT_MS = 5000;

export class ServerError extends Error {
  constructor(message, status, retryAfterMs = 0) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

// One picture, with RemoveOptions in protobuf's JSON form; `files` are further pictures of the form, by
// name. Answers { blob, report }.
export async function remove(image, options, { files = {}, signal, retries = 4 } = {}) {
  const body = new FormData();
  body.append("image", image, "image");
  body.append("options", new Blob([JSON.stringify(options)], { type: "application/json" }));
  for (const [name, file] of Object.entries(files)) body.append(name, file, name);
  const response = await call("v1/remove", { method: "POST", body, signal }, retries);
  const report = JSON.parse(response.headers.get("x-mattestream-report") ?? "{}");
  return { blob: await response.blob(), report };
}

async function call(path, init, retries) {
  const headers = key.value ? { "x-api-key": key.value } : {};
  for (;;) {
    const response = await asked(path, { ...init, headers });
    if (response.ok) return response;
    const error = await asError(response);
    if (error.status === 401) document.getElementById("key").open = true;
    const busy = error.status === 429 || error.status === 503;
    if (!busy || retries-- <= 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, Math.min(error.retryAfterMs || 500, MOST_WAIT_MS)));
    init.signal?.throwIfAborted();
  }
}

async function asked(path, init) {
  try {
    return await fetch(path, init);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. See whether it still runs, then try again.", 0);
  }
}

async function asError(response) {
  const text = await response.text();
  let message = text || `the server answered ${response.status}`;
  let retryAfterMs = 1000 * Number(response.headers.get("retry-after") ?? 0);
  try {
    const { error } = JSON.parse(text);
    message = error.message;
    retryAfterMs = error.retry_after_ms ?? retryAfterMs;
  } catch {
    // Not JSON, as from a proxy: the text itself says it.
  }
  return new ServerError(sentence(message), response.status, retryAfterMs);
}

function sentence(text) {
  const whole = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(whole) ? whole : `${whole}.`;
}
