// Charts as SVG: lines and stacked bars over days. Everything is an attribute or a text node; nothing is markup.

import { el } from "./dom.js";

const SVG = "http://www.w3.org/2000/svg";
const HEIGHT = 190;
const LEFT = 46;
const RIGHT = 10;
const TOP = 10;
const BOTTOM = 22;

export function svg(name, attributes = {}, ...children) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Round marks from 0 to at least `top`: 1, 2 or 5 times a power of ten apart, and at least `least`.
export function marks(top, least = 0, most = 5) {
  const rough = (top || 1) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999));
  const count = Math.ceil((top || 1) / step - 1e-9);
  return Array.from({ length: count + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

// A frame with the marks of `scale` and days; `body(x, y, step)` gets the scales and returns what is drawn in it.
function framed(label, width, days, scale, format, body) {
  const inner = width - LEFT - RIGHT;
  const step = inner / days.length;
  const x = (i) => LEFT + (i + 0.5) * step;
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / scale.at(-1));
  const every = Math.ceil(days.length / Math.max(1, Math.floor(inner / 58)));
  const grid = scale.flatMap((value) => [
    svg("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(value), y2: y(value) }),
    svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, format(value)),
  ]);
  const names = days.flatMap((day, i) => (i % every ? [] : [svg("text", { x: x(i), y: HEIGHT - 5, "text-anchor": "middle" }, day.slice(5))]));
  return svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, height: HEIGHT, role: "img", "aria-label": label }, ...grid, ...names, ...body(x, y, step));
}

const swatch = (className) => svg("svg", { viewBox: "0 0 10 10", "aria-hidden": "true" }, svg("rect", { width: 10, height: 10, rx: 2, class: className }));
const legend = (series, className) => el("p", { class: "legend" }, ...series.map((one) => el("span", {}, swatch(className(one)), one.name)));
const nothing = () => el("p", { class: "none" }, "Nothing in these days.");

// Lines of `series` = [{ name, mark: 1..3, values }]; a null leaves a gap.
export function lines(label, width, days, series, format) {
  const known = series.flatMap((one) => one.values.filter((value) => value !== null));
  if (!known.length) return [nothing()];
  const drawn = (x, y) => series.flatMap((one) => {
    const at = one.values.map((value, i) => (value === null ? null : [x(i), y(value)]));
    const path = at.map((point, i) => point && `${i && at[i - 1] ? "L" : "M"}${point[0].toFixed(1)} ${point[1].toFixed(1)}`).filter(Boolean).join("");
    const dots = at.flatMap((point, i) => point ? [svg("circle", { class: `dot-${one.mark}`, cx: point[0], cy: point[1], r: days.length > 60 ? 1.5 : 3 }, svg("title", {}, `${days[i]} · ${one.name}: ${format(one.values[i])}`))] : []);
    return [svg("path", { class: `line-${one.mark}`, d: path }), ...dots];
  });
  return [framed(label, width, days, marks(Math.max(...known)), format, drawn), legend(series, (one) => `dot-${one.mark}`)];
}

// Stacked bars of counts, `series` = [{ name, fill, values }], the first at the bottom.
export function bars(label, width, days, series, format) {
  const totals = days.map((_, i) => series.reduce((sum, one) => sum + one.values[i], 0));
  if (!Math.max(...totals)) return [nothing()];
  const drawn = (x, y, step) => days.flatMap((day, i) => {
    let below = 0;
    return series.flatMap((one) => {
      const [from, to] = [below, below += one.values[i]];
      if (from === to) return [];
      const wide = Math.max(1, Math.min(step * 0.7, 48));
      return [svg("rect", { class: one.fill, x: x(i) - wide / 2, width: wide, y: y(to), height: Math.max(0.5, y(from) - y(to)), rx: 1 }, svg("title", {}, `${day} · ${one.name}: ${format(one.values[i])}`))];
    });
  });
  return [framed(label, width, days, marks(Math.max(...totals), 1), format, drawn), legend(series, (one) => one.fill)];
}
