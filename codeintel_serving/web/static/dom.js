// Everything on the page is made here: text becomes text nodes, never markup.

export const $ = (id) => document.getElementById(id);

// An element with properties and children; strings become text nodes.
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key === "class") node.className = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key in node && !key.includes("-")) node[key] = value;
    else node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

export function fill(node, ...children) {
  node.replaceChildren(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  node.hidden = false;
  return node;
}

// Controls, zero-width and bidirectional marks are shown by their number: they could hide or reorder code.
const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb]|\udb40[\udc00-\udfff]/g;

export function visible(text) {
  const parts = [];
  let at = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match[0] === "\r" && match.index === text.length - 1) continue;
    if (match.index > at) parts.push(text.slice(at, match.index));
    const code = "U+" + match[0].codePointAt(0).toString(16).toUpperCase().padStart(4, "0");
    parts.push(el("span", { class: "hidden-char", title: "a character that does not show" }, code));
    at = match.index + match[0].length;
  }
  if (at < text.length) parts.push(text.slice(at));
  return parts;
}

// One line for a path, symbol or name: hidden characters shown, direction fixed.
export const plain = (text, className = "") => el("bdi", { class: className, dir: "ltr" }, ...visible(String(text)));

export function ago(iso) {
  const seconds = (Date.parse(iso) - Date.now()) / 1000;
  if (Number.isNaN(seconds)) return iso;
  const format = new Intl.RelativeTimeFormat("en", { numeric: "auto" });
  for (const [unit, size] of [["day", 86400], ["hour", 3600], ["minute", 60]]) {
    if (Math.abs(seconds) >= size) return format.format(Math.round(seconds / size), unit);
  }
  return "just now";
}

export const count = (n, one, many = one + "s") => `${n} ${n === 1 ? one : many}`;
