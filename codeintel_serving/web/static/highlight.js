// A small tokenizer per family of languages: comments, strings, numbers and keywords, as spans around text nodes.

import { el, visible } from "./dom.js";

const words = (text) => new Set(text.split(" "));
const C_LIKE = words("abstract as async await auto base bool boolean break byte case catch chan char checked class const constexpr constructor continue crate data def default defer delegate delete do double dyn else enum explicit export extends extern extension fallthrough false final finally fixed float fn for foreach from fun func function get go goto guard if impl implements implicit import in inline inout instanceof int interface internal is lateinit let lock long loop map match mod module move mut namespace native new nil noexcept null nullptr object of open operator out override package params private protected protocol pub public range readonly ref register repeat restrict return sealed select self set short signed sizeof static string struct suspend super switch template this throw throws trait transient true try type typealias typedef typename typeof undefined union unsafe unsigned use using val var virtual void volatile when where while with yield");
const PYTHON = words("and as assert async await break case class continue def del elif else except False finally for from global if import in is lambda match None nonlocal not or pass raise return self True try while with yield");
const SHELL = words("alias begin break case class continue declare def do done echo elif else elsif end ensure esac exit export false fi for function if in local module module_function next nil not or and raise readonly rescue return select self set shift source then trap true unless unset until when while yield");
const SQL = words("ADD ALL ALTER AND AS ASC BEGIN BETWEEN BY CASE CAST CHECK COLUMN COMMIT CONSTRAINT CREATE CROSS DEFAULT DELETE DESC DISTINCT DROP ELSE END EXISTS FALSE FOREIGN FROM FULL FUNCTION GROUP HAVING IF IN INDEX INNER INSERT INTO IS JOIN KEY LEFT LIKE LIMIT NOT NULL OFFSET ON OR ORDER OUTER PRIMARY REFERENCES REPLACE RETURNS RIGHT ROLLBACK SELECT SET TABLE THEN TRUE UNION UNIQUE UPDATE USING VALUES VIEW WHEN WHERE WITH");
const DATA = words("true false null yes no on off");

const NUMBER = String.raw`\b(?:0[xXbBoO][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][+-]?\d+)?)\b`;
const WORD = String.raw`[A-Za-z_$][\w$]*`;
const QUOTED = String.raw`"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?`;

function family(comment, string, keywords, fold = false) {
  const pattern = new RegExp(`(?<c>${comment})|(?<s>${string})|(?<n>${NUMBER})|(?<w>${WORD})`, "gs");
  return { pattern, isKeyword: (word) => keywords.has(fold ? word.toUpperCase() : word) };
}

const c = family(String.raw`\/\/[^\n]*|\/\*.*?(?:\*\/|$)`, "`(?:[^`\\\\]|\\\\.)*`?|" + QUOTED, C_LIKE);
const python = family("#[^\\n]*", String.raw`[rbuf]{0,2}(?:"""(?:[^\\]|\\.)*?(?:"""|$)|'''(?:[^\\]|\\.)*?(?:'''|$))|[rbuf]{0,2}(?:${QUOTED})`, PYTHON);
const shell = family("#[^\\n]*", QUOTED, SHELL);
const sql = family(String.raw`--[^\n]*|\/\*.*?(?:\*\/|$)`, QUOTED, SQL, true);
const data = family(String.raw`#[^\n]*|<!--.*?(?:-->|$)`, QUOTED, DATA);
const prose = family("(?!)", "`[^`\\n]+`", new Set());

const FAMILIES = {
  python, sql, bash: shell, zsh: shell, ruby: shell, perl: shell, r: shell, elixir: shell, make: shell, powershell: shell,
  dockerfile: shell, cmake: shell, terraform: shell, julia: shell, yaml: data, toml: data, json: data, ini: data, xml: data,
  html: data, gitignore: data, markdown: prose, text: prose, rst: prose, "": prose,
};
const EXTENSIONS = {
  py: "python", pyi: "python", sh: "bash", rb: "ruby", sql: "sql", yml: "yaml", yaml: "yaml", toml: "toml", json: "json",
  md: "markdown", txt: "text", rst: "rst", html: "html", xml: "xml", ini: "ini", cfg: "ini", tf: "terraform", mk: "make",
};
const CLASSES = { c: "tok-comment", s: "tok-string", n: "tok-number" };
const MOST_CHARS = 400_000;

export function languageOf(path) {
  const extension = /\.(\w+)$/.exec(path)?.[1]?.toLowerCase() ?? "";
  return EXTENSIONS[extension] ?? (extension ? "c" : "");
}

// The lines of a text, each an array of text and token spans.
export function highlighted(text, language) {
  const { pattern, isKeyword } = FAMILIES[language] ?? c;
  const lines = [[]];
  const put = (piece, className) => {
    piece.split("\n").forEach((part, index) => {
      if (index) lines.push([]);
      if (!part) return;
      if (className) lines.at(-1).push(el("span", { class: className }, ...visible(part)));
      else lines.at(-1).push(...visible(part));
    });
  };
  let at = 0;
  if (text.length <= MOST_CHARS) {
    for (const match of text.matchAll(pattern)) {
      const [kind] = Object.entries(match.groups).find(([, value]) => value !== undefined) ?? [];
      const className = kind === "w" ? (isKeyword(match[0]) ? "tok-keyword" : "") : CLASSES[kind];
      if (!className || !match[0]) continue;
      if (match.index > at) put(text.slice(at, match.index));
      put(match[0], className);
      at = match.index + match[0].length;
    }
  }
  put(text.slice(at));
  return lines;
}
