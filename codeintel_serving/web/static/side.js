// Beside the answer: confidence, limits, index, stages and the run.

import * as api from "./api.js";
import { $, ago, count, el, fill, plain } from "./dom.js";
import * as generations from "./generations.js";

const title = (text) => el("h2", { class: "label" }, text);
const ms = (value) => value >= 1000 ? `${(value / 1000).toFixed(2)} s` : `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;

export function confidence({ value, reasons }) {
  const level = value >= 0.7 ? "high" : value >= 0.4 ? "medium" : "low";
  fill($("confidence"), title("Confidence"),
    el("p", { class: `score ${level}` }, el("strong", {}, `${Math.round(100 * value)} %`), ` ${level}`),
    el("meter", { min: 0, max: 1, low: 0.4, high: 0.7, optimum: 1, value, "aria-label": "Confidence" }),
    el("ul", { class: "reasons" }, ...reasons.map((reason) => el("li", {}, plain(reason)))));
}

export function limits(found, warnings) {
  const all = [...new Set([...warnings, ...found])];
  if (all.length) fill($("limits"), title("Limits"), el("ul", { class: "reasons" }, ...all.map((limit) => el("li", {}, plain(limit)))));
}

// `onSwitch(repo, generation)`: another generation was chosen, '' for the one that serves.
export function index(entries, coverage, onSwitch) {
  const rows = entries.map((entry) => {
    const behind = entry.commits_behind ? `${count(entry.commits_behind, "commit")} behind` : entry.minutes_behind ? "behind its source" : entry.status;
    return el("div", { class: "entry" },
      el("p", {}, el("strong", {}, plain(entry.repo)), " ", el("span", { class: `pill ${entry.status}` }, behind),
        generations.isServed(entry.repo, entry.generation) ? null : el("span", { class: "pill behind" }, "older generation")),
      facts({
        Generation: plain(entry.generation, "mono"),
        Commit: el("span", { class: "mono", title: entry.commit }, entry.commit.slice(0, 12)),
        Built: el("time", { dateTime: entry.built_at, title: entry.built_at }, ago(entry.built_at)),
        "Dagster run": plain(entry.dagster_run_id || "none", "mono"),
      }),
      generations.chooser(entry.repo, entry.generation, (id) => onSwitch(entry.repo, id)));
  });
  fill($("index"), title("Index"), ...rows, el("p", { class: "muted" }, covered(coverage)));
}

// What was left out, in words.
export function covered({ skipped, redacted = {} }) {
  const { denied = 0, ...others } = skipped;
  const left = Object.values(others).reduce((sum, files) => sum + files, 0);
  const kinds = Object.entries(others).map(([reason, files]) => `${files} ${reason.replaceAll("_", " ")}`).join(", ");
  return [
    left ? `${count(left, "file")} not indexed (${kinds})` : "",
    redacted.values ? `${count(redacted.values, "value")} redacted in ${count(redacted.files, "file")}` : "",
    denied ? `${count(denied, "file")} denied` : "",
  ].filter(Boolean).join("; ") || "Every file is indexed.";
}

export function facts(values) {
  return el("dl", { class: "facts" }, ...Object.entries(values).flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
}

export function stages(all) {
  if (!all.length) return;
  const end = Math.max(...all.map((stage) => stage.start_ms + stage.ms), 1);
  const rows = [...all].sort((a, b) => a.start_ms - b.start_ms || b.ms - a.ms).map((stage) => {
    const bar = el("span", { class: "bar-fill" });
    bar.style.marginInlineStart = `${(100 * stage.start_ms) / end}%`;
    bar.style.width = `${Math.max(0.6, (100 * stage.ms) / end)}%`;
    const words = `started at ${ms(stage.start_ms)}, took ${ms(stage.ms)}, ${stage.status.replace("_", " ")}`;
    return el("li", { class: `stage ${stage.status}`, title: words },
      el("span", { class: "name mono" }, stage.name), el("span", { class: "took" }, ms(stage.ms)),
      el("span", { class: "track", "aria-hidden": "true" }, bar), el("span", { class: "sr" }, words),
      stage.status === "completed" ? null : el("span", { class: "why" }, stage.status.replace("_", " "), stage.reason ? ": " : "", plain(stage.reason)));
  });
  fill($("stages"), title(`Stages · ${ms(end)}`), el("ol", { class: "waterfall" }, ...rows));
}

export async function run(ids) {
  const shown = { Run: plain(ids.run_id, "mono") };
  if (ids.trace_id) shown.Trace = plain(ids.trace_id, "mono");
  fill($("run"), title("Run"), facts(shown));
  if (ids.run_id && await api.offers("/runs/{run_id}/report")) {
    const body = el("pre", { class: "report", hidden: true, tabIndex: 0 });
    const open = el("button", { type: "button", class: "quiet", onclick: async () => {
      body.hidden = !body.hidden;
      if (!body.hidden && !body.textContent) body.textContent = await api.report(ids.run_id).catch((error) => error.message);
    } }, "Run report");
    $("run").append(open, body);
  }
}
