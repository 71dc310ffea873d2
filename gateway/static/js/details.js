// One subject in full: its decision, its figures, and the receipt the gateway gives for it.

import { byId, el, setText } from "./dom.js";
import { figure } from "./format.js";
import { receiptNodes } from "./receipt.js";
import { WORDS } from "./verdict.js";

export class Details {
  /**
   * A panel beside the map, not over it, so that a ride can be followed while it runs.
   * @param {import("./feed.js").Feed} feed
   * @param {() => void} onClose
   */
  constructor(feed, onClose) {
    Object.assign(this, { feed, subject: null, origin: null });
    this.dialog = byId("details");
    this.summary = byId("details-summary");
    this.receipt = byId("details-receipt");
    byId("details-close").addEventListener("click", () => this.dialog.close());
    this.dialog.addEventListener("keydown", (event) => { if (event.key === "Escape") this.dialog.close(); });
    this.dialog.addEventListener("close", () => {
      this.subject = null;
      this.origin?.focus();
      onClose();
    });
  }

  async open(subject, name) {
    this.origin = this.dialog.open ? this.origin : document.activeElement;
    this.subject = subject;
    setText(byId("details-title"), name);
    this.refresh(subject);
    this.receipt.replaceChildren(el("p", { class: "muted" }, "Fetching the receipt."));
    if (!this.dialog.open) this.dialog.show();
    const receipt = await fetchReceipt(this.feed, subject);
    if (this.subject === subject) this.receipt.replaceChildren(...receipt);
  }

  /** A subject had news: draw it again if it is the one shown. */
  refresh(subject) {
    if (subject === this.subject) this.summary.replaceChildren(...summary(subject));
  }
}

function summary(subject) {
  const { decision } = subject;
  const verdict = decision
    ? el("p", {}, el("span", { class: "pill", "data-action": decision.action }, WORDS[decision.action] ?? decision.action))
    : el("p", { class: "muted" }, "Not decided yet.");
  const reasons = el("ul", { class: "reasons" }, ...(decision?.reasons ?? []).map((reason) => el("li", {}, reason)));
  const facts = [["subject", subject.id], ["user", subject.user]];
  if (decision?.missing.length) facts.push(["without", decision.missing.join(", ")]);
  if (decision?.revision) facts.push(["revision", String(decision.revision)]);
  const list = el("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [el("dt", {}, name), el("dd", {}, value)]));
  return [verdict, reasons, list, figuresTable(subject.figures)];
}

function figuresTable(figures) {
  const rows = [...figures].map(([model, { version, value, unit, stage }]) => el("tr", {},
    el("th", { scope: "row" }, model), el("td", { class: "mono" }, version),
    el("td", { class: "number" }, figure(value, unit)), el("td", { class: "muted" }, stage === "correction" ? "corrected" : "")));
  const heads = ["model", "version", "value", ""].map((text) => el("th", { scope: "col", ...(text === "value" ? { class: "number" } : {}) }, text));
  return el("table", {}, el("thead", {}, el("tr", {}, ...heads)), el("tbody", {}, ...rows));
}

const OTHERS = "A receipt is shown to the user whose ride or upload it is; request one under “Try it”.";

async function fetchReceipt(feed, { id, user }) {
  if (user !== feed.user) return [el("p", { class: "muted" }, OTHERS)];
  try {
    return receiptNodes(await feed.ask(`/v1/decisions/${encodeURIComponent(id)}/receipt`));
  } catch (error) {
    const none = error.status === 403 || error.status === 404;
    return [el("p", { class: "muted" }, none ? OTHERS : `The receipt could not be fetched: ${error.message}`)];
  }
}
