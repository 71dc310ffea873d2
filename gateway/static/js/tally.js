// How many rides were seen, and how uploads were decided: each subject counts once, under its latest decision.

import { byId, setText } from "./dom.js";
import { count } from "./format.js";

export class Tally {
  constructor() {
    this.counts = { ride: 0, keep: 0, review: 0, remove: 0 };
    this.counted = new WeakMap(); // subject -> what it counts under
  }

  add(subject) {
    if (subject.kind === "transaction") return; // the status counts them: of most nobody is told
    const under = subject.kind === "ride" ? "ride" : subject.decision?.action;
    const before = this.counted.get(subject);
    if (!under || under === before) return;
    if (before) this.counts[before] -= 1;
    this.counts[under] = (this.counts[under] ?? 0) + 1;
    this.counted.set(subject, under);
  }

  show() {
    setText(byId("rides-count"), count(this.counts.ride));
    for (const action of ["keep", "review", "remove"]) setText(byId(`tally-${action}`), count(this.counts[action]));
    for (const board of ["rides", "uploads", "charges"]) byId(`${board}-empty`).hidden = byId(board).childElementCount > 0;
  }
}
