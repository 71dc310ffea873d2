// What-if reports: what a candidate version would have said and changed, beside what was said and decided.

import { intervals } from "./charts.js";
import { byId, el, rowsOrNone, setText } from "./dom.js";
import { count, figure, shortId } from "./format.js";
import { minute } from "./batch_runs.js";

/** Fill the list of reports; gives the one that is shown first. */
export function listReports(reports, onPick) {
  const select = byId("report");
  const named = ({ model, version, run, made_at: made }) => `${model} ${version} (${run}), made ${minute(made)}`;
  select.replaceChildren(...reports.map((report, at) => el("option", { value: at }, named(report))));
  byId("report-choice").hidden = reports.length === 0;
  select.onchange = () => onPick(reports[Number(select.value)]);
  return reports[0];
}

export function showReport(report, zones) {
  byId("report-body").hidden = !report;
  byId("report-empty").hidden = Boolean(report);
  if (!report) return;
  byId("report-tiles").replaceChildren(...tilesOf(report).map(([name, value, tone]) => el("div", {}, el("dt", {}, name), el("dd", { class: tone ?? "" }, value))));
  setText(byId("report-of"), rangeOf(report));
  byId("report-charts").hidden = report.errors.length === 0;
  byId("report-no-error").hidden = report.errors.length > 0;
  if (report.errors.length > 0) for (const slice of ["hour", "zone", "week"]) drawSlice(report, slice, zones);
  byId("report-actions").replaceChildren(...report.actions.map((row) => actionRow(row, report.unit)));
  const flips = report.flips.map((flip) => flipRow(flip, report.unit));
  byId("report-flips").replaceChildren(...rowsOrNone(flips, 6, "none"));
}

const UNITS = { min: "minutes", usd: "$" };
const TITLES = { hour: "By hour", zone: "By zone of the pickup", week: "By week" };
const AXES = { hour: "hour, New York", zone: "taxi zone", week: "week of the event, New York" };

const sliced = (report, slice, stage = "initial") => report.errors.filter((row) => row.slice === slice && row.stage === stage);
const lossOf = (row, unit) => (row.loss === "squared" ? "Brier score" : `absolute error, ${UNITS[unit] ?? unit}`);

function rangeOf({ first_at: first, last_at: last, answered, decided }) {
  const span = first ? `Events from ${minute(first)} to ${minute(last)}. ` : "";
  return `${span}Known of then: ${count(answered)} live answers, ${count(decided)} decisions.`;
}

function tilesOf(report) {
  const share = report.decided > 0 ? ` of ${count(report.decided)}` : "";
  return [
    ["answered anew", count(report.predicted)],
    ["could not be scored", count(report.failed)],
    ["decisions that would flip", `${count(report.flipped)}${share}`],
    ...(report.drifted > 0 ? [["would flip by today's policy alone", count(report.drifted)]] : []),
    ...["initial", "correction"].flatMap((stage) => sliced(report, "all", stage).flatMap((row) => lossTiles(row, report.unit))),
  ];
}

/** The error now, then, and by how much it differs; below zero is better. */
function lossTiles(row, unit) {
  const of = row.stage === "correction" ? ", corrections" : "";
  const now = [`${lossOf(row, unit)}${of}, over ${count(row.n)} outcomes`, row.now.toFixed(3)];
  if (row.change === null) return [now];
  const tone = row.high < 0 ? "good" : row.low > 0 ? "bad" : undefined;
  return [now, [`live then${of}`, row.then.toFixed(3)], [`change${of}, 95 % interval`, `${signed(row.change)} (${signed(row.low)} to ${signed(row.high)})`, tone]];
}

const signed = (value) => `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;

function drawSlice(report, slice, zones) {
  const rows = sliced(report, slice).toSorted((a, b) => a.key.localeCompare(b.key, "en", { numeric: true }));
  const name = (key) => (slice === "zone" ? zones.find((zone) => String(zone.id) === key)?.name : undefined);
  const points = rows.map(({ key, change, low, high, pairs }) => ({ x: key, name: name(key), mean: change, low, high, n: pairs }));
  const unit = rows[0]?.loss === "squared" ? "change of the Brier score" : `change, ${UNITS[report.unit] ?? report.unit}`;
  intervals(byId(`chart-${slice}`), TITLES[slice], AXES[slice], unit, points);
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
