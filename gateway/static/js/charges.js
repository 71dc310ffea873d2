// One held card payment's row: what is at stake, how sure the model is, and what each choice would cost.

import { el, setData, setText } from "./dom.js";
import { figure, shortId } from "./format.js";
import { verdict } from "./verdict.js";

const LEVELS = { block: "high", review: "middle" };
const WHERE = { pos: "at a till", online: "online", atm: "at a cash machine" };

export function makeChargeCard() {
  const name = el("span", { class: "name" });
  const head = verdict();
  const fill = el("span", { class: "fill" });
  const value = el("span", { class: "value" }, "–");
  const meter = el("span", { class: "meter" }, el("span", { class: "label" }, "fraud"), el("span", { class: "well" }, fill), value);
  const why = el("span", { class: "why" });
  const element = el("button", { type: "button", class: "row" }, el("span", { class: "head" }, name, ...head.elements), meter, why);

  function render(charge) {
    const found = charge.figures.get("fraud");
    const { amount_usd: usd, source } = found?.detail ?? {};
    setText(name, usd === undefined ? shortId(charge.id) : `${figure(usd, "usd")} ${WHERE[source] ?? source ?? ""}`);
    setData(element, "mine", charge.mine ?? null);
    head.render(charge.decision);
    fill.style.transform = `scaleX(${Math.min(Math.max(found?.value ?? 0, 0), 1).toFixed(3)})`;
    setText(value, found ? figure(found.value, found.unit) : "–");
    setData(meter, "level", LEVELS[charge.decision?.action] ?? null);
    setText(why, charge.decision?.reasons.at(-1) ?? "");
  }

  return { element, render };
}
