// What the reader thinks of an answer or of one of its citations: two buttons each, and one row each on the server.

import * as api from "./api.js";
import { $, el } from "./dom.js";

const KINDS = { useful: "Useful", wrong: "Wrong" };
let runId = "";  // of the answer on the page; '' while there is none to judge

// The answer that the buttons are about from now on: they show once it is known, and go with it.
export function about(id) {
  runId = id;
  for (const group of document.querySelectorAll(".judge")) group.hidden = !id;
}

// The buttons for citation `number`; 0 is the answer as a whole.
export function buttons(number, what) {
  return el("span", { class: "judge", role: "group", "aria-label": `Feedback on ${what}`, "data-citation": number, hidden: !runId },
    ...Object.entries(KINDS).map(([kind, word]) => el("button", {
      type: "button", class: "quiet small", "data-kind": kind, "aria-pressed": "false", onclick: () => give(number, kind),
    }, word)));
}

export async function give(number, kind) {
  if (!runId) return;
  const asked = runId;
  try {
    await api.feedback({ run_id: asked, kind, citation: number });
  } catch (error) {
    $("said").textContent = `Feedback was not taken: ${error.message}`;
    mark(number, kind, "failed", error.message);
    return;
  }
  if (asked !== runId) return;
  mark(number, kind, "given");
  $("said").textContent = `Noted: ${KINDS[kind].toLowerCase()}`;
}

// Tells the server that somebody went to the place; nobody waits for that.
export function opened(number) {
  if (runId) api.feedback({ run_id: runId, kind: "opened", citation: number }).catch(() => {});
}

function mark(number, kind, state, why = "") {
  for (const button of document.querySelectorAll(`.judge[data-citation="${number}"] button`)) {
    const isIt = button.dataset.kind === kind;
    button.setAttribute("aria-pressed", String(isIt && state === "given"));
    button.classList.toggle("failed", isIt && state === "failed");
    button.title = isIt ? why : "";
  }
}
