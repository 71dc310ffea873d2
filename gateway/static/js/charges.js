// One held card transaction's row: what is at stake, how sure the model is, and why it is held.

import { el, setData, setText } from "./dom.js";
import { figure, shortId } from "./format.js";
import { verdict } from "./verdict.js";

export function makeChargeCard() {
  const name = el("span", { class: "name mono" });
  const amount = el("span", { class: "tag" });
  const head = verdict();
  const fill = el("span", { class: "fill" });
  const value = el("span", { class: "value" }, "–");
  const meter = el("span", { class: "meter" }, el("span", { class: "label" }, "fraud"), el("span", { class: "well" }, fill), value);
  const why = el("span", { class: "why" });
  const element = el("button", { type: "button", class: "row" }, el("span", { class: "head" }, name, amount, ...head.elements), meter, why);

  function render(charge) {
    const found = charge.figures.get("fraud");
    const { amount_usd: usd, terminal_id: terminal } = found?.detail ?? {};
    setText(name, terminal ? `${terminal} · ${shortId(charge.id)}` : shortId(charge.id));
    setText(amount, figure(usd, "usd"));
    head.render(charge.decision);
    fill.style.transform = `scaleX(${Math.min(Math.max(found?.value ?? 0, 0), 1).toFixed(3)})`;
    setText(value, found ? figure(found.value, found.unit) : "–");
    setData(meter, "level", charge.decision?.action === "block" ? "high" : "middle");
    setText(why, charge.decision?.reasons.join("; ") ?? "");
  }

  return { element, render };
}
