// How many messages a second came in, over the last few seconds.

const WINDOW_S = 4;

export class Rates {
  constructor() {
    this.counts = new Map(); // type -> one count per second, newest last
  }

  add(type) {
    const counts = this.counts.get(type) ?? this.counts.set(type, [0]).get(type);
    counts[counts.length - 1] += 1;
  }

  /** Per second, by type; call once a second. */
  tick() {
    const rates = {};
    for (const [type, counts] of this.counts) {
      rates[type] = counts.reduce((sum, count) => sum + count, 0) / counts.length;
      counts.push(0);
      if (counts.length > WINDOW_S) counts.shift();
    }
    return rates;
  }
}
