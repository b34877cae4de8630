// The text of an answer: fences, code spans and [n] citations become elements, everything else stays text.

import { el, visible } from "./dom.js";
import { highlighted } from "./highlight.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([\w+#-]*)\s*$/;
const INLINE = /(`+)([^`].*?)\1(?!`)|\[(\d{1,4})\]/g;

export function prose(text, onCite) {
  const blocks = [];
  let paragraph = [];
  let fence = null;
  const flush = () => {
    if (paragraph.some((line) => line.trim())) blocks.push(el("p", {}, ...inline(paragraph.join("\n").replace(/^\n+|\s+$/g, ""), onCite)));
    paragraph = [];
  };
  for (const line of text.split("\n")) {
    const marks = FENCE.exec(line);
    if (fence) {
      if (marks && marks[1][0] === fence.marks[0] && marks[1].length >= fence.marks.length && !marks[2]) {
        blocks.push(fenced(fence));
        fence = null;
      } else fence.lines.push(line);
    } else if (marks) {
      flush();
      fence = { marks: marks[1], language: marks[2].toLowerCase(), lines: [] };
    } else if (!line.trim()) flush();
    else paragraph.push(line);
  }
  flush();
  if (fence) blocks.push(fenced(fence));
  return blocks;
}

function fenced({ lines, language }) {
  const rows = highlighted(lines.join("\n"), language).map((parts) => el("code", {}, ...parts, "\n"));
  return el("pre", { class: "fenced", dir: "ltr", tabIndex: 0 }, ...rows);
}

function inline(text, onCite) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(INLINE)) {
    parts.push(...visible(text.slice(at, match.index)));
    if (match[3]) {
      const number = Number(match[3]);
      parts.push(el("button", { type: "button", class: "cite", "aria-label": `Citation ${number}`, onclick: () => onCite(number) }, match[3]));
    } else parts.push(el("code", {}, ...visible(match[2])));
    at = match.index + match[0].length;
  }
  parts.push(...visible(text.slice(at)));
  return parts;
}
