// Code with line numbers: previews inside cards, and the drawer that opens a citation at its lines.

import * as api from "./api.js";
import { $, count, el, fill, plain } from "./dom.js";
import * as generations from "./generations.js";
import { highlighted, languageOf } from "./highlight.js";

const PREVIEW_LINES = 12;
const AROUND = 200;

function table(text, language, first, marked = null) {
  const rows = highlighted(text, language).map((parts, index) => {
    const number = first + index;
    const isMarked = marked !== null && number >= marked[0] && number <= marked[1];
    return el("div", { class: isMarked ? "line marked" : "line", id: marked ? `L${number}` : "" },
      el("span", { class: "number", "aria-hidden": "true", "data-number": number }), el("code", {}, ...parts, "\n"));
  });
  return el("div", { class: "lines", dir: "ltr" }, ...rows);
}

export function preview(text, path, first) {
  const lines = text.split("\n");
  const shown = lines.slice(0, PREVIEW_LINES).join("\n");
  const more = lines.length - PREVIEW_LINES;
  return [table(shown, languageOf(path), first), more > 0 ? el("p", { class: "more muted" }, `${count(more, "more line")}`) : null];
}

export function linkTo(cited) {
  const url = new URL("/", location.href);
  const lines = `${cited.start_line}-${cited.end_line}`;
  url.search = new URLSearchParams({ file: cited.path, lines, repo: cited.repo, ...(cited.generation ? { as_of: cited.generation } : {}) });
  return url.href;
}

export async function copyLink(cited) {
  await navigator.clipboard.writeText(linkTo(cited));
  $("said").textContent = "Link copied";
}

// Opens the file around the citation, in the generation that the citation is of. Where that one is not kept any more, the
// cited text itself is shown, which is exact whatever is served now.
export async function openSource(cited) {
  const dialog = $("code");
  const marked = [cited.start_line, cited.end_line];
  fill($("code-title"), plain(cited.path, "path"), el("span", { class: "at" }, `:${cited.start_line}–${cited.end_line}`));
  $("code-copy").onclick = () => copyLink(cited);
  fill($("code-where"), "Loading…");
  if (cited.snippet) show(cited.snippet, languageOf(cited.path), cited.start_line, marked);
  else $("code-body").replaceChildren();
  if (!dialog.open) dialog.showModal();
  $("code-title").focus();
  const first = Math.max(1, cited.start_line - AROUND);
  try {
    const found = await around(cited, first);
    const isSame = found.isExact || found.blob === cited.blob;
    if (isSame || !cited.snippet) show(found.text, found.language || languageOf(cited.path), found.start_line, marked);
    where(cited, found, isSame);
  } catch (error) {
    where(cited, null, true, error);
  }
}

async function around(cited, first) {
  const wanted = { repo: cited.repo, path: cited.path, first, last: Math.min(cited.end_line + AROUND, first + 1_999) };
  try {
    return { ...await api.read({ ...wanted, as_of: cited.generation ?? "" }), isExact: true };
  } catch (error) {
    if (!cited.generation || error.problem?.code !== "unknown-generation") throw error;
    return { ...await api.read(wanted), isExact: false };
  }
}

function where(cited, found, isSame, error) {
  const commit = (isSame && found?.commit) || cited.commit || found?.commit || "";
  const generation = isSame && found ? found.generation : cited.generation || found?.generation || "";
  const facts = [el("strong", {}, cited.repo), commit && ` at ${commit.slice(0, 10)}`, generation && ` · generation ${generation}`,
    found && isSame ? ` · ${count(found.total_lines, "line")}` : ""];
  const note = error ? `${cited.snippet ? "Only the cited lines: " : ""}${error.message}`
    : isSame ? "" : cited.snippet ? `Only the cited lines: generation ${found.generation} serves another version of this file.`
    : `Made for generation ${cited.generation}; this is generation ${found.generation}, lines may have moved.`;
  const other = generation && generations.chooser(cited.repo, generation, (id) => openSource({ ...cited, generation: id, commit: "", blob: "", snippet: "" }));
  fill($("code-where"), ...facts, other, note && el("span", { class: "warn" }, note));
}

function show(text, language, first, marked) {
  const body = $("code-body");
  body.replaceChildren(table(text.replace(/\n$/, ""), language, first, marked));
  requestAnimationFrame(() => {
    const line = $(`L${marked[0]}`);
    if (line) body.scrollTop = Math.max(0, line.offsetTop - body.clientHeight / 4);
  });
}
