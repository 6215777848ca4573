// The road from the server: a socket, and polling while there is none.
import { badge, put } from "./live-dom.js";
import { clock } from "./live-format.js";

const PING_MS = 10_000, PONG_MS = 4_000, OPENS_MS = 8_000;
const POLL_MS = 2_000, POLL_AFTER_MS = 3_000;

export class Road {
  constructor(path, hear, poll, seq = 0) {
    const now = performance.now();
    Object.assign(this, { path, hear, poll, seq, tries: 0, last: now, ended: false, source: "live", skew: null });
    this.open();
    this.watching = setInterval(() => this.watch(), 1000);
  }

  open() {
    if (this.ended) return;
    const url = new URL(this.path, location.href);
    url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    if (this.seq) url.searchParams.set("after", this.seq);
    const socket = (this.socket = new WebSocket(url));
    socket.onopen = () => {
      this.pinged = performance.now();
      this.badge(this.pinged, true);
    };
    socket.onmessage = ({ data }) => this.take(JSON.parse(data));
    socket.onclose = ({ code }) => this.lost(code);
    this.opened = performance.now();
    this.waits = 0; // for a pong, since
  }

  take(message) {
    this.last = performance.now();
    this.tries = this.waits = 0;
    if (message.type === "pong") return;
    this.seq = Math.max(this.seq, message.seq);
    if (message.source) this.source = message.source;
    if (message.type !== "event") this.setClock(message);
    this.hear(message);
  }

  // The server's clock counts. A message may come late but never early, so the greatest is right.
  setClock({ type, at }) {
    const skew = Date.parse(at) - Date.now();
    this.skew = type === "state" || this.skew === null ? skew : Math.max(this.skew, skew);
  }

  now() {
    return Date.now() + (this.skew || 0);
  }

  lost(code) {
    if (this.ended || code === 1000) return;
    if (code === 4401 || code === 4403) return location.reload();
    this.tries += 1;
    const wait = Math.min(10_000, 250 * 2 ** this.tries) * (0.5 + Math.random());
    setTimeout(() => this.open(), wait);
  }

  // A socket that leads nowhere may take long to say that it is closed: nobody waits for it.
  drop() {
    this.socket.onopen = this.socket.onmessage = this.socket.onclose = null;
    this.socket.close();
    this.lost();
  }

  end() {
    this.ended = true;
    clearInterval(this.watching);
    this.socket.close();
    document.documentElement.removeAttribute("data-stale");
    badge("Ended", "done", "idle");
  }

  watch() {
    const now = performance.now(), state = this.socket.readyState, up = state === WebSocket.OPEN;
    if (state === WebSocket.CONNECTING && now - this.opened > OPENS_MS) this.drop();
    else if (up && this.waits && now - this.waits > PONG_MS) this.drop(); // half open
    else if (up && now - this.pinged > PING_MS) this.ping(now);
    if (!up && now - this.last > POLL_AFTER_MS && !document.hidden) this.ask(now);
    this.badge(now, this.socket.readyState === WebSocket.OPEN);
  }

  ping(now) {
    this.pinged = this.waits = now;
    this.socket.send('{"type":"ping"}');
  }

  ask(now) {
    if (this.asking || this.asked > now - POLL_MS) return;
    this.asked = now;
    this.asking = true;
    const done = () => (this.asking = false);
    this.poll().then(() => (this.polled = performance.now()), () => {}).then(done);
  }

  badge(now, up) {
    if (this.ended) return;
    const age = Math.round((now - Math.max(this.last, this.polled || 0)) / 1000);
    const polling = !up && this.polled > now - 2 * POLL_MS;
    const [text, name, tone] = up
      ? this.source === "heartbeats" ? ["From heartbeats", "stale", "warn"] : ["Live", "live", "ok"]
      : polling ? ["Every 2 s", "live", "warn"]
      : age < 20 ? [`Reconnecting (${age} s old)`, "stale", "warn"]
      : [`Stale since ${clock(this.now() - age * 1000)} UTC`, "stale", "bad"];
    badge(text, name, tone);
    const stale = !up && !polling;
    document.documentElement.toggleAttribute("data-stale", stale);
    put(document, "as_of", stale ? `as of ${clock(this.now() - age * 1000)} UTC; what it does now is not known` : "");
  }
}
