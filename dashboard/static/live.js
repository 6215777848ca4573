// Keeps a run's page, or the list of runs, as the socket says. The server draws everything
// first; small changes are written into its elements, structural ones refetch its fragment.
//   <surveyor-run data-run data-seq data-status data-started>, <surveyor-runs data-fragment>
//   [data-f=…] text, [data-bar=done|in_flight] SVG rects, tr[data-shard], tr[data-run-row],
//   ol[data-story] with template[data-story-line], [data-live-badge], [data-announce]
import { OPEN } from "./live-dom.js";
import { runPage } from "./live-run.js";
import { runsPage } from "./live-runs.js";

const run = document.querySelector("surveyor-run"), runs = document.querySelector("surveyor-runs");
if (run && OPEN.has(run.dataset.status)) runPage(run);
if (runs) runsPage(runs);
