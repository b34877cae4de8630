// The generations that are kept: a name for people, and a list to choose another one from.

import { el } from "./dom.js";

const ID = /^(\d{4})(\d\d)(\d\d)t(\d\d)(\d\d)\d*-([0-9a-f]+)/;
let kept = {};  // repository -> { served, ids, newest first }

export function know(repositories) {
  kept = Object.fromEntries(repositories.map((state) => [state.repo, { served: state.index?.generation ?? "", ids: state.generations ?? [] }]));
}

export const isServed = (repo, id) => !kept[repo]?.served || kept[repo].served === id;

function named(id) {
  const [, year, month, day, hour, minute, commit] = ID.exec(id) ?? [];
  return commit ? `${year}-${month}-${day} ${hour}:${minute} UTC, ${commit}` : id;
}

// A list of the repository's generations with `current` chosen, or null where there is no other. `onChoose` is called
// with the id, and with '' for the one that serves.
export function chooser(repo, current, onChoose) {
  const { served = "", ids = [] } = kept[repo] ?? {};
  const all = ids.includes(current) ? ids : [current, ...ids];
  if (all.length < 2) return null;
  const options = all.map((id) => el("option", { value: id, selected: id === current }, named(id) + (id === served ? " (serves)" : "")));
  return el("label", { class: "field switch" }, el("span", {}, "Switch to"),
    el("select", { "aria-label": `Generation of ${repo}`, onchange: (event) => onChoose(event.target.value === served ? "" : event.target.value) }, ...options));
}
