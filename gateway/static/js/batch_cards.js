// What the card decisions were worth, week by week: three charts, and a table of the same figures.

import { line } from "./charts.js";
import { byId, el } from "./dom.js";
import { count, figure } from "./format.js";

const PERCENT = [0, 104]; // so that a point at 100 is seen whole

export function showCards(weeks) {
  byId("cards-panel").hidden = weeks.length === 0;
  if (weeks.length === 0) return;
  const points = (name, scale = 1) => weeks.filter((week) => week[name] !== null).map((week) => ({ x: week.week, y: week[name] * scale }));
  line(byId("chart-precision"), "Of those held, how many were frauds", "", "%", points("precision", 100), PERCENT);
  line(byId("chart-recall"), "Of the frauds reported, how many were held", "", "%", points("recall", 100), PERCENT);
  line(byId("chart-saved"), "Saved, by the stated costs", "", "$", points("saved_usd"));
  byId("card-weeks").replaceChildren(...weeks.toReversed().map(weekRow));
}

function weekRow({ week, reviewed, blocked, caught, missed, precision, recall, saved_usd: saved }) {
  const numbers = [count(reviewed), count(blocked), count(caught), count(missed), figure(precision, "probability"), figure(recall, "probability"), dollars(saved)];
  return el("tr", {}, el("th", { scope: "row" }, week), ...numbers.map((number) => el("td", { class: "number" }, number)));
}

const dollars = (value) => `${value < 0 ? "−" : ""}$${count(Math.abs(value))}`;
