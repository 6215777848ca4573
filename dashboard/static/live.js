// Keeps a run's page, or the list of runs, as the socket says. The server draws everything
// first; small changes are written into its elements, structural ones refetch its fragment.
//   <surveyor-run data-run data-seq data-status>, <surveyor-runs data-fragment>
//   [data-f=…] text, [data-bar=done|in_flight] SVG rects, tr[data-shard], tr[data-run-row],
//   ol[data-story] with template[data-story-line], [data-live-badge], [data-announce]
import { clock, duration, iconOf, number, seconds, shown, visible } from "./live-format.js";

const OPEN = new Set(["queued", "running", "paused", "cancelling"]);
const PING_MS = 10_000, SILENCE_MS = 25_000, POLL_MS = 2_000, STRUCTURE_MS = 1_000;

const ORDER = ["lost", "stalled", "retrying", "quiet", "working", "waiting", "not finished", "finished"];
const wordOf = (el) => el.querySelector("[data-f=verdict]").textContent.trim().split(":")[0];

const put = (root, name, text) => {
  for (const slot of root.querySelectorAll(`[data-f=${name}]`))
    if (slot.textContent !== text) slot.textContent = text;
};
const icon = (el, name) => el?.querySelector("use")?.setAttribute("href", `#i-${name}`);

function bar(svg, done, flying, total, tone) {
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

function verdict(el, text, tone) {
  if (!el) return;
  el.dataset.tone = tone;
  icon(el, iconOf(text, tone));
  put(el, "verdict", visible(shown(text)));
}

// --- the road: a socket, and polling when there is none --------------------------------

class Road {
  constructor(path, hear, poll) {
    Object.assign(this, { path, hear, poll, seq: 0, tries: 0, last: performance.now(), ended: false });
    this.source = "live";
    this.open();
    setInterval(() => this.watch(), 1000);
  }

  open() {
    const url = new URL(this.path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.seq) url.searchParams.set("after", this.seq);
    const socket = (this.socket = new WebSocket(url));
    socket.onopen = () => this.badge(performance.now(), true);
    socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    socket.onclose = ({ code }) => this.lost(code);
    this.pinged = performance.now();
  }

  take(message) {
    this.last = performance.now();
    this.tries = 0;
    if (message.type === "pong") return;
    this.seq = Math.max(this.seq, message.seq);
    if (message.source) this.source = message.source;
    this.hear(message);
  }

  lost(code) {
    if (this.ended || code === 1000) return;
    if (code === 4401 || code === 4403) return location.reload();
    this.tries += 1;
    const wait = Math.min(10_000, 250 * 2 ** this.tries) * (0.5 + Math.random());
    setTimeout(() => this.open(), wait);
  }

  end() {
    this.ended = true;
    this.socket.close();
  }

  watch() {
    if (this.ended) return;
    const now = performance.now(), up = this.socket.readyState === WebSocket.OPEN;
    if (up && now - this.pinged > PING_MS) {
      this.pinged = now;
      this.socket.send('{"type":"ping"}');
    }
    if (up && now - this.last > SILENCE_MS) this.socket.close(); // half open: begin again
    if (!up && this.tries > 1 && !document.hidden && !(this.asked > now - POLL_MS)) {
      this.asked = now;
      this.poll().then(() => (this.polled = performance.now()), () => {});
    }
    this.badge(now, up);
  }

  badge(now, up) {
    const age = Math.round((now - Math.max(this.last, this.polled || 0)) / 1000);
    const polling = !up && this.polled > now - 2 * POLL_MS;
    const [text, name, tone] = up
      ? this.source === "heartbeats" ? ["From heartbeats", "stale", "warn"] : ["Live", "live", "ok"]
      : polling ? ["Every 2 s", "live", "warn"]
      : age < 20 ? [`Reconnecting (${age} s old)`, "stale", "warn"]
      : [`Stale since ${clock(Date.now() - age * 1000)} UTC`, "stale", "bad"];
    const el = document.querySelector("[data-live-badge]");
    if (!el) return;
    el.dataset.tone = tone;
    icon(el, name);
    put(el, "badge", text);
    document.documentElement.toggleAttribute("data-stale", !up && !polling);
  }
}

async function fragment(root, url) {
  const answer = await fetch(url, { headers: { "X-Requested-With": "fetch" } });
  if (answer.redirected || answer.status === 401) return location.reload();
  if (!answer.ok) throw new Error(answer.status);
  const drawn = new DOMParser().parseFromString(await answer.text(), "text/html");
  const fresh = drawn.querySelector(root.localName);
  const focus = document.activeElement, again = root.contains(focus) && (focus.getAttribute("href") || focus.name);
  for (const { name, value } of [...fresh.attributes]) root.setAttribute(name, value);
  root.replaceChildren(...fresh.childNodes);
  if (again) root.querySelector(`[href="${CSS.escape(again)}"], [name="${CSS.escape(again)}"]`)?.focus();
}

// Fetches at most once a second, and again if asked while one was under way.
function structural(root, url, then) {
  let timer = 0, at = 0, busy = false, more = false;
  const run = async () => {
    timer = 0;
    if (busy) return (more = true);
    busy = true;
    at = performance.now();
    try { await fragment(root, url()); then?.(); } catch { more = true; }
    busy = false;
    if (more) { more = false; ask(); }
  };
  const ask = () => (timer ||= setTimeout(run, Math.max(0, at + STRUCTURE_MS - performance.now())));
  return ask;
}

// --- a run's page ----------------------------------------------------------------------

function runPage(root) {
  const base = `/runs/${root.dataset.run}/`;
  let pending = { shards: new Map(), events: [], message: null }, frame = 0, phase = null;
  let beat = null, advance = null, spoken = 0, quarter = -1;
  const redraw = structural(root, () => `${base}fragment/`, () => draw());
  const road = new Road(`/ws/runs/${root.dataset.run}/`, hear, () => fragment(root, `${base}fragment/`));
  road.seq = Number(root.dataset.seq) || 0;

  function hear(message) {
    if (message.type === "event") pending.events.push(message);
    if (message.type === "state" || message.type === "progress") {
      for (const shard of message.shards) pending.shards.set(shard.id, shard);
      pending.message = { ...message, progress: message.progress || message.run.progress };
      const now = performance.now();
      beat = message.beat_age_ms == null ? null : now - message.beat_age_ms;
      advance = message.advance_age_ms == null ? null : now - message.advance_age_ms;
    }
    if (message.type === "state") {
      pending.events.push(...message.events);
      if (message.run.status !== root.dataset.status) redraw();
    }
    if (message.type === "finished") finish(message.run);
    frame ||= requestAnimationFrame(draw); // a hidden tab rests: no frame comes
  }

  function finish(run) {
    road.end();
    redraw();
    say(`Run ${run.status}.`, true);
    const el = document.querySelector("[data-live-badge]");
    if (el) { el.dataset.tone = "idle"; icon(el, "done"); put(el, "badge", "Ended"); }
    document.getElementById("cancel-dialog")?.close();
  }

  function draw() {
    frame = 0;
    const { message, shards, events } = pending;
    pending = { shards: new Map(), events: [], message: null };
    if (message) header(message);
    for (const shard of shards.values()) row(shard);
    if (shards.size) sort();
    tell(events);
  }

  // As the server orders them: trouble, what moves, what waits, what is done.
  function sort() {
    const body = root.querySelector("[data-shards]");
    if (!body) return;
    const rank = (tr) => {
      const el = tr.querySelector("[data-verdict-of]"), at = ORDER.indexOf(wordOf(el));
      return el.dataset.tone === "bad" ? 0 : at < 0 ? ORDER.length : at;
    };
    const rows = [...body.children];
    const sorted = rows.map((tr) => [rank(tr), Number(tr.dataset.shard), tr]);
    sorted.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    if (sorted.some(([, , tr], i) => tr !== rows[i])) body.append(...sorted.map(([, , tr]) => tr));
  }

  function header({ progress, verdict: text, tone, phase: now, workers, batches, batches_done }) {
    if (phase !== null && phase !== now) redraw();
    phase = now;
    const percent = progress.total ? Math.floor((100 * progress.done) / progress.total) : 0;
    const state = root.querySelector(".state");
    for (const name of ["done", "in_flight"]) put(state, name, number(progress[name]));
    put(state, "total", progress.total ? number(progress.total) : "–");
    put(state, "percent", String(percent));
    put(state, "rate", progress.rate ? number(progress.rate) : "–");
    put(state, "eta", duration(progress.eta_seconds));
    put(state, "eta_note", progress.eta_seconds == null ? "not known yet" : "at the average so far");
    put(state, "workers", String((workers || []).length));
    put(state, "workers_named", visible((workers || []).join(", ")) || "none at work");
    put(root, "batches", `${number(batches_done)} of ${number(batches)} batches`);
    verdict(state.querySelector("[data-verdict-of]"), text, tone);
    bar(state.querySelector("svg.bar"), progress.done, progress.in_flight, progress.total);
    document.title = document.title.replace(/, \d+ %/, `, ${percent} %`);
    if (Math.floor(percent / 25) > quarter) {
      if (quarter >= 0) say(`${percent} percent of ${progress.total} relations.`);
      quarter = Math.floor(percent / 25);
    }
  }

  function row(shard) {
    const tr = root.querySelector(`tr[data-shard="${shard.id}"]`);
    if (!tr) return redraw();
    const counted = shard.total > 0, whole = shard.verdict === "finished";
    const done = counted ? shard.done : whole ? shard.batches : Math.min(shard.batch, shard.batches);
    const total = counted ? shard.total : shard.batches;
    put(tr, "done", number(done));
    put(tr, "total", number(total));
    put(tr, "rate", shard.rate ? number(shard.rate) : "");
    put(tr, "attempt", shard.attempt ? String(shard.attempt) : "");
    put(tr, "worker", visible(shard.worker));
    put(tr, "last_failure", visible(shard.last_failure));
    put(tr, "beat", shard.beat_age_ms == null ? "" : seconds(shard.beat_age_ms / 1000));
    tr.beat = shard.beat_age_ms == null ? null : performance.now() - shard.beat_age_ms;
    bar(tr.querySelector("svg.bar"), done, counted ? shard.in_flight : 0, total, shard.tone);
    verdict(tr.querySelector("[data-verdict-of]"), shard.verdict, shard.tone);
    const trouble = /^(lost|stalled|retrying)/.test(shard.verdict) || shard.tone === "bad";
    if (trouble) tr.dataset.tone = shard.tone;
    else delete tr.dataset.tone;
  }

  function tell(events) {
    const list = root.querySelector("[data-story]"), line = root.querySelector("[data-story-line]");
    if (!list || !line) return;
    const newest = Number(list.dataset.newest) || Number(root.dataset.seq) || 0;
    for (const event of events.filter((e) => e.seq > newest)) {
      const li = line.content.firstElementChild.cloneNode(true), time = li.querySelector("time");
      time.dateTime = event.at;
      time.title = new Date(event.at).toUTCString();
      time.textContent = clock(event.at);
      li.dataset.tone = { warning: "warn", error: "bad" }[event.level] || "run";
      icon(li, event.level);
      li.querySelector("p").textContent = visible(event.message);
      li.querySelector(".by").textContent = visible(event.worker);
      list.prepend(li);
      list.dataset.newest = event.seq;
      if (event.level !== "info") say(event.message);
    }
    while (list.children.length > 200) list.lastElementChild.remove();
    if (list.children.length) root.querySelector("[data-story-empty]")?.remove();
  }

  function say(text, now = false) {
    if (!now && performance.now() - spoken < 10_000) return;
    spoken = performance.now();
    const el = document.querySelector("[data-announce]");
    if (el) el.textContent = text;
  }

  setInterval(() => {
    if (document.hidden || road.ended || document.documentElement.hasAttribute("data-stale")) return;
    const now = performance.now(), age = (at) => (at == null ? "–" : seconds((now - at) / 1000));
    put(root, "elapsed", duration((Date.now() - Date.parse(root.dataset.started)) / 1000));
    const readings = root.querySelector(".readings");
    if (readings) { put(readings, "beat", age(beat)); put(readings, "advance", age(advance)); }
    for (const tr of root.querySelectorAll("tr[data-shard]"))
      if (tr.beat != null) put(tr, "beat", age(tr.beat));
  }, 500);
}

// --- the list of runs ------------------------------------------------------------------

function runsPage(root) {
  const url = () => root.dataset.fragment + location.search;
  const redraw = structural(root, url);
  let pending = new Map(), frame = 0;
  new Road("/ws/runs/", (message) => {
    for (const run of message.runs || (message.run ? [message.run] : [])) pending.set(run.id, run);
    frame ||= requestAnimationFrame(draw);
  }, () => fragment(root, url()));

  function draw() {
    frame = 0;
    for (const run of pending.values()) {
      const tr = root.querySelector(`tr[data-run-row="${run.id}"]`);
      if (tr?.dataset.status !== run.status) {
        // A run that the filter hides is no news; a new or changed one is.
        if (tr || OPEN.has(run.status)) redraw();
      } else if (OPEN.has(run.status)) row(tr, run);
    }
    pending = new Map();
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
      if (tr.started) put(tr, "elapsed", duration((Date.now() - tr.started) / 1000));
  }, 1000);
}

const toneOf = (text) =>
  ({ working: "run", quiet: "run", stalled: "warn", lost: "bad", retrying: "warn" })[text.split(":")[0]];

const run = document.querySelector("surveyor-run"), runs = document.querySelector("surveyor-runs");
if (run && OPEN.has(run.dataset.status)) runPage(run);
if (runs) runsPage(runs);
