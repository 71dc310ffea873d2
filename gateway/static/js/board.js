// A board of rows that keep their place. At a hundred messages a second a list that scrolls cannot be read, so a new
// subject takes over the row of one that is done, in place, and only after that has been shown for a while.

export class Board {
  /**
   * @param {HTMLElement} list
   * @param {object} options
   * @param {number} options.rows how many are shown at most
   * @param {number} options.dwellMs how long a row is shown at least
   * @param {() => {element: HTMLElement, render: (subject: object) => void}} options.makeCard
   * @param {(subject: object) => void} options.onOpen
   */
  constructor(list, { rows, dwellMs, makeCard, onOpen }) {
    Object.assign(this, { list, rows, dwellMs, makeCard, onOpen });
    this.slots = [];
    this.bySubject = new Map();
    this.dirty = new Set();
    this.pointed = this.focused = false; // while a mouse or the keyboard is on a row, no row changes hands
    list.addEventListener("pointerenter", (event) => { this.pointed = event.pointerType === "mouse"; });
    list.addEventListener("pointerleave", () => { this.pointed = false; });
    list.addEventListener("focusin", () => { this.focused = list.querySelector(":focus-visible") !== null; });
    list.addEventListener("focusout", () => { this.focused = false; });
  }

  /** A subject has news: redraw its row, or find it one. */
  offer(subject, now) {
    const slot = this.bySubject.get(subject.id) ?? this.place(subject, now);
    if (slot) this.dirty.add(slot);
  }

  /** Draw what has changed; call once per frame. */
  flush() {
    for (const slot of this.dirty) slot.card.render(slot.subject);
    this.dirty.clear();
  }

  place(subject, now) {
    if (!subject.opened) return null; // the page came in the middle of it: there is little to show
    const slot = this.slots.length < this.rows ? this.addSlot() : this.replaceable(now);
    if (!slot) return null;
    if (slot.subject) this.bySubject.delete(slot.subject.id);
    slot.subject = subject;
    slot.since = now;
    this.bySubject.set(subject.id, slot);
    return slot;
  }

  addSlot() {
    const card = this.makeCard();
    const slot = { card, subject: null, since: 0 };
    card.element.addEventListener("click", () => this.onOpen(slot.subject));
    const item = document.createElement("li");
    item.append(card.element);
    this.list.append(item);
    this.slots.push(slot);
    return slot;
  }

  /** The row that has been quiet longest, among those shown long enough and decided (or given up on). */
  replaceable(now) {
    if (this.pointed || this.focused) return null;
    const long = (slot) => now - slot.since > this.dwellMs;
    const done = (slot) => slot.subject.decision || now - slot.subject.seen > 4 * this.dwellMs;
    const candidates = this.slots.filter((slot) => long(slot) && done(slot));
    return candidates.reduce((best, slot) => (!best || slot.subject.seen < best.subject.seen ? slot : best), null);
  }
}
