// One run's scores: how they are spread, what moves them, and who comes first with which reasons and which offer.

import { histogram, line, ranking } from "./charts.js";
import { byId, el, setText } from "./dom.js";
import { count, figure } from "./format.js";
import { minute } from "./batch_runs.js";

const DRIVERS = 10;
const OWN = new Set(["subject_id", "value", "reasons", "offer"]); // the columns every job has; the others are its own

const dollars = (value) => `$${count(value)}`;
const words = (name) => name.replace(/_usd$/, ", $").replaceAll("_", " ");

export function showScores(scores) {
  setText(byId("scores-of"), `${scores.job} as of ${minute(scores.as_of)}, version ${scores.version}`);
  byId("tiles").replaceChildren(...tilesOf(scores).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  histogram(byId("chart-histogram"), "How the scores are spread", scores.unit, scores.histogram);
  const drivers = scores.drivers.slice(0, DRIVERS);
  ranking(byId("chart-drivers"), "What moves them", "mean contribution, log-odds", drivers.map((each) => words(each.feature)), drivers.map((each) => each.mean));
  line(byId("chart-trend"), "Run by run", "as of", `mean ${scores.unit}`, scores.trend.map((run) => ({ x: minute(run.as_of), y: run.mean })));
  showLikeliest(scores);
}

function tilesOf({ subjects, mean, unit, total, rank, offers }) {
  const sum = (name) => offers.reduce((sofar, offer) => sofar + offer[name], 0);
  return [
    ["scored", count(subjects)],
    [`mean ${unit}`, figure(mean, unit)],
    ...(rank === "value" ? [] : [[`${words(rank)}, in all`, rank.endsWith("_usd") ? dollars(total) : count(total)]]),
    ...(offers.length === 0 ? [] : [["offers", count(sum("n"))], ["they cost", dollars(sum("cost_usd"))], ["and are expected to gain", dollars(sum("gain_usd"))]]),
  ];
}

function showLikeliest({ likeliest, rank, unit }) {
  setText(byId("likeliest-by"), `by ${words(rank)}`);
  const own = Object.keys(likeliest[0] ?? {}).filter((name) => !OWN.has(name));
  const column = (name, attributes = {}) => el("th", { scope: "col", ...attributes }, name);
  const numbers = [unit, ...own.map(words)].map((name) => column(name, { class: "number" }));
  byId("likeliest-head").replaceChildren(el("tr", {}, column("subject"), ...numbers, column("why"), column("offer")));
  byId("likeliest").replaceChildren(...likeliest.map((subject) => subjectRow(subject, own, unit)));
}

function subjectRow(subject, own, unit) {
  return el("tr", {},
    el("th", { scope: "row" }, subject.subject_id), el("td", { class: "number" }, figure(subject.value, unit)),
    ...own.map((name) => el("td", { class: "number" }, plain(name, subject[name]))),
    el("td", { class: "wrap" }, ...subject.reasons.flatMap(reasonOf)),
    el("td", { class: "wrap" }, subject.offer ? `${subject.offer.offer}: ${subject.offer.because}` : "–"));
}

/** A reason that lowers the score is said more quietly. */
function reasonOf({ words: said, log_odds: weight }, at) {
  const part = el("span", weight > 0 ? {} : { class: "against" }, said);
  return at > 0 ? ["; ", part] : [part];
}

function plain(name, value) {
  if (name.endsWith("_at")) return value.slice(0, 10);
  return name.endsWith("_usd") ? figure(value, "usd") : count(value);
}
