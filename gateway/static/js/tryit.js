// The visitor's own ride, upload or card payment, and how long its decision took to come back to this page.

import { byId, el } from "./dom.js";
import { figure, milliseconds } from "./format.js";
import { WORDS } from "./verdict.js";

// Made up, and harmless to read: one that is kept, one that sells, one that is rude.
const EXAMPLES = [
  ["Morning walk over the bridge", "Forty minutes of the skyline at sunrise, no talking, just the city waking up."],
  ["FREE iPhone for the first 100 subscribers", "Click the link, subscribe to my channel and claim your free prize now!!! Text WIN to 80080"],
  ["My honest review", "You are a stupid idiot and everybody who watches this garbage is a moron, shut up."],
];
const LOOKS = 6;
const LOOK_MS = 1200; // card payments are scored in batches of up to a second
const DEFAULT_RIDE = ["74", "138"]; // East Harlem North to LaGuardia

export class TryIt {
  /**
   * @param {object} parts
   * @param {import("./feed.js").Feed} parts.feed
   * @param {import("./subjects.js").Subjects} parts.subjects
   * @param {import("./zones.js").Zone[]} parts.zones
   * @param {(ends: import("./zones.js").Zone[]) => void} parts.onEnds told which two zones are chosen
   * @param {(subject: object) => void} parts.onOpen asked to show a subject in full
   */
  constructor({ feed, subjects, zones, onEnds, onOpen }) {
    Object.assign(this, { feed, subjects, zones, onEnds, onOpen });
    [this.pickup, this.dropoff, this.title, this.text, this.result] = ["pickup", "dropoff", "title", "text", "result"].map(byId);
    this.mine = null;
    this.next = 0;
    this.nextEnd = this.pickup;
    this.fillSelects();
    this.example();
    byId("example").addEventListener("click", () => this.example());
    for (const select of [this.pickup, this.dropoff]) select.addEventListener("change", () => this.showEnds());
    byId("ride-form").addEventListener("submit", (event) => this.submit(event, "/v1/rides", this.ride()));
    byId("upload-form").addEventListener("submit", (event) => this.submit(event, "/v1/uploads", this.upload()));
    byId("card-form").addEventListener("submit", (event) => this.submit(event, "/v1/transactions", this.payment()));
  }

  fillSelects() {
    const boroughs = grouped(this.zones);
    [this.pickup, this.dropoff].forEach((select, index) => {
      for (const [borough, zones] of boroughs) {
        const options = zones.map((zone) => el("option", { value: zone.id }, zone.name));
        select.append(el("optgroup", { label: borough }, ...options));
      }
      select.value = DEFAULT_RIDE[index];
    });
    this.showEnds();
  }

  /** A click on the map: the first chooses where from, the second where to. */
  pick(zone) {
    this.nextEnd.value = String(zone.id);
    this.nextEnd = this.nextEnd === this.pickup ? this.dropoff : this.pickup;
    this.showEnds();
  }

  showEnds() {
    this.onEnds([this.pickup, this.dropoff].map((select) => this.zones.find((zone) => String(zone.id) === select.value)));
  }

  example() {
    [this.title.value, this.text.value] = EXAMPLES[this.next % EXAMPLES.length];
    this.next += 1;
  }

  ride() {
    return { pickup: { zone: Number(this.pickup.value) }, dropoff: { zone: Number(this.dropoff.value) } };
  }

  upload() {
    return { title: this.title.value, text: this.text.value };
  }

  payment() {
    const source = byId("source").value;
    return { card_id: `card-of-${this.feed.user}`, terminal_id: `${source}-1`, source, amount_usd: Number(byId("amount").value) };
  }

  async submit(event, path, body) {
    event.preventDefault();
    const sentAt = performance.now();
    this.mine = { sentAt, acceptedAt: null, id: null };
    this.result.replaceChildren(el("p", { class: "muted" }, "Sent."));
    try {
      const answer = await this.feed.ask(path, { method: "POST", body: JSON.stringify(body) });
      this.accepted(answer, sentAt);
    } catch (error) {
      this.result.replaceChildren(el("p", { class: "wrong" }, `Not accepted: ${error.message}`));
    }
  }

  accepted(answer, sentAt) {
    if (this.mine?.sentAt !== sentAt) return; // another was sent meanwhile
    this.mine.acceptedAt = performance.now();
    this.mine.id = answer.ride_id ?? answer.upload_id ?? answer.transaction_id;
    if (answer.transaction_id) void this.lookFor(answer.transaction_id);
    this.subjects.pinned.add(this.mine.id);
    const known = this.subjects.get(this.mine.id); // the decision may have been quicker than the answer to the request
    if (known) known.mine = true;
    this.render(known);
  }

  /** A payment that is allowed is told to nobody: the store knows of it. */
  async lookFor(id) {
    for (let look = 0; look < LOOKS && this.mine.id === id && !this.subjects.get(id)?.decision; look += 1) {
      await new Promise((resolve) => { setTimeout(resolve, LOOK_MS); });
      const found = await this.feed.ask(`/v1/decisions/${encodeURIComponent(id)}`).catch(() => null);
      if (found && !this.subjects.get(id)?.decision) this.news(this.subjects.apply({ ...found.decision, type: "decision" }, this.decidedAt(found)));
    }
  }

  /** When it was decided, on this page's clock: the system's own took so long. */
  decidedAt({ decision: { at, event_at: asked } }) {
    return this.mine.sentAt + Math.max(0, Date.parse(at) - Date.parse(asked));
  }

  /** A subject had news: show it if it is the visitor's own. */
  news(subject) {
    if (!this.mine?.id || subject.id !== this.mine.id) return;
    subject.mine = true;
    this.render(subject);
  }

  render(subject) {
    const { sentAt, acceptedAt } = this.mine;
    const since = (at) => (at ? milliseconds(at - sentAt) : "…");
    const times = [["accepted by Kafka", acceptedAt], ["first figure", subject?.firstFigureAt], ["decided", subject?.decidedAt]];
    const told = times.filter(([, at]) => at || !subject?.decision); // of a payment the decision is the first thing told
    const timing = el("p", { class: "times" }, ...told.map(([label, at]) => el("span", {}, `${label} `, el("b", {}, since(at)))));
    if (subject?.decision) timing.append(this.receiptButton(subject));
    this.result.replaceChildren(...(subject ? [outcome(subject), timing] : [timing]));
  }

  receiptButton(subject) {
    const button = el("button", { type: "button", class: "link" }, "Receipt");
    button.addEventListener("click", () => this.onOpen(subject));
    return button;
  }
}

function outcome(subject) {
  const { decision } = subject;
  const figures = [...subject.figures].map(([model, { value, unit }]) => `${model} ${figure(value, unit)}`).join(" · ");
  const pill = decision ? el("span", { class: "pill", "data-action": decision.action }, WORDS[decision.action] ?? decision.action) : null;
  return el("div", {}, el("p", { class: "line" }, pill, el("span", {}, decision?.reasons[0] ?? "deciding")), el("p", { class: "muted small" }, figures));
}

/** Borough -> its zones, by name. */
function grouped(zones) {
  const groups = new Map();
  for (const zone of [...zones].sort((a, b) => a.name.localeCompare(b.name))) {
    groups.set(zone.borough, [...(groups.get(zone.borough) ?? []), zone]);
  }
  return groups;
}
