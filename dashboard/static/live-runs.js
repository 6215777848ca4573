// The list of runs.
import { OPEN, bar, fragment, put, structural, verdict } from "./live-dom.js";
import { duration, number } from "./live-format.js";
import { Road } from "./live-road.js";

const toneOf = (text) =>
  ({ working: "run", quiet: "run", stalled: "warn", lost: "bad", retrying: "warn" })[text.split(":")[0]];

export function runsPage(root) {
  const statuses = new Map(), newest = !new URLSearchParams(location.search).has("after");
  const fetched = () => fragment(root, root.dataset.fragment + location.search);
  const redraw = structural(fetched);
  let pending = new Map(), frame = 0;
  const road = new Road("/ws/runs/", (message) => {
    for (const run of message.runs || (message.run ? [message.run] : [])) pending.set(run.id, run);
    frame ||= requestAnimationFrame(draw);
  }, fetched);

  function draw() {
    frame = 0;
    for (const run of pending.values()) {
      const tr = root.querySelector(`tr[data-run-row="${run.id}"]`);
      if (tr ? tr.dataset.status !== run.status : newest && changed(run)) redraw();
      else if (tr && OPEN.has(run.status)) row(tr, run);
      statuses.set(run.id, run.status);
    }
    pending = new Map();
  }

  // A run that is not shown is news once: after that its filter or its page hides it.
  function changed({ id, status }) {
    return statuses.has(id) ? statuses.get(id) !== status : OPEN.has(status);
  }

  function row(tr, { progress, verdict: text, started_at, created_at }) {
    put(tr, "done", number(progress.done));
    put(tr, "total", progress.total ? number(progress.total) : "–");
    put(tr, "percent", String(progress.total ? Math.floor((100 * progress.done) / progress.total) : 0));
    put(tr, "rate", progress.rate ? number(progress.rate) : "–");
    put(tr, "eta", duration(progress.eta_seconds));
    bar(tr.querySelector("svg.bar"), progress.done, progress.in_flight, progress.total);
    const el = tr.querySelector("[data-verdict-of]");
    verdict(el, text, toneOf(text) || el.dataset.tone);
    tr.started = Date.parse(started_at || created_at);
  }

  setInterval(() => {
    if (document.hidden) return;
    for (const tr of root.querySelectorAll("tr[data-run-row]"))
      if (tr.started) put(tr, "elapsed", duration((road.now() - tr.started) / 1000));
  }, 1000);
}
