// The batch page's wiring: sign in, list the runs and the reports, draw what is chosen.

import { byId, setText } from "./dom.js";
import { Feed } from "./feed.js";
import { showCards } from "./batch_cards.js";
import { showErrors } from "./batch_errors.js";
import { showRuns } from "./batch_runs.js";
import { showScores } from "./batch_scores.js";
import { listReports, showReport } from "./batch_whatif.js";

const feed = new Feed({
  onMessage: () => undefined,
  onState: (_, why) => {
    byId("signin").hidden = false;
    setText(byId("signin-why"), why);
  },
});

/** Show what `work` gives; where it fails, say why. */
async function attempt(work) {
  byId("trouble").hidden = true;
  try {
    await work();
  } catch (error) {
    setText(byId("trouble"), error.message);
    byId("trouble").hidden = false;
  }
}

async function openRun(run) {
  const query = new URLSearchParams({ as_of: run.as_of });
  showScores(await feed.ask(`/v1/batch/scores/${encodeURIComponent(run.job)}?${query}`));
}

async function openReport(report) {
  if (!report) return showReport(null);
  showReport(await feed.ask(`/v1/batch/reports/${encodeURIComponent(report.run)}/${encodeURIComponent(report.model)}`));
}

async function load() {
  if (!(await feed.signIn())) return;
  byId("signin").hidden = true;
  const [{ runs }, { errors, cards }, { reports }] = await Promise.all(["runs", "errors", "reports"].map((what) => feed.ask(`/v1/batch/${what}`)));
  showRuns(runs, (run) => void attempt(() => openRun(run)));
  const first = runs.find((run) => run.state === "done");
  for (const panel of ["scores", "likeliest-panel"]) byId(panel).hidden = !first;
  showErrors(errors);
  showCards(cards);
  if (first) await attempt(() => openRun(first)); // a run whose job is gone must not keep the rest from view
  await openReport(listReports(reports, (report) => void attempt(() => openReport(report))));
}

byId("signin").addEventListener("submit", (event) => {
  event.preventDefault();
  feed.given = byId("token").value.trim();
  void attempt(load);
});
byId("reload").addEventListener("click", () => void attempt(load));
void attempt(load);
