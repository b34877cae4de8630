// The page: one form, one answer at a time, and the keyboard.

import * as api from "./api.js";
import { $, ago, count, el, fill, plain } from "./dom.js";
import * as feedback from "./feedback.js";
import * as generations from "./generations.js";
import { prose } from "./prose.js";
import * as side from "./side.js";
import { copyLink, openSource, preview } from "./source.js";

const BLANK = ["answer", "confidence", "limits", "index", "stages", "run", "problem", "none", "by", "judge"];
let running = null;  // AbortController of the request under way
let again = null;  // what to do once a key was given
let repositories = [];

const mode = () => document.querySelector("input[name=mode]:checked").value;
const say = (text) => { $("said").textContent = text; };

function scope() {
  const paths = $("paths").value.split(/[\s,]+/).filter(Boolean);
  return { repos: $("repo").value ? [$("repo").value] : [], paths, as_of: $("as-of").value.trim(), include_tests: $("tests").checked };
}

// ---- asking and searching

async function start(isNew = true) {
  const text = $("q").value.trim();
  if (!text) { $("q").focus(); return; }
  running?.abort();
  const mine = running = new AbortController();
  if (isNew) history.pushState(null, "", address(text));
  document.title = `${text.slice(0, 60)} · CodeIntel`;
  reset();
  busy(true);
  try {
    await (mode() === "ask" ? ask(text, mine.signal) : search(text, mine.signal));
  } catch (error) {
    if (error.name === "AbortError") { if (running === mine) cancelled(); }
    else refused(error, () => start(false));
  } finally {
    if (running === mine) { running = null; busy(false); }
  }
}

function reset() {
  $("welcome").hidden = true;
  $("out").hidden = false;
  $("found").hidden = false;
  BLANK.forEach((id) => { $(id).hidden = true; });
  feedback.about("");
  $("cards").replaceChildren();
  $("cards").classList.remove("compact");
  $("text").replaceChildren();
  $("cards-title").textContent = mode() === "ask" ? "Citations" : "Results";
}

function busy(isBusy) {
  $("go").hidden = isBusy;
  $("stop").hidden = !isBusy;
  $("text").setAttribute("aria-busy", isBusy);
  document.body.classList.toggle("busy", isBusy);
}

function cancelled() {
  fill($("none"), "Stopped. What had arrived is above.");
  say("Stopped");
}

async function ask(question, signal) {
  let text = "";
  let isDrawn = true;
  const stages = [];
  const draw = () => {
    if (isDrawn) return;
    isDrawn = true;
    $("text").replaceChildren(...prose(text, goTo));
  };
  const later = () => { if (isDrawn) { isDrawn = false; requestAnimationFrame(draw); } };
  $("answer").hidden = false;
  $("text").replaceChildren(el("p", { class: "waiting" }, "Searching…"));
  say("Searching");
  const handlers = {
    stage: (stage) => { stages.push(stage); side.stages(stages); },
    citation: (cited) => $("cards").append(card(cited, cited.id)),
    token: (token) => { text += token.text; later(); },
    limits: (found) => {
      side.confidence(found.confidence);
      side.limits(found.limits, found.warnings);
      side.index(found.index, found.coverage, switchTo);
      $("cards").classList.toggle("compact", found.model === "extractive");  // the answer quotes the same lines
      fill($("by"), found.model === "extractive" ? "Quoted from the index, without a chat model." : el("span", {}, "Written by ", plain(found.model), "."));
    },
    error: (problem) => { throw new api.Refused(problem, problem.status); },
    trace: (row) => {
      side.run({ run_id: row.run_id, trace_id: row.otel_trace_id });
      fill($("judge"), feedback.buttons(0, "the answer"));
      feedback.about(row.run_id);
    },
  };
  await api.answer({ question, scope: scope(), max_tokens: 20000 }, (name, data) => handlers[name]?.(data), signal);
  draw();
  const cited = $("cards").childElementCount;
  $("answer").classList.toggle("not-found", !cited);
  if (!cited) { $("found").hidden = true; $("by").hidden = true; }
  say(cited ? `Answered with ${count(cited, "citation")}` : "Not found");
}

async function search(query, signal) {
  fill($("none"), "Searching…");
  say("Searching");
  const found = await api.search({ query, scope: scope(), limit: 20, max_tokens: 20000 }, signal);
  const generations = Object.fromEntries(found.index.map((entry) => [entry.repo, entry.generation]));
  $("cards").replaceChildren(...found.results.map((hit) => card({ ...hit, generation: generations[hit.repo] }, hit.rank)));
  $("none").hidden = found.results.length > 0;
  if (!found.results.length) fill($("none"), "Nothing found. Try other words, or a wider scope.");
  side.limits([], [...found.warnings, found.budget.how_to_narrow].filter(Boolean));
  side.index(found.index, found.coverage, switchTo);
  side.run(found);
  say(count(found.results.length, "result"));
}

// Asks again of another generation of one repository; '' is the one that serves.
function switchTo(repo, generation) {
  $("repo").value = repo;
  $("as-of").value = generation;
  start();
}

function openCited(node) {
  openSource(node.place);
  if (node.place.verified) feedback.opened(node.place.id);
}

function card(cited, number) {
  const channels = Object.entries(cited.channels ?? {}).map(([name, at]) => el("span", { class: "chip" }, `${name} #${at.rank}`));
  const node = el("li", { class: "card cited", tabIndex: -1, id: `cite-${number}`, onclick: (event) => { if (!event.target.closest("button") && !getSelection().toString()) openCited(node); } },
    el("div", { class: "head" },
      el("span", { class: "n" }, String(number)),
      el("button", { type: "button", class: "where", onclick: () => openCited(node) },
        plain(cited.path, "path"), el("span", { class: "at" }, `:${cited.start_line}–${cited.end_line}`)),
      cited.verified ? el("span", { class: "pill fresh", title: "Compared byte for byte with the pinned commit" }, "verified") : null,
      cited.suspicious?.length ? el("span", { class: "pill behind", title: `It ${cited.suspicious.join(", ")}. Quoted as data.` }, "speaks to a model") : null,
      cited.verified ? feedback.buttons(number, `citation ${number}`) : null,
      el("button", { type: "button", class: "quiet small", "aria-label": "Copy a link to this citation", onclick: () => copyLink(cited) }, "Copy link")),
    el("p", { class: "under muted" }, cited.symbol ? plain(cited.symbol, "mono") : null, repositories.length > 1 ? el("span", { class: "chip" }, plain(cited.repo)) : null, ...channels),
    el("div", { class: "source" }, ...preview(cited.snippet, cited.path, cited.start_line).filter(Boolean)));
  node.place = cited;
  return node;
}

function refused(error, retry) {
  if (error.status === 401) {
    again = retry;
    $("out").hidden = true;
    $("key").hidden = false;
    if (api.hasKey()) fill($("key-why"), "That key was not accepted. Try another.");
    api.useKey("");
    $("key-value").focus();
    return;
  }
  const problem = error.problem ?? { title: "Something went wrong on this page", detail: error.message };
  if (!$("text").querySelector(".cite, .fenced")) $("answer").hidden = true;
  $("found").hidden = !$("cards").childElementCount;
  $("none").hidden = true;
  fill($("problem"), el("h2", {}, problem.title ?? "Problem"), el("p", {}, ...[problem.detail ?? ""].map((text) => plain(text))),
    problem.errors?.length ? el("ul", {}, ...problem.errors.map((one) => el("li", {}, plain(`${one.field}: ${one.message}`)))) : null,
    problem.run_id ? el("p", { class: "muted mono" }, `run ${problem.run_id}`) : null,
    el("button", { type: "button", class: "quiet", onclick: retry }, "Try again"));
  say(problem.title ?? "Problem");
}

// ---- citations by number and by key

function goTo(number) {
  const found = $(`cite-${number}`);
  if (found) openCited(found);
}

function step(by) {
  const all = [...document.querySelectorAll(".cited")];
  if (!all.length) return;
  const at = all.indexOf(document.activeElement.closest(".cited"));
  const next = all[Math.min(all.length - 1, Math.max(0, at + by))];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

function onKey(event) {
  if (event.key === "Escape") { if (!document.querySelector("dialog[open]")) { running?.abort(); document.activeElement.blur(); } return; }
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.matches("input, textarea, select")) {
    if (event.key === "Enter" && event.target.id === "q" && !event.shiftKey) { event.preventDefault(); start(); }
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const focused = document.activeElement.closest(".cited");
  const actions = {
    "/": () => { $("q").focus(); $("q").select(); },
    j: () => step(1), k: () => step(-1),
    o: () => focused && openCited(focused),
    Enter: () => focused === document.activeElement && focused && openCited(focused),
    u: () => judged(focused, "useful"), w: () => judged(focused, "wrong"),
    c: () => focused && copyLink(focused.place),
    t: toggleTheme, "?": () => $("help").showModal(),
  };
  if (!actions[event.key] || (event.key === "Enter" && focused !== document.activeElement)) return;
  event.preventDefault();
  actions[event.key]();
}

// The citation in focus, or the answer.
function judged(focused, kind) {
  feedback.give(focused?.place.verified ? focused.place.id : 0, kind);
}

// ---- the page's own address, theme and first look

function address(text) {
  const values = { q: text, mode: mode() === "ask" ? "" : "search", repo: $("repo").value, as_of: $("as-of").value.trim(), paths: $("paths").value.trim(), tests: $("tests").checked ? "" : "0" };
  return "/?" + new URLSearchParams(Object.entries(values).filter(([, value]) => value));
}

function fromAddress() {
  const given = new URLSearchParams(location.search);
  $("q").value = given.get("q") ?? "";
  document.querySelector(`input[name=mode][value=${given.get("mode") === "search" ? "search" : "ask"}]`).checked = true;
  for (const [id, name] of [["as-of", "as_of"], ["paths", "paths"]]) $(id).value = given.get("file") ? "" : given.get(name) ?? "";
  $("tests").checked = given.get("tests") !== "0";
  const repo = given.get("repo") ?? "";
  if (repo && ![...$("repo").options].some((option) => option.value === repo)) $("repo").append(el("option", { value: repo }, repo));
  $("repo").value = repo;
  changed();
  if ($("q").value) start(false);
  else { running?.abort(); $("out").hidden = true; $("problem").hidden = true; $("welcome").hidden = false; document.title = "CodeIntel"; }
  const [first, last] = (given.get("lines") ?? "1").split("-").map(Number);
  if (given.get("file") && repo) openSource({ repo, path: given.get("file"), start_line: first || 1, end_line: last || first || 1, generation: given.get("as_of") ?? "" });
}

function changed() {
  $("go").textContent = mode() === "ask" ? "Ask" : "Search";
  $("q").placeholder = mode() === "ask" ? "Ask about the code" : "A name, a path, an error text or words";
  const chosen = repositories.filter((state) => !$("repo").value || state.repo === $("repo").value);
  $("generations").replaceChildren(...chosen.flatMap((state) => (state.generations ?? []).map((id) => el("option", { value: id }, state.repo))));
  $("q").style.height = "auto";
  $("q").style.height = `${Math.min($("q").scrollHeight, 240)}px`;
}

function toggleTheme() {
  const isDark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  localStorage.setItem("codeintel-theme", document.documentElement.dataset.theme = isDark ? "light" : "dark");
}

async function look() {
  const [states, ready] = await Promise.all([api.status(), api.readiness()]);
  repositories = states.repositories;
  generations.know(repositories);
  const wanted = $("repo").value;
  $("repo").replaceChildren(el("option", { value: "" }, "All"), ...repositories.map((state) => el("option", { value: state.repo }, state.repo)));
  if (repositories.some((state) => state.repo === wanted)) $("repo").value = wanted;
  const wrong = Object.entries(ready.checks ?? {}).filter(([, check]) => check.status !== "ok").map(([name, check]) => `${name}: ${check.reason}`);
  fill($("ready"), ready.state);
  $("ready").className = `pill ${ready.state}`;
  $("ready").title = wrong.join("\n") || "every check is ok";
  const rows = repositories.map((state) => el("li", { class: "card" },
    el("p", {}, el("strong", {}, plain(state.repo)), " ", state.index ? el("span", { class: `pill ${state.index.status}` }, state.index.status) : el("span", { class: "pill down" }, "not indexed")),
    el("p", { class: "muted" }, state.index ? `${count(state.files, "file")}, ${count(state.chunks, "span")} · ${state.index.commit.slice(0, 10)} · built ${ago(state.index.built_at)}` : plain(state.problem)),
    state.index ? el("p", { class: "muted" }, side.covered({ skipped: Object.fromEntries(Object.entries(state.coverage).filter(([reason]) => reason !== "indexed")), redacted: state.redacted })) : null));
  fill($("repositories"), ...rows, rows.length ? null : el("li", { class: "card" }, el("p", {}, "Nothing is indexed yet."), el("pre", { class: "fenced" }, "codeintel add ../my-repo\ncodeintel build my-repo\n")));
}

async function begin() {
  $("ask").addEventListener("submit", (event) => { event.preventDefault(); start(); });
  $("ask").addEventListener("input", changed);
  $("stop").addEventListener("click", () => running?.abort());
  $("theme").addEventListener("click", toggleTheme);
  $("help-open").addEventListener("click", () => $("help").showModal());
  $("key").addEventListener("submit", (event) => {
    event.preventDefault();
    api.useKey($("key-value").value.trim());
    $("key-value").value = "";
    $("key").hidden = true;
    again?.();
  });
  for (const dialog of document.querySelectorAll("dialog")) {
    dialog.addEventListener("click", (event) => { if (event.target === dialog || event.target.closest("[data-close]")) dialog.close(); });
  }
  document.addEventListener("keydown", onKey);
  addEventListener("popstate", fromAddress);
  await enter();
}

async function enter() {
  try {
    await look();
    fromAddress();
  } catch (error) {
    refused(error, enter);
  }
}

begin();
