// What-if reports: what a candidate version would have said and changed, beside what was said and decided.

import { intervals } from "./charts.js";
import { byId, el } from "./dom.js";
import { count, figure, shortId } from "./format.js";
import { minute } from "./batch_runs.js";

/** Fill the list of reports; gives the one that is shown first. */
export function listReports(reports, onPick) {
  const select = byId("report");
  const named = (report) => `${report.model} ${report.version}, made ${minute(report.made_at)}`;
  select.replaceChildren(...reports.map((report, at) => el("option", { value: at }, named(report))));
  byId("report-choice").hidden = reports.length === 0;
  select.onchange = () => onPick(reports[Number(select.value)]);
  return reports[0];
}

export function showReport(report) {
  byId("report-body").hidden = !report;
  byId("report-empty").hidden = Boolean(report);
  if (!report) return;
  byId("report-tiles").replaceChildren(...tilesOf(report).map(([name, value, tone]) => el("div", {}, el("dt", {}, name), el("dd", { class: tone ?? "" }, value))));
  const loss = `change of ${lossOf(report)}`;
  for (const slice of ["hour", "zone", "week"]) drawSlice(report, slice, loss);
  byId("report-actions").replaceChildren(...report.actions.map((row) => actionRow(row, report.unit)));
  byId("report-flips").replaceChildren(...report.flips.map((flip) => flipRow(flip, report.unit)));
}

const initial = (report, slice) => report.errors.filter((row) => row.slice === slice && row.stage === "initial");
const lossOf = (report) => (initial(report, "all")[0]?.loss === "squared" ? "Brier score" : `absolute error, ${report.unit}`);

function tilesOf(report) {
  const [all] = initial(report, "all");
  const share = report.decided > 0 ? ` of ${count(report.decided)}` : "";
  const tiles = [
    ["answered anew", count(report.predicted)],
    ["could not be scored", count(report.failed)],
    ["decisions that would flip", `${count(report.flipped)}${share}`],
  ];
  if (!all) return tiles;
  tiles.push([`${lossOf(report)}, over ${count(all.n)} outcomes`, all.now.toFixed(3)]);
  if (all.change === null) return tiles;
  const tone = all.high < 0 ? "good" : all.low > 0 ? "bad" : undefined;
  return [...tiles, ["then", all.then.toFixed(3)], ["change, 95 % interval", `${signed(all.change)} (${signed(all.low)} to ${signed(all.high)})`, tone]];
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

function drawSlice(report, slice, loss) {
  const rows = initial(report, slice).toSorted((a, b) => a.key.localeCompare(b.key, "en", { numeric: true }));
  const points = rows.map(({ key, change, low, high, pairs }) => ({ x: key, mean: change, low, high, n: pairs }));
  intervals(byId(`chart-${slice}`), `By ${slice}`, slice, loss, points);
}

function actionRow({ was, would_be: wouldBe, n, mean }, unit) {
  const pill = (action) => el("span", { class: "pill", "data-action": action }, action);
  return el("tr", {}, el("td", {}, pill(was)), el("td", {}, pill(wouldBe)), el("td", { class: "number" }, count(n)),
    el("td", { class: "number" }, figure(mean, unit)));
}

function flipRow({ subject_id: id, at_us: at, was, would_be: wouldBe, value_then: then, value_now: now }, unit) {
  return el("tr", {}, el("th", { scope: "row" }, shortId(id)), el("td", {}, minute(new Date(at / 1000).toISOString())),
    el("td", {}, was), el("td", {}, wouldBe), el("td", { class: "number" }, figure(then, unit)), el("td", { class: "number" }, figure(now, unit)));
}
