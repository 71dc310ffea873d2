// The panel of models and agents, from `GET /v1/status` every two seconds.

import { byId, el, rowsOrNone, setText } from "./dom.js";
import { count, figure, rate } from "./format.js";

const EVERY_MS = 2000;
const BEHIND = 1000; // records of lag worth a look: an idle system has next to none

/** @param {import("./feed.js").Feed} feed */
export function watchStatus(feed) {
  async function poll() {
    if (feed.token && !document.hidden) {
      // Where it fails the figures stay as they were: that the gateway is away is told by the feed.
      await feed.ask("/v1/status").then(render, () => null);
    }
    setTimeout(poll, EVERY_MS);
  }
  void poll();
}

function render({ rates, agents, errors, cards, connections, away }) {
  setText(byId("away"), away.length > 0 ? `no answer from ${away.join(", ")}: figures as they were` : "");
  for (const [name, value] of Object.entries(rates)) setText(byId(`rate-${name}`), rate(value));
  byId("errors").replaceChildren(...rowsOrNone(errors.map(errorRow), 6, "No outcome is known yet."));
  byId("agents").replaceChildren(...rowsOrNone(agents.map((agent) => agentRow(agent, away.includes("kafka"))), 4, "No agent has joined yet."));
  if (cards) showCards(cards);
  setText(byId("counters"), `${count(connections)} watching this gateway`);
}

/** What the decisions on card payments were worth, once a fraud is reported. */
function showCards({ allowed, reviewed, blocked, precision, recall, saved_usd: saved }) {
  setText(byId("charges-figures"), `${count(allowed)} allow · ${count(reviewed)} review · ${count(blocked)} block`);
  if (recall === null) return;
  setText(byId("cards-saved"), `${saved < 0 ? "−" : ""}$${count(Math.abs(saved))}`);
  setText(byId("cards-recall"), figure(recall, "probability"));
  setText(byId("cards-precision"), figure(precision, "probability"));
}

/** A mean absolute error in the model's unit; the Brier score of a probability. */
function errorRow({ model, version, stage, unit, n, mae, bias, brier }) {
  const error = brier === null ? figure(mae, unit) : brier.toFixed(3);
  const lean = brier === null ? `${bias < 0 ? "−" : "+"}${figure(Math.abs(bias), unit)}` : "";
  return el("tr", {}, el("th", { scope: "row" }, stage === "correction" ? `${model}, corrected` : model),
    el("td", { class: "mono" }, version), el("td", { class: "number" }, error), el("td", {}, brier === null ? "on average" : "Brier score"),
    el("td", { class: "number" }, lean), el("td", { class: "number" }, count(n)));
}

/** A consumer group: how it does, as long as the broker says. */
function agentRow({ name, lag, members }, unknown) {
  const [tone, state] = unknown ? ["muted", "unknown"] : members === 0 ? ["state-bad", "nobody"] : lag > BEHIND ? ["state-warn", "behind"] : ["state-ok", "keeps up"];
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, count(lag)),
    el("td", { class: "number" }, count(members)), el("td", { class: tone }, state));
}
