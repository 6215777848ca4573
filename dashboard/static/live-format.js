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

export function size(value) {
  if (typeof value !== "number") return "–";
  let amount = value, unit = "B";
  for (const larger of ["kB", "MB", "GB", "TB"]) {
    if (amount < 1000) break;
    [amount, unit] = [amount / 1000, larger];
  }
  return `${amount.toFixed(unit === "B" ? 0 : 1)}${NARROW}${unit}`;
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

const HIDDEN = /(?![\n\t])[\p{Cc}\p{Cf}\p{Co}\p{Cn}\p{Cs}\p{Zl}\p{Zp}]|(?![ \n\t])\p{Zs}/gu;

function escape(char) {
  const code = char.codePointAt(0), hex = (width) => code.toString(16).padStart(width, "0");
  return code < 0x100 && /\p{C}/u.test(char) ? `\\x${hex(2)}` : code < 0x10000 ? `\\u${hex(4)}` : `\\U${hex(8)}`;
}

// Names of a source get into messages: what cannot be seen is drawn as an escape.
export const visible = (text) => (text || "").replace(HIDDEN, escape);
