// The server as functions; the only file that knows its addresses.
const key = document.getElementById("api-key");

export class ServerError extends Error {
  constructor(message, status, retryAfterMs) {
    super(message);
    this.status = status;
    this.retryAfterMs = retryAfterMs;
  }
}

// One picture, with RemoveOptions in protobuf's JSON form. Answers { blob, report }.
export async function remove(image, options, { signal, retries = 4 } = {}) {
  const body = new FormData();
  body.append("image", image, "image");
  body.append("options", new Blob([JSON.stringify(options)], { type: "application/json" }));
  const response = await call("v1/remove", { method: "POST", body, signal }, retries);
  const report = JSON.parse(response.headers.get("x-mattestream-report") ?? "{}");
  return { blob: await response.blob(), report };
}

async function call(path, init, retries) {
  const headers = key.value ? { "x-api-key": key.value } : {};
  for (;;) {
    const response = await fetch(path, { ...init, headers });
    if (response.ok) return response;
    const error = await asError(response);
    const busy = response.status === 429 || response.status === 503;
    if (!busy || retries-- <= 0) throw error;
    await new Promise((resolve) => setTimeout(resolve, error.retryAfterMs || 500));
    init.signal?.throwIfAborted();
  }
}

async function asError(response) {
  const text = await response.text();
  let message = text || `the server answered ${response.status}`;
  try {
    const body = JSON.parse(text);
    message = body.error?.message ?? body.errors?.[0]?.title ?? message;
  } catch {
    // Not JSON: the text itself says it.
  }
  const seconds = Number(response.headers.get("retry-after") ?? 0);
  return new ServerError(message, response.status, seconds * 1000);
}
