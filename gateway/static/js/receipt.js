// The receipt of a decision: how long each hop took, and where in the log everything lies.

import { el } from "./dom.js";
import { figure, milliseconds } from "./format.js";

/** What `GET /v1/decisions/{id}/receipt` answers, as nodes; of an upload that was changed, the latest version. */
export function receiptNodes({ openings, predictions, decisions }) {
  const opening = openings.at(-1);
  const initial = predictions.filter((prediction) => prediction.event_id === opening.event_id);
  const corrections = predictions.length - initial.length;
  return [
    timeline(hops(opening, initial, decisions)),
    logTable(opening, initial, decisions),
    el("p", { class: "muted small" }, corrections > 0 ? `And ${corrections} more on later events of it.` : ""),
  ];
}

/** What happened when, in order: [label, milliseconds after Kafka had the event]. */
export function hops(opening, predictions, decisions) {
  const start = Date.parse(opening.logged_at);
  const steps = [
    ...predictions.map(({ model, at }) => [model, Date.parse(at) - start]),
    ["at the decision worker", Date.parse(opening.seen_at) - start],
    ...decisions.filter(({ decision_id }) => decision_id.startsWith(`${opening.event_id}.`)).map(({ action, at }) => [action, Date.parse(at) - start]),
  ];
  return [["in Kafka", 0], ...steps.sort((a, b) => a[1] - b[1])];
}

function timeline(steps) {
  const whole = Math.max(...steps.map(([, ms]) => ms), 1);
  return el("ol", { class: "timeline" }, ...steps.map(([label, ms]) => {
    const fill = el("span", { class: "fill" });
    fill.style.transform = `scaleX(${Math.max(ms / whole, 0).toFixed(3)})`;
    return el("li", {}, el("span", { class: "label" }, label), el("span", { class: "well" }, fill), el("span", { class: "value" }, milliseconds(ms)));
  }));
}

function logTable(opening, predictions, decisions) {
  const rows = [
    ["the event", opening.position, ""],
    ...predictions.map(({ model, version, position, value, unit }) => [`${model} ${version}`, position, figure(value, unit)]),
    ...decisions.map(({ action, revision, position }) => [`decision ${revision}`, position, action]),
  ];
  const body = rows.map(([what, position, value]) => el("tr", {}, el("th", { scope: "row" }, what), el("td", { class: "mono" }, place(position)), el("td", { class: "number" }, value)));
  return el("table", {}, el("caption", {}, "Where it lies in the log: topic, partition, offset"), el("tbody", {}, ...body));
}

const place = (position) => (position ? `${position.topic} ${position.partition} @ ${position.offset}` : "on its way");
