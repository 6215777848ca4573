// Writing into what the server has drawn, and drawing its fragments anew.
import { iconOf, shown, visible } from "./live-format.js";

const STRUCTURE_MS = 1_000, ANSWER_MS = 10_000;

export const OPEN = new Set(["queued", "running", "paused", "cancelling"]);

export const put = (root, name, text) => {
  for (const slot of root.querySelectorAll(`[data-f=${name}]`))
    if (slot.textContent !== text) slot.textContent = text;
};
export const icon = (el, name) => el?.querySelector("use")?.setAttribute("href", `#i-${name}`);

export function bar(svg, done, flying, total, tone) {
  if (!svg) return;
  const share = (n) => (total ? Math.min(100, Math.max(0, (100 * n) / total)) : 0);
  const [solid, fly] = ["done", "in_flight"].map((n) => svg.querySelector(`[data-bar=${n}]`));
  solid.setAttribute("width", `${share(done)}%`);
  fly.setAttribute("x", `${share(done)}%`);
  fly.setAttribute("width", `${Math.min(share(flying), 100 - share(done))}%`);
  if (tone) {
    svg.dataset.tone = tone;
    fly.setAttribute("fill", `url(#hatch-${tone})`);
  }
  svg.setAttribute("aria-valuenow", done);
  svg.setAttribute("aria-valuemax", total);
}

export function verdict(el, text, tone) {
  if (!el) return;
  el.dataset.tone = tone;
  icon(el, iconOf(text, tone));
  put(el, "verdict", visible(shown(text)));
}

// The badge says how old the picture is.
export function badge(text, name, tone) {
  const el = document.querySelector("[data-live-badge]");
  if (!el) return;
  el.dataset.tone = tone;
  icon(el, name);
  put(el, "badge", text);
}

export async function fragment(root, url) {
  const turn = (root.asked = (root.asked || 0) + 1);
  const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" }, signal: AbortSignal.timeout(ANSWER_MS) });
  if (answer.redirected || answer.status === 401) return location.reload();
  if (!answer.ok) throw new Error(answer.status);
  const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
  if (root.drawn > turn) return; // one that was asked for later is here already
  root.drawn = turn;
  replace(root, drawn.querySelector(root.localName));
}

function replace(root, fresh) {
  const focus = document.activeElement, again = root.contains(focus) && (focus.getAttribute("href") || focus.name);
  for (const { name, value } of [...fresh.attributes]) root.setAttribute(name, value);
  const held = root.querySelector(".filters .tools"), form = held?.closest("form");
  const next = fresh.querySelector(".filters");
  if (held?.contains(focus) && next) {
    // A choice that somebody is just making stays under their hand; all around it is new.
    form.querySelector(".counters").replaceWith(next.querySelector(".counters"));
    while (form.nextSibling) form.nextSibling.remove();
    while (next.nextSibling) root.append(next.nextSibling);
    return;
  }
  root.replaceChildren(...fresh.childNodes);
  for (const button of root.querySelectorAll("[data-copy]")) button.hidden = false;
  if (again) root.querySelector(`[href="${CSS.escape(again)}"], [name="${CSS.escape(again)}"]`)?.focus();
}

// Draws at most once a second, and again if asked while that was under way.
export function structural(draw) {
  let timer = 0, at = 0, busy = false, more = false;
  const run = async () => {
    timer = 0;
    if (busy) return (more = true);
    busy = true;
    at = performance.now();
    try { await draw(); } catch { more = true; }
    busy = false;
    if (more) { more = false; ask(); }
  };
  const ask = () => (timer ||= setTimeout(run, Math.max(0, at + STRUCTURE_MS - performance.now())));
  return ask;
}
