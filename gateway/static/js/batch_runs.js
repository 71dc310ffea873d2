// The table of scheduled runs; one that is done can be opened.

import { byId, el, rowsOrNone } from "./dom.js";
import { count } from "./format.js";

/** When it was, in UTC, to the minute. */
export const minute = (at) => `${at.slice(0, 10)} ${at.slice(11, 16)}Z`;

export const hasScores = (run) => run.state === "done" && run.scored > 0;

export function showRuns(runs, skipped, onOpen) {
  const rows = [...runs.map((run) => runRow(run, onOpen)), ...skipped.map(skippedRow)];
  byId("runs").replaceChildren(...rowsOrNone(rows, 9, "No run yet: millrace score churn makes one, millrace schedule one each day."));
}

/** What became of a job's runs that nobody carried out, in one row. */
function skippedRow({ job, runs, last }) {
  const note = `${count(runs)} missed and not made up for, the last as of ${minute(last)}`;
  return el("tr", {}, el("th", { scope: "row" }, job), el("td", {}, ""),
    el("td", {}, el("span", { class: "pill", "data-state": "skipped" }, "skipped")), el("td", { colspan: 6, class: "wrap" }, note));
}

function runRow(run, onOpen) {
  const row = el("tr", {},
    el("th", { scope: "row" }, run.job), el("td", {}, minute(run.as_of)),
    el("td", {}, el("span", { class: "pill", "data-state": run.state }, run.state)),
    el("td", { class: "number" }, took(run)), el("td", { class: "number" }, number(run.scored)),
    el("td", { class: "number" }, number(run.problems)), el("td", { class: "number" }, number(run.tries)),
    el("td", { class: "mono" }, run.version ?? ""), el("td", { class: "wrap" }, run.error ?? (run.scheduled ? "" : "by hand")));
  if (hasScores(run)) {
    Object.assign(row, { tabIndex: 0, onclick: () => opened(row, run, onOpen) });
    row.onkeydown = (event) => event.key === "Enter" && opened(row, run, onOpen);
    row.dataset.open = "";
  }
  return row;
}

function opened(row, run, onOpen) {
  for (const other of row.parentElement.children) other.setAttribute("aria-selected", String(other === row));
  onOpen(run);
}

const number = (value) => (value === null ? "" : count(value));

function took({ started_at: began, finished_at: ended }) {
  return began && ended ? `${((Date.parse(ended) - Date.parse(began)) / 1000).toFixed(1)} s` : "";
}
