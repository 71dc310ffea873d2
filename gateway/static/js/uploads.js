// One upload's row: a bar per model filling in, then what is done about it and the decisive reason.

import { el, setData, setText } from "./dom.js";
import { figure, shortId } from "./format.js";
import { verdict } from "./verdict.js";

const models = ["toxicity", "hate", "spam", "duplicate"]; // others join the list as they are first seen

export function makeUploadCard() {
  const name = el("span", { class: "name mono" });
  const head = verdict();
  const bars = el("span", { class: "bars" });
  const why = el("span", { class: "why" });
  const element = el("button", { type: "button", class: "row" }, el("span", { class: "head" }, name, ...head.elements), bars, why);
  const meters = new Map();

  function render(upload) {
    setText(name, shortId(upload.id));
    setData(element, "mine", upload.mine ?? null);
    head.render(upload.decision);
    for (const model of upload.figures.keys()) if (!models.includes(model)) models.push(model);
    for (const model of models) if (!meters.has(model)) meters.set(model, addMeter(bars, model));
    const decisive = decisiveModel(upload);
    for (const [model, meter] of meters) {
      meter.render(upload.figures.get(model), upload.decision?.missing.includes(model), model === decisive ? upload.decision.action : null);
    }
    setText(why, upload.decision?.reasons[0] ?? "");
  }

  return { element, render };
}

/** The model whose figure the decisive reason cites; an upload that is kept has none. */
function decisiveModel({ decision, figures }) {
  if (!decision || decision.action === "keep") return null;
  const cited = (value) => new RegExp(`(?<!\\d)${Math.round(value * 100)}%`).test(decision.reasons[0] ?? "");
  return [...figures].filter(([, { value }]) => cited(value)).sort(([, a], [, b]) => b.value - a.value)[0]?.[0] ?? null;
}

function addMeter(bars, model) {
  const value = el("span", { class: "value" }, "–");
  const bar = el("span", { class: "fill" });
  const element = el("span", { class: "meter" },
    el("span", { class: "label" }, model), el("span", { class: "well" }, bar), value);
  bars.append(element);
  return {
    render(found, missing, action) {
      const share = found ? Math.min(Math.max(found.value, 0), 1) : 0;
      bar.style.transform = `scaleX(${share.toFixed(3)})`;
      setText(value, found ? figure(found.value, found.unit) : "–");
      setData(element, "level", action === "remove" ? "high" : action ? "middle" : null);
      setData(element, "missing", missing || null);
    },
  };
}
