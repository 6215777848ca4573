// Figures as the server's template filters write them, so that no value changes its look.

const NARROW = "\u00a0";
const pad = (n) => String(n).padStart(2, "0");

export function number(value) {
  if (typeof value !== "number") return "–";
  const digits = Number.isInteger(value) || Math.abs(value) >= 10 ? 0 : 1;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

export function duration(value) {
  if (typeof value !== "number" || Number.isNaN(value)) return "–";
  const all = Math.floor(Math.max(value, 0)), rest = all % 60;
  const minutes = Math.floor(all / 60) % 60, hours = Math.floor(all / 3600);
  return hours ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

export function seconds(value) {
  if (typeof value !== "number") return "–";
  if (value >= 100) return duration(value);
  return `${value < 10 ? value.toFixed(1) : value.toFixed(0)}${NARROW}s`;
}

export const clock = (at) => new Date(at).toISOString().slice(11, 19);

// Beside a status that says it ended, only why.
export function shown(text) {
  const cut = text.indexOf(": ");
  return text.startsWith("finished: ") ? text.slice(cut + 2) : text;
}

export function iconOf(text, tone) {
  const word = text.split(":")[0];
  if (word !== "finished") return word;
  return { ok: "done", bad: "failed", warn: "partial" }[tone] || "finished";
}
