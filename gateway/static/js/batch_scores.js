// One run's scores: how they are spread, what moves them, and who comes first with which reasons and which offer.

import { histogram, line, ranking } from "./charts.js";
import { byId, el, setText } from "./dom.js";
import { count, figure } from "./format.js";
import { minute } from "./batch_runs.js";

const DRIVERS = 10;
const CONTROL = "control"; // `agents.jobs._offers`: who would get one, and is kept without it, to compare
const OWN = new Set(["subject_id", "value", "reasons", "offer"]); // the columns every job has; the others are its own

const dollars = (value) => `$${count(value)}`;
const words = (name) => name.replace(/_usd$/, ", $").replace(/^usd_/, "$ ").replaceAll("_", " ");

export function showScores(scores, onOrder) {
  setText(byId("scores-of"), `${scores.job} as of ${minute(scores.as_of)}, version ${scores.version}`);
  byId("tiles").replaceChildren(...tilesOf(scores).map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
  setText(byId("offers-of"), offersOf(scores.offers));
  histogram(byId("chart-histogram"), "How the scores are spread", scores.unit, scores.histogram);
  const drivers = scores.drivers.slice(0, DRIVERS);
  ranking(byId("chart-drivers"), "What moves them", "mean size of the contribution, log-odds", drivers.map((each) => words(each.feature)), drivers.map((each) => each.mean));
  line(byId("chart-trend"), "Run by run", "as of", `mean ${scores.unit}`, scores.trend.map((run) => ({ x: minute(run.as_of), y: run.mean })));
  showOrders(scores, onOrder);
  showLikeliest(scores);
}

/** By what the subjects can be put in order: what is at stake, or the score alone. */
function showOrders({ by, rank, unit }, onOrder) {
  const select = byId("likeliest-by");
  const option = (name) => el("option", { value: name }, name === "value" ? unit : words(name));
  select.replaceChildren(...new Set([rank, "value"].map(String)).values().map(option));
  select.value = by;
  select.onchange = () => onOrder(select.value);
}

function tilesOf({ subjects, mean, unit, total, rank, offers }) {
  const made = offers.filter(({ offer }) => offer !== CONTROL);
  const sum = (name) => made.reduce((sofar, offer) => sofar + offer[name], 0);
  return [
    ["scored", count(subjects)],
    [`mean ${unit}`, figure(mean, unit)],
    ...(rank === "value" ? [] : [[`${words(rank)}, in all`, rank.endsWith("_usd") ? dollars(total) : count(total)]]),
    ...(made.length === 0 ? [] : [["offers", count(sum("n"))], ["they cost", dollars(sum("cost_usd"))], ["and are expected to gain", dollars(sum("gain_usd"))]]),
  ];
}

/** Which offers, and that a part of the customers gets none on purpose. */
function offersOf(offers) {
  const told = offers.map(({ offer, n }) => (offer === CONTROL ? `${count(n)} kept without one, to compare` : `${offer}: ${count(n)}`));
  return told.length > 0 ? `Offers: ${told.join("; ")}. Cost and gain are expected, by assumed uplift and margin.` : "";
}

function showLikeliest({ likeliest, unit }) {
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
