// The server: JSON calls, the event stream of an answer, and the key, which lives as long as the tab.

const KEY = "codeintel-key";

export class Refused extends Error {
  constructor(problem, status) {
    super(problem.detail || problem.title || `HTTP ${status}`);
    this.problem = problem;
    this.status = status;
  }
}

export const useKey = (value) => value ? sessionStorage.setItem(KEY, value) : sessionStorage.removeItem(KEY);
export const hasKey = () => sessionStorage.getItem(KEY) !== null;

async function call(path, { body, accept = "application/json", signal } = {}) {
  const headers = { Accept: accept };
  if (body) headers["Content-Type"] = "application/json";
  if (hasKey()) headers.Authorization = `Bearer ${sessionStorage.getItem(KEY)}`;
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused({ title: "The server cannot be reached", detail: "is `codeintel serve` still running?" }, 0);
  }
  if (!response.ok && path !== "/readyz") {
    const problem = await response.json().catch(() => ({ title: `HTTP ${response.status}` }));
    throw new Refused(problem, response.status);
  }
  return response;
}

const json = async (...call_) => (await call(...call_)).json();

export const status = () => json("/status");
export const dashboard = (days) => json(`/analytics/dashboard?days=${days}`);
export const readiness = () => json("/readyz");
export const search = (body, signal) => json("/search", { body, signal });
export const feedback = (body) => json("/feedback", { body });

const MOST_PAGES = 20;
// Lines of a file as one piece; the server gives them in pages of whole lines.
export async function read({ repo, path, first, last, as_of = "" }) {
  const body = { targets: [`${repo}:${path}:${first}-${last}`], scope: { repos: [repo], as_of }, max_tokens: 20000 };
  let found = null;
  for (let page = 0, cursor = ""; page === 0 || (cursor && page < MOST_PAGES); page += 1) {
    const { files: [part], budget } = await json("/read", { body: { ...body, cursor } });
    found = found ? { ...found, text: `${found.text}\n${part.text}`, end_line: part.end_line } : part;
    cursor = budget.next_cursor;
  }
  return found;
}

let described;
// Whether the server has this address; what it lacks is not offered.
export async function offers(path) {
  described ??= json("/openapi.json").catch(() => ({ paths: {} }));
  return path in (await described).paths;
}

export const report = async (runId) =>
  (await call(`/runs/${encodeURIComponent(runId)}/report`, { accept: "text/markdown, text/plain, */*;q=0.5" })).text();

// The events of an answer: calls `on(name, data)` for each until the stream ends.
export async function answer(body, on, signal) {
  const response = await call("/answer", { body, accept: "text/event-stream", signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let pending = "";
  let isWhole = false;
  for (;;) {
    const { value, done } = await reader.read();
    pending += (value ?? "").replaceAll("\r", "");
    for (let end; (end = pending.indexOf("\n\n")) >= 0; pending = pending.slice(end + 2)) {
      const { name, data } = parse(pending.slice(0, end));
      if (!data) continue;  // a comment that keeps the connection open
      on(name, JSON.parse(data));
      isWhole ||= name === "trace" || name === "error";
    }
    if (done) break;
  }
  if (!isWhole) throw new Refused({ title: "The answer was cut off", detail: "the connection ended before the answer did; ask again" }, 0);
}

function parse(block) {
  const event = { name: "message", data: "" };
  for (const line of block.split("\n")) {
    const [, field, value] = /^(\w*): ?(.*)$/.exec(line) ?? [];
    if (field === "event") event.name = value;
    else if (field === "data") event.data += value;
  }
  return event;
}
