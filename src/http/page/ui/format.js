// Numbers, sizes, times and durations as texts. A value that the server does not send is a dash.

export const NONE = "–";
const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const isMissing = (value) => value === undefined || value === null;

export const count = (value) => (isMissing(value) ? NONE : whole.format(value));

/** A number with three significant digits. */
const short = (value) => (value >= 100 ? whole.format(value) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$/, "");

/** A number of bytes. */
export function bytes(value) {
  if (isMissing(value)) return NONE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  for (; value >= 1024 && unit < units.length - 1; unit += 1) value /= 1024;
  return `${unit ? short(value) : value} ${units[unit]}`;
}

/** A duration in microseconds. */
export function duration(us) {
  if (isMissing(us)) return NONE;
  if (us < 1000) return `${whole.format(us)} µs`;
  if (us < 1e6) return `${short(us / 1000)} ms`;
  const seconds = us / 1e6;
  if (seconds < 60) return `${short(seconds)} s`;
  return coarse(Math.floor(seconds));
}

export const milliseconds = (ms) => (isMissing(ms) ? NONE : duration(ms * 1000));

/** Two units of a duration of at least a minute, given in seconds. */
function coarse(seconds) {
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${seconds % 60} s`;
}

/** Calls per second. */
export const rate = (value) => (isMissing(value) ? NONE : value < 100 ? value.toFixed(1) : whole.format(value));

/** The cores that are used. */
export const cores = (value) => (isMissing(value) ? NONE : value.toFixed(2));

/** The time of day of a date, as text of RFC 3339. */
export function clock(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? NONE : date.toLocaleTimeString("en-GB", { hour12: false });
}

/** The time of day with milliseconds. */
export function fineClock(text) {
  const date = new Date(text);
  return Number.isNaN(date.getTime()) ? NONE : `${clock(text)}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** `one` or `several`, with its number. */
export const plural = (number, one, several = `${one}s`) => `${count(number)} ${number === 1 ? one : several}`;
