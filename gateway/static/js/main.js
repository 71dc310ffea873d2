// The page's wiring: the feed goes into the subjects; once per frame, what changed goes onto the boards and the map.

import { Board } from "./board.js";
import { makeChargeCard } from "./charges.js";
import { Details } from "./details.js";
import { byId, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { shortId } from "./format.js";
import { CityMap, routeOf } from "./map.js";
import { makeRideCard } from "./rides.js";
import { watchStatus } from "./status.js";
import { Subjects } from "./subjects.js";
import { Tally } from "./tally.js";
import { TryIt } from "./tryit.js";
import { makeUploadCard } from "./uploads.js";
import { loadZones } from "./zones.js";

const zones = await loadZones();
const subjects = new Subjects();
const tally = new Tally();
const news = new Set(); // subjects that changed since the last frame
let paused = false;

const feed = new Feed({ onMessage: receive, onState: showState });
const map = new CityMap(byId("map"), zones, (zone) => tryIt.pick(zone));
const tryIt = new TryIt({ feed, subjects, zones, onEnds: (ends) => map.showEnds(ends), onOpen: open });
const details = new Details(feed, () => map.select(null));

const narrow = matchMedia("(max-width: 720px)").matches; // there the boards stand one under the other
const boards = {
  ride: new Board(byId("rides"), { rows: narrow ? 4 : 9, dwellMs: 5000, makeCard: () => makeRideCard(routed), onOpen: open }),
  upload: new Board(byId("uploads"), { rows: 4, dwellMs: 4000, makeCard: makeUploadCard, onOpen: open }),
  transaction: new Board(byId("charges"), { rows: 4, dwellMs: 4000, makeCard: makeChargeCard, onOpen: open }),
};

/** One live message. Cheap: it only folds; drawing waits for the next frame, however many come before it. */
function receive(message) {
  const now = performance.now();
  if (message.type === "connected") {
    for (const decision of [...message.snapshot].reverse()) noted(subjects.apply(decision, now));
    return;
  }
  const undrawn = !subjects.get(message.subject_id)?.track;
  const subject = subjects.apply(message, now);
  if (!subject) return;
  if (undrawn && subject.track) map.add(subject, now);
  noted(subject);
}

function noted(subject) {
  tally.add(subject);
  tryIt.news(subject);
  news.add(subject);
}

function frame(now) {
  requestAnimationFrame(frame);
  if (paused) return;
  for (const subject of news) {
    if (subject.decision?.action !== "allow") boards[subject.kind]?.offer(subject, now); // of payments, those that are held
    details.refresh(subject);
  }
  news.clear();
  for (const board of Object.values(boards)) board.flush();
  map.frame(now);
}

/** "from → to" of a ride, once its track is known; null before that and for uploads. */
function routed(subject) {
  if (!subject.route && subject.track) subject.route = routeOf(subject.track, zones);
  return subject.route ?? null;
}

function open(subject) {
  map.select(subject);
  void details.open(subject, routed(subject) ?? shortId(subject.id));
}

function showState(state, text) {
  byId("connection").dataset.state = state === "signin" ? "down" : state;
  setText(byId("connection-text"), text);
  setText(byId("me"), feed.user ?? "–");
  byId("signin").hidden = state !== "signin";
  if (state === "signin") setText(byId("signin-why"), text);
}

byId("signin").addEventListener("submit", (event) => {
  event.preventDefault();
  feed.use(byId("token").value.trim());
});
byId("pause").addEventListener("click", () => {
  paused = !paused;
  byId("pause").setAttribute("aria-pressed", String(paused));
  setText(byId("pause"), paused ? "Paused" : "Pause");
});

void feed.connect();
watchStatus(feed);
setInterval(() => tally.show(), 500);
requestAnimationFrame(frame);
