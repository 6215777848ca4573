// A run's page. What the socket said is kept, and drawn again over a fragment older than it.
import { OPEN, bar, fragment, icon, put, structural, verdict } from "./live-dom.js";
import { clock, duration, number, seconds, size, visible } from "./live-format.js";
import { Road } from "./live-road.js";

const LINES = 200;
const ORDER = ["lost", "stalled", "retrying", "quiet", "working", "waiting", "not finished", "finished"];
const wordOf = (el) => el.querySelector("[data-f=verdict]").textContent.trim().split(":")[0];

export function runPage(root) {
  const base = `/runs/${root.dataset.run}/`;
  const heard = { shards: new Map(), events: [], message: null }, known = new Set();
  let pending = { shards: new Map(), message: null }, frame = 0, phase = null, whole = false;
  let beat = null, advance = null, spoken = 0, quarter = -1;
  const fetched = () => fragment(root, `${base}fragment/`).then(over);
  const redraw = structural(fetched);
  const road = new Road(`/ws/runs/${root.dataset.run}/`, hear, fetched, Number(root.dataset.seq) || 0);

  function hear(message) {
    if (message.type === "event") learn([message]);
    if (message.type === "state" || message.type === "progress") {
      for (const shard of message.shards) {
        heard.shards.set(shard.id, { seq: message.seq, shard });
        pending.shards.set(shard.id, shard);
      }
      heard.message = pending.message = { ...message, progress: message.progress || message.run.progress };
      const now = performance.now();
      beat = message.beat_age_ms == null ? null : now - message.beat_age_ms;
      advance = message.advance_age_ms == null ? null : now - message.advance_age_ms;
    }
    if (message.type === "state") {
      const late = learn(message.events);
      if ((late && whole) || message.run.status !== root.dataset.status) redraw();
      whole = true;
    }
    if (message.type === "finished") {
      ended(message.run.status);
      redraw();
    }
    frame ||= requestAnimationFrame(draw); // a hidden tab rests: no frame comes
  }

  // True if a line is new here and yet older than the newest one: only the server can place it.
  function learn(events) {
    const newest = newestLine(), unknown = events.filter((e) => !known.has(e.seq));
    for (const event of unknown) known.add(event.seq);
    const next = unknown.filter((e) => e.seq > newest);
    heard.events = [...heard.events, ...next].slice(-LINES);
    for (const event of next) if (event.level !== "info") say(event.message);
    return next.length < unknown.length;
  }

  const newestLine = () => Math.max(heard.events.at(-1)?.seq || 0, Number(root.dataset.seq) || 0);
  const rowOf = (id) => root.querySelector(`tr[data-shard="${id}"]`);

  function over() {
    if (!OPEN.has(root.dataset.status)) return ended(root.dataset.status);
    const drawn = Number(root.dataset.seq) || 0;
    for (const { seq, shard } of heard.shards.values())
      if (seq > drawn && rowOf(shard.id)) pending.shards.set(shard.id, shard);
    if (heard.message?.seq > drawn) pending.message = heard.message;
    draw();
  }

  function ended(status) {
    if (road.ended) return;
    road.end();
    say(`Run ${status}.`, true);
    document.getElementById("cancel-dialog")?.close();
  }

  function draw() {
    frame = 0;
    const { message, shards } = pending;
    pending = { shards: new Map(), message: null };
    if (!OPEN.has(root.dataset.status)) return;
    if (message) header(message);
    for (const shard of shards.values()) row(shard);
    if (shards.size) sort();
    tell();
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

  function header({ progress, verdict: text, tone, phase: now, workers, batches, batches_done, load }) {
    if (phase !== null && phase !== now) redraw();
    phase = now;
    const percent = progress.total ? Math.floor((100 * progress.done) / progress.total) : 0;
    const state = root.querySelector(".state");
    for (const name of ["done", "in_flight"]) put(state, name, number(progress[name]));
    put(state, "total", progress.total ? number(progress.total) : "–");
    put(state, "percent", String(percent));
    put(state, "rate", progress.rate ? number(progress.rate) : "–");
    put(state, "eta", duration(progress.eta_seconds));
    put(state, "eta_note", progress.eta_seconds == null ? "not known yet" : "at this rate");
    put(state, "workers", String((workers || []).length));
    put(state, "workers_named", visible((workers || []).join(", ")) || "none at work");
    if (load) receipt(load);
    put(root, "batches", `${number(batches_done)} of ${number(batches)} batches`);
    verdict(state.querySelector("[data-verdict-of]"), text, tone);
    bar(state.querySelector("svg.bar"), progress.done, progress.in_flight, progress.total);
    document.title = document.title.replace(/, \d+ %/, `, ${percent} %`);
    if (Math.floor(percent / 25) > quarter) {
      if (quarter >= 0) say(`${percent} percent of ${progress.total} relations.`);
      quarter = Math.floor(percent / 25);
    }
  }

  function receipt(load) {
    for (const name of ["sessions", "statements", "rows"]) put(root, `load_${name}`, number(load[name]));
    put(root, "load_time", seconds(load.server_seconds));
    put(root, "load_bytes", size(load.bytes));
  }

  function row(shard) {
    const tr = rowOf(shard.id);
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

  function tell() {
    const list = root.querySelector("[data-story]"), line = root.querySelector("[data-story-line]");
    if (!list || !line) return;
    const newest = Number(list.dataset.newest) || Number(root.dataset.seq) || 0;
    for (const event of heard.events.filter((e) => e.seq > newest)) {
      place(list, lineOf(event, line.content));
      list.dataset.newest = event.seq;
    }
    while (list.children.length > LINES) list.lastElementChild.remove();
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
    // Until the server's clock is known, what it drew stands.
    if (road.skew !== null) put(root, "elapsed", duration((road.now() - Date.parse(root.dataset.started)) / 1000));
    const readings = root.querySelector(".readings");
    if (readings) { put(readings, "beat", age(beat)); put(readings, "advance", age(advance)); }
    for (const tr of root.querySelectorAll("tr[data-shard]"))
      if (tr.beat != null) put(tr, "beat", age(tr.beat));
  }, 500);
}

// Newest first by their time: what several workers say arrives in another order.
function place(list, li) {
  const at = (line) => Date.parse(line.querySelector("time").dateTime), time = at(li);
  list.insertBefore(li, [...list.children].find((line) => !(at(line) > time)) || null);
}

function lineOf(event, template) {
  const li = template.firstElementChild.cloneNode(true), time = li.querySelector("time");
  time.dateTime = event.at;
  time.title = new Date(event.at).toUTCString();
  time.textContent = clock(event.at);
  li.dataset.tone = { warning: "warn", error: "bad" }[event.level] || "run";
  icon(li, event.level);
  li.querySelector("p").textContent = visible(event.message);
  li.querySelector(".by").textContent = visible(event.worker);
  return li;
}
