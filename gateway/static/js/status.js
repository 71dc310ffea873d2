// The panel of models and agents, from `GET /v1/status` every two seconds.

import { byId, el, setText } from "./dom.js";
import { count, rate } from "./format.js";

const EVERY_MS = 2000;

/** @param {import("./feed.js").Feed} feed */
export function watchStatus(feed) {
  let before = null;
  async function poll() {
    if (feed.token && !document.hidden) {
      try {
        const status = { ...(await feed.ask("/v1/status")), at: performance.now() };
        render(status, before);
        before = status;
      } catch {
        before = null; // the connection's state is shown by the feed; the figures stay as they were
      }
    }
    setTimeout(poll, EVERY_MS);
  }
  void poll();
}

function render(status, before) {
  byId("errors").replaceChildren(...rowsOrNone(status.errors.map(errorRow), 4, "nothing has come out yet"));
  byId("agents").replaceChildren(...rowsOrNone(status.agents.map(agentRow), 4, "no agent has joined yet"));
  const counters = Object.entries(status.counters).map(([name, value]) => `${count(value)} ${name.replaceAll("_", " ")}`);
  setText(byId("counters"), counters.join(" · "));
  if (before) setText(byId("rate-events"), rate((status.counters.events - before.counters.events) / ((status.at - before.at) / 1000)));
}

function errorRow({ model, version, metric, value, unit, count: outcomes }) {
  return el("tr", {}, el("th", { scope: "row" }, model), el("td", { class: "mono" }, version),
    el("td", { class: "number" }, `${value} ${metric} ${unit}`), el("td", { class: "number" }, count(outcomes)));
}

function agentRow({ name, lag, members, state }) {
  const tone = members === 0 ? "state-bad" : state === "Stable" ? "state-ok" : "state-warn";
  return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "number" }, count(lag)),
    el("td", { class: "number" }, count(members)), el("td", { class: tone }, state));
}

function rowsOrNone(rows, columns, none) {
  return rows.length > 0 ? rows : [el("tr", {}, el("td", { colspan: columns, class: "muted" }, none))];
}
