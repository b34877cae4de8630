// The dashboard: what codeintel.duckdb says of the last days. Every text of a query is a text node.

import * as api from "./api.js";
import { bars, lines } from "./charts.js";
import { $, ago, count, el, fill, plain } from "./dom.js";

const TITLES = { missing: "No tables yet", outdated: "The tables are of an older version", empty: "No request yet" };
const whole = (value) => value.toLocaleString("en", { maximumFractionDigits: 0 });
const percent = (value) => `${(value * 100).toLocaleString("en", { maximumFractionDigits: 1 })} %`;
const ms = (value) => value >= 10000 ? `${(value / 1000).toFixed(0)} s` : value >= 1000 ? `${(value / 1000).toFixed(1)} s` : `${value >= 10 || value === 0 ? value.toFixed(0) : value.toFixed(1)} ms`;
const sum = (rows, name) => rows.reduce((total, row) => total + row[name], 0);
const share = (part, all) => all ? percent(part / all) : "–";

let found = null;

// Every day from the first to the last, also those without a request.
function allDays(rows) {
  const days = [];
  const last = Date.parse(rows.at(-1).day);
  for (let at = Date.parse(rows[0].day); at <= last; at += 86400000) days.push(new Date(at).toISOString().slice(0, 10));
  return days;
}

const byDay = (days, rows, value, without) => {
  const known = new Map();
  for (const row of rows) known.set(row.day, (known.get(row.day) ?? 0) + value(row));
  return days.map((day) => known.get(day) ?? without);
};
const point = (days, rows, name) => {
  const known = new Map(rows.map((row) => [row.day, row[name]]));
  return days.map((day) => known.get(day) ?? null);
};

function options(select, values, preferred) {
  const wanted = values.includes(select.value) ? select.value : preferred;
  select.replaceChildren(...values.map((value) => el("option", { value }, value)));
  select.value = wanted;
}

function tiles(days) {
  const requests = sum(found.volume, "requests");
  const answers = found.quality.filter((row) => row.confidence !== null);
  const cited = sum(found.quality, "citations_verified");
  const dropped = sum(found.quality, "citations_dropped");
  const last = found.latency.filter((row) => row.stage === "total" && row.operation === $("operation").value).at(-1);
  const weighed = answers.reduce((total, row) => total + row.confidence * row.answers, 0);
  const shown = [
    [`requests in ${count(days.length, "day")}`, whole(requests)],
    [`p95 of ${last?.operation ?? "requests"}, last day`, last?.p95_ms ? ms(last.p95_ms) : "–"],
    ["mean confidence", answers.length ? (weighed / sum(answers, "answers")).toFixed(2) : "–"],
    ["citations verified", share(cited, cited + dropped)],
    ["found nothing", share(sum(found.volume, "empty"), requests)],
    ["errors", share(sum(found.volume, "errors"), requests)],
  ];
  fill($("tiles"), ...shown.map(([name, value]) => el("div", { class: "tile" }, el("dt", {}, name), el("dd", {}, value))));
}

function chart(id, draw) {
  const plot = document.querySelector(`#${id} .plot`);
  plot.replaceChildren(...draw(Math.max(260, Math.floor(plot.clientWidth))));
}

function table(id, columns, rows) {
  const cell = (name, column, ...inside) => el(name, { class: column.kind ?? "" }, ...inside);
  const head = el("tr", {}, ...columns.map((column) => cell("th", column, column.name)));
  const body = rows.map((row) => el("tr", {}, ...columns.map((column) => cell("td", column, column.value(row)))));
  document.querySelector(`#${id} table`).replaceChildren(el("thead", {}, head), el("tbody", {}, ...body, rows.length ? null : el("tr", {}, el("td", { class: "none", colspan: columns.length }, "None."))));
}

function draw() {
  const days = allDays(found.quality);
  const operations = [...new Set(found.latency.map((row) => row.operation))];
  options($("operation"), operations, operations.includes("answer") ? "answer" : operations[0]);
  const mine = found.latency.filter((row) => row.operation === $("operation").value);
  options($("stage"), [...new Set(mine.map((row) => row.stage))].sort((a, b) => (b === "total") - (a === "total") || a.localeCompare(b)), "total");
  const stage = mine.filter((row) => row.stage === $("stage").value);
  tiles(days);
  const ended = [["ok", "fill-good"], ["empty", "fill-warn"], ["errors", "fill-bad"], ["cancelled", "fill-soft"]];
  chart("volume", (width) => bars("Requests by day and how they ended", width, days, ended.map(([name, fill_]) => ({ name, fill: fill_, values: byDay(days, found.volume, (row) => row[name], 0) })), whole));
  chart("latency", (width) => lines(`Latency of ${$("stage").value} by day`, width, days, ["p50_ms", "p95_ms", "p99_ms"].map((name, i) => ({ name: name.slice(0, 3), mark: i + 1, values: point(days, stage, name) })), ms));
  chart("quality", (width) => lines("Mean confidence and share of requests without a hit by day", width, days, [
    { name: "mean confidence", mark: 1, values: point(days, found.quality, "confidence") },
    { name: "found nothing", mark: 2, values: point(days, found.quality, "zero_hit_share") },
    { name: "errors", mark: 3, values: point(days, found.quality, "error_share") }], percent));
  chart("citations", (width) => bars("Citations verified and dropped by day", width, days, [
    { name: "verified", fill: "fill-good", values: byDay(days, found.quality, (row) => row.citations_verified, 0) },
    { name: "dropped", fill: "fill-bad", values: byDay(days, found.quality, (row) => row.citations_dropped, 0) }], whole));
  const number = (name, value) => ({ name, kind: "number", value });
  const took = (name) => number(name.slice(0, 3), (row) => row[name] === null ? "–" : ms(row[name]));
  const newest = mine.at(-1)?.day;
  table("stages", [{ name: "stage", value: (row) => plain(row.stage, "mono") }, number("steps", (row) => whole(row.steps)), took("p50_ms"), took("p95_ms"), took("p99_ms")],
    mine.filter((row) => row.day === newest).sort((a, b) => (b.p95_ms ?? -1) - (a.p95_ms ?? -1)));
  const query = { name: "query", kind: "query", value: (row) => row.query ? plain(row.query) : el("span", { class: "muted" }, `not kept (${row.query_digest})`) };
  const asked = number("asked", (row) => whole(row.asked));
  const when = number("last", (row) => ago(row.last_asked_at));
  table("zero-hits", [query, asked, when], found.zero_hits);
  table("low-confidence", [query, asked, number("confidence", (row) => row.confidence.toFixed(2)), when], found.low_confidence);
}

function show() {
  const isReady = found.state === "ready";
  $("shown").hidden = $("choices").hidden = !isReady;
  $("empty").hidden = isReady;
  fill($("ready"), found.written_at ? `as of ${ago(found.written_at)}` : "no tables");
  $("ready").title = found.written_at ?? "";
  if (isReady) draw();
  else {
    $("empty-title").textContent = TITLES[found.state];
    $("empty-hint").textContent = found.hint;
  }
}

async function load() {
  $("problem").hidden = true;
  try {
    found = await api.dashboard($("days").value);
    show();
  } catch (error) {
    fill($("ready"), "not shown");
    $("shown").hidden = $("choices").hidden = $("empty").hidden = true;
    if (error.status === 401) {
      $("key-why").textContent = api.hasKey() ? "It was not accepted." : "It needs the permission telemetry for all repositories, and is kept in this tab only.";
      $("key").hidden = false;
      $("key-value").focus();
    } else {
      fill($("problem"), el("h2", {}, error.problem?.title ?? "Something went wrong"), el("p", { class: "muted" }, error.message));
    }
  }
}

$("days").addEventListener("change", load);
for (const id of ["operation", "stage"]) $(id).addEventListener("change", draw);
$("choices").addEventListener("submit", (event) => event.preventDefault());
$("key").addEventListener("submit", (event) => {
  event.preventDefault();
  api.useKey($("key-value").value.trim());
  $("key-value").value = "";
  $("key").hidden = true;
  load();
});
$("theme").addEventListener("click", () => {
  const chosen = document.documentElement.dataset.theme;
  const isDark = chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  localStorage.setItem("codeintel-theme", document.documentElement.dataset.theme = isDark ? "light" : "dark");
});
let drawnAt = innerWidth;
addEventListener("resize", () => {
  if (innerWidth !== drawnAt && found?.state === "ready") draw();
  drawnAt = innerWidth;
});
await load();
