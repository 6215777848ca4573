// Keeps the list of workers current by asking for its fragment.
import { badge } from "./live-dom.js";
import { clock } from "./live-format.js";

const EVERY_MS = 5_000;
const root = document.querySelector("surveyor-workers");
let at = Date.now();

async function ask() {
  if (document.hidden) return;
  const answer = await fetch(root.dataset.fragment, { signal: AbortSignal.timeout(EVERY_MS) }).catch(() => null);
  if (answer?.redirected || answer?.status === 403) return location.reload();
  if (!answer?.ok) return badge(`Stale since ${clock(at)} UTC`, "stale", "bad");
  at = Date.now();
  const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
  root.replaceChildren(...drawn.body.childNodes);
  badge("Every 5 s", "live", "ok");
}

badge("Every 5 s", "live", "ok");
setInterval(ask, EVERY_MS);
