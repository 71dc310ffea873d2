// Figures as a person reads them. The unit is the one the prediction carries.

const whole = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

export const count = (value) => whole.format(value);

/** A value in "min", "usd", "probability" or "similarity". */
export function figure(value, unit) {
  if (typeof value !== "number" || !Number.isFinite(value)) return "–";
  if (unit === "min") return `${value.toFixed(1)} min`;
  if (unit === "usd") return `$${value.toFixed(2)}`;
  if (unit === "probability" || unit === "similarity") return `${Math.round(value * 100)}%`;
  return unit ? `${value.toPrecision(3)} ${unit}` : value.toPrecision(3);
}

/** Messages per second, steady enough to read. */
export function rate(value) {
  if (!Number.isFinite(value)) return "–";
  return value > 0 && value < 9.95 ? value.toFixed(1) : count(value);
}

export function milliseconds(value) {
  return value < 10 ? `${value.toFixed(1)} ms` : `${count(value)} ms`;
}

/** An id that fits a row: its beginning and its end. */
export function shortId(id) {
  return id.length > 22 ? `${id.slice(0, 10)}…${id.slice(-9)}` : id;
}
