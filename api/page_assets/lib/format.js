// Figures for people.

const NOTHING = "–";
const isNumber = (value) => typeof value === "number" && Number.isFinite(value);

/** A figure with about four digits, whatever its size. */
export function figure(value) {
  if (!isNumber(value)) return NOTHING;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e6 || size < 1e-3) return value.toExponential(2);
  if (size >= 100) return value.toLocaleString("en", { maximumFractionDigits: size >= 1000 ? 0 : 1 });
  return String(Number(value.toPrecision(4)));
}

/** What a job learns from. */
export const examplesOf = (spec) => (spec?.task === "tabular" ? "rows" : "images");

/** What learns: the network's name, or trees. */
export const learnerOf = (spec) => spec.architecture?.name ?? "trees";

export const count = (value) => (isNumber(value) ? value.toLocaleString("en") : NOTHING);
export const percent = (value, digits = 1) => (isNumber(value) ? `${(100 * value).toFixed(digits)} %` : NOTHING);

export function bytes(value) {
  if (!isNumber(value)) return NOTHING;
  const units = ["B", "kB", "MB", "GB", "TB"];
  let size = value;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1000;
    unit += 1;
  }
  return `${unit ? size.toFixed(size < 10 ? 1 : 0) : size} ${units[unit]}`;
}

/** Large counts with a prefix: 1.2 G. */
export function large(value) {
  if (!isNumber(value)) return NOTHING;
  for (const [size, prefix] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]]) {
    if (value >= size) return `${(value / size).toPrecision(3)} ${prefix}`;
  }
  return String(value);
}

export function seconds(value) {
  if (!isNumber(value)) return NOTHING;
  if (value < 60) return `${value < 10 ? value.toFixed(1) : Math.round(value)} s`;
  const minutes = Math.floor(value / 60);
  if (minutes < 60) return `${minutes} min ${Math.round(value % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** How long ago; the exact time beyond a week. */
export function ago(instant) {
  const past = (Date.now() - new Date(instant)) / 1000;
  if (past < 45) return "just now";
  if (past < 3600) return `${Math.round(past / 60)} min ago`;
  if (past < 86400) return `${Math.round(past / 3600)} h ago`;
  if (past < 7 * 86400) return `${Math.round(past / 86400)} d ago`;
  return new Date(instant).toLocaleDateString();
}

export const dateTime = (instant) => (instant ? new Date(instant).toLocaleString() : NOTHING);

/** A value of a configuration in one line. */
export function plain(value) {
  if (value === null || value === undefined) return NOTHING;
  if (typeof value === "object") return JSON.stringify(value);
  return String(value);
}

/** `{a: {b: 1}}` as `[["a.b", 1]]`; lists stay whole. */
export function flatten(value, prefix = "") {
  if (value === null || typeof value !== "object" || Array.isArray(value)) return [[prefix, value]];
  return Object.entries(value).flatMap(([name, part]) => flatten(part, prefix ? `${prefix}.${name}` : name));
}
