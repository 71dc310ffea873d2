// Live error by model, version and week: a chart for each unit, and a table of the same figures.

import { lines } from "./charts.js";
import { byId, el } from "./dom.js";
import { count, figure } from "./format.js";

const MEASURES = { min: "Mean absolute error, minutes", usd: "Mean absolute error, $", probability: "Brier score (0 is perfect)" };

export function showErrors(errors) {
  byId("errors-body").hidden = errors.length === 0;
  byId("errors-empty").hidden = errors.length > 0;
  byId("weeks").replaceChildren(...errors.toReversed().map(weekRow));
  const units = [...new Set(errors.map((error) => error.unit))].toSorted();
  const charts = units.map((unit) => el("div", { class: "chart", role: "img", "aria-label": `${measure(unit)}, by week; the table below has the figures` }));
  byId("errors-charts").replaceChildren(...charts);
  units.forEach((unit, at) => drawUnit(charts[at], unit, errors.filter((error) => error.unit === unit)));
}

const measure = (unit) => MEASURES[unit] ?? `Mean absolute error, ${unit}`;
const named = ({ model, stage }) => (stage === "correction" ? `${model}, corrected` : model);

function drawUnit(node, unit, errors) {
  const groups = Map.groupBy(errors, (error) => `${named(error)} ${error.version}`);
  const series = [...groups].toSorted(([a], [b]) => a.localeCompare(b, "en", { numeric: true })).map(([, found]) => ({
    what: named(found[0]), version: found[0].version,
    points: found.map(({ week, mae, brier, n }) => ({ x: week, y: brier ?? mae, n: count(n) })),
  }));
  lines(node, measure(unit), [...new Set(errors.map((error) => error.week))], series);
}

/** As on the live page: the mean absolute error with its bias; the Brier score of a probability. */
function weekRow(error) {
  const { week, version, unit, n, mae, bias, brier } = error;
  const lean = brier === null ? `${bias < 0 ? "−" : "+"}${figure(Math.abs(bias), unit)}` : "";
  return el("tr", {}, el("td", {}, week), el("th", { scope: "row" }, named(error)), el("td", { class: "mono" }, version),
    el("td", { class: "number" }, brier === null ? figure(mae, unit) : brier.toFixed(3)), el("td", {}, brier === null ? "MAE" : "Brier score"),
    el("td", { class: "number" }, lean), el("td", { class: "number" }, count(n)));
}
