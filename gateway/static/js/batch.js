// The batch page's wiring: sign in, list the runs and the reports, draw what is chosen.

import { byId, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { showCards } from "./batch_cards.js";
import { showErrors } from "./batch_errors.js";
import { hasScores, showRuns } from "./batch_runs.js";
import { showScores } from "./batch_scores.js";
import { listReports, showReport } from "./batch_whatif.js";
import { loadZones } from "./zones.js";

let zones = []; // their names, once there is a report to show

const feed = new Feed({
  onMessage: () => undefined,
  onState: (_, why) => {
    byId("signin").hidden = false;
    setText(byId("signin-why"), why);
  },
});

/** Show what `work` gives; where it fails, say why, and leave what others show. */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    setText(byId("trouble"), error.message);
    byId("trouble").hidden = false;
  }
}

/** What somebody has asked for: what was wrong before is past. */
function anew(work) {
  byId("trouble").hidden = true;
  return attempt(work);
}

async function openRun(run, by) {
  const query = new URLSearchParams({ as_of: run.as_of, ...(by ? { by } : {}) });
  const scores = await feed.ask(`/v1/batch/scores/${encodeURIComponent(run.job)}?${query}`);
  showScores(scores, (other) => void anew(() => openRun(run, other)));
}

async function openReport(report) {
  if (!report) return showReport(null, zones);
  showReport(await feed.ask(`/v1/batch/reports/${encodeURIComponent(report.run)}/${encodeURIComponent(report.model)}`), zones);
}

async function load() {
  if (!(await feed.signIn())) return;
  byId("signin").hidden = true;
  byId("panels").hidden = false; // before there is anything to draw: a chart takes the size of its place
  await Promise.all([loadRuns, loadErrors, loadReports].map(attempt));
}

async function loadRuns() {
  const { runs, skipped } = await feed.ask("/v1/batch/runs");
  showRuns(runs, skipped, (run) => void anew(() => openRun(run)));
  const first = runs.find(hasScores);
  for (const panel of ["scores", "likeliest-panel"]) byId(panel).hidden = !first;
  if (first) await openRun(first);
}

async function loadErrors() {
  const { errors, cards } = await feed.ask("/v1/batch/errors");
  showErrors(errors);
  showCards(cards);
}

async function loadReports() {
  const { reports } = await feed.ask("/v1/batch/reports");
  if (reports.length > 0 && zones.length === 0) zones = await loadZones();
  await openReport(listReports(reports, (report) => void anew(() => openReport(report))));
}

byId("signin").addEventListener("submit", (event) => {
  event.preventDefault();
  feed.given = byId("token").value.trim();
  void anew(load);
});
byId("reload").addEventListener("click", () => void anew(load));
void attempt(load);
