// One ride's row: its figures fill in as they come, the duration is corrected while the ride runs.

import { el, setData, setText, svg } from "./dom.js";
import { figure, shortId } from "./format.js";
import { verdict } from "./verdict.js";

const CELLS = [
  ["eta", "ETA"],
  ["duration", "Duration"],
  ["spark", "as it runs"],
  ["cost", "Cost"],
  ["tip", "Tip"],
  ["cancellation", "Cancels"],
];

/** @param {(subject: object) => string | null} route "from → to" of a ride, once its track is known */
export function makeRideCard(route) {
  const name = el("span", { class: "name" });
  const head = verdict();
  const why = el("span", { class: "why" });
  const cells = new Map(CELLS.map(([model, label]) => [model, model === "spark" ? sparkCell(label) : valueCell(label)]));
  const figures = el("span", { class: "figures" }, ...[...cells.values()].map((cell) => cell.element));
  const element = el("button", { type: "button", class: "row" }, el("span", { class: "head" }, name, ...head.elements), figures, why);

  function render(ride) {
    setText(name, route(ride) ?? shortId(ride.id));
    setData(element, "mine", ride.mine ?? null);
    head.render(ride.decision);
    for (const [model] of CELLS) {
      if (model === "spark") cells.get(model).render(ride.durations);
      else cells.get(model).render(ride.figures.get(model), ride.decision?.missing.includes(model));
    }
    setText(why, ride.decision?.reasons[0] ?? "");
  }

  return { element, render };
}

function valueCell(label) {
  const value = el("span", { class: "value pending" }, "–");
  const element = el("span", { class: "figure" }, el("span", { class: "label" }, label), value);
  return {
    element,
    render(found, missing) {
      setText(value, found ? figure(found.value, found.unit) : missing ? "missing" : "–");
      value.classList.toggle("pending", !found && !missing);
    },
  };
}

function sparkCell(label) {
  const caption = el("span", { class: "label" }, label);
  const line = svg("polyline", { points: "" });
  const drawing = svg("svg", { class: "spark", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" }, line);
  const element = el("span", { class: "figure" }, caption, drawing);
  return {
    element,
    render(durations) {
      line.setAttribute("points", sparkline(durations));
      setText(caption, durations.length > 1 ? `corrected ${durations.length - 1}×` : label);
    },
  };
}

/** Points of a 100 by 24 box; a change under a tenth of the value stays visibly small. */
export function sparkline(values, width = 100, height = 24, margin = 2) {
  if (values.length < 2) return "";
  const low = Math.min(...values);
  const middle = (low + Math.max(...values)) / 2;
  const span = Math.max(Math.max(...values) - low, 0.1 * Math.abs(middle), 1e-9);
  const y = (value) => height / 2 - ((value - middle) / span) * (height - 2 * margin);
  const x = (index) => (index / (values.length - 1)) * width;
  return values.map((value, index) => `${x(index).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
}
