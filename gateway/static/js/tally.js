// How the rides and uploads seen here were decided: each counts once, under its latest decision.

import { byId, setText } from "./dom.js";
import { count } from "./format.js";

const ACTIONS = ["quote", "confirm", "keep", "review", "remove"];

export class Tally {
  constructor() {
    this.counts = Object.fromEntries(ACTIONS.map((action) => [action, 0]));
    this.counted = new WeakMap(); // subject -> what it counts under
  }

  add(subject) {
    if (subject.kind === "transaction") return; // the status counts them: of most nobody is told
    const under = subject.decision?.action;
    const before = this.counted.get(subject);
    if (!under || under === before) return;
    if (before) this.counts[before] -= 1;
    this.counts[under] = (this.counts[under] ?? 0) + 1;
    this.counted.set(subject, under);
  }

  show() {
    for (const action of ACTIONS) setText(byId(`tally-${action}`), count(this.counts[action]));
    for (const board of ["rides", "uploads", "charges"]) byId(`${board}-empty`).hidden = byId(board).childElementCount > 0;
  }
}
