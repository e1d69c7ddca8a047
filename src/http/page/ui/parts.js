// Parts that several views show: states, facts, messages, text blocks.

import { make, put, setClass } from "./dom.js";
import { NONE, plural } from "./format.js";

const KINDS = {
  good: ["running", "ready", "healthy", "closed", "active", "ok", "open stream"],
  busy: ["busy"],
  warn: ["starting", "initializing", "degraded", "draining", "terminating", "half_open", "suspected"],
  bad: ["failed", "unhealthy", "open", "quarantined", "lost", "error"],
};

/** The colour class of a state. The text says the same. */
function kindOf(state) {
  return Object.keys(KINDS).find((kind) => KINDS[kind].includes(state)) ?? "idle";
}

export const badge = (state) => make("span", { class: `badge ${kindOf(state)}` }, spaced(state));

/** The name of a state in words, as the text commands show it: `out of memory`, `half-open`. */
export const spaced = (state) => String(state ?? NONE).replace("half_open", "half-open").replaceAll("_", " ");

/** A column with a state. */
export const stateColumn = (label, state, kind = "") => ({
  label, kind, text: (row) => state(row) ?? NONE, sort: (row) => state(row) ?? "",
  draw: (cell, row) => cell.replaceChildren(state(row) === undefined ? NONE : badge(state(row))),
});

/** A column with a link. */
export const linkColumn = (label, text, href, kind = "") => ({
  label, kind, text, sort: text, draw: (cell, row) => cell.replaceChildren(make("a", { href: href(row) }, text(row))),
});

/** A list of facts, such as `Queue: 3 of 1000`. Changed in place. */
export class Facts {
  #values = new Map();

  constructor(names, kind = "facts") {
    const groups = names.map((name) => {
      const value = make("dd", {}, NONE);
      this.#values.set(name, value);
      return make("div", {}, make("dt", {}, name), value);
    });
    this.element = make("dl", { class: kind }, ...groups);
  }

  /** Sets values: texts, pairs of a text and a detail, or nodes. A fact whose value is undefined is hidden. */
  update(values) {
    for (const [name, value] of Object.entries(values)) {
      const element = this.#values.get(name);
      element.parentElement.hidden = value === undefined;
      if (value instanceof Node) element.replaceChildren(value);
      else if (Array.isArray(value)) fill(element, value);
      else if (value !== undefined) put(element, value);
    }
  }

  /** The element of a value, for what does not fit into a text. */
  place(name) { return this.#values.get(name); }

  /** Marks a value as good, bad, or nothing. */
  mark(name, kind) { setClass(this.#values.get(name), kind); }
}

/** Fills an element with a text and a smaller one. */
function fill(element, [text, detail]) {
  if (element.children.length !== 2) element.replaceChildren(make("span"), make("span", { class: "detail" }));
  put(element.children[0], text);
  put(element.children[1], detail);
}

/** What needs attention in a pool, by its status: texts, and how bad they are. */
export function problems({ breaker, last_start_error: error, quarantined, template }) {
  const found = [];
  if (error) found.push({ kind: "bad", text: `The last start of a worker failed: ${error}` });
  if (breaker && breaker.state !== "closed") found.push({ kind: "warn", text: `The circuit breaker is ${spaced(breaker.state)}.` });
  if (quarantined) found.push({ kind: "warn", text: `Quarantined: ${plural(quarantined, "call")} that killed workers.` });
  if (template?.reason) found.push({ kind: "warn", text: `The template is ${template.state}: ${template.reason}` });
  return found;
}

/** The command of a pool that is called most often now, or so far: its name and figures. Undefined before the first answer. */
export function busiest({ commands = {} }) {
  const answered = Object.entries(commands).filter(([, figures]) => figures.run_us);
  const [name, figures] = answered.reduce((best, each) => (isBusier(each[1], best[1]) ? each : best), answered[0] ?? []);
  return name === undefined ? undefined : { name, ...figures };
}

const isBusier = (one, other) => one.per_second > other.per_second || (one.per_second === other.per_second && one.calls > other.calls);

/** A section with a heading. */
export const section = (title, ...children) => make("section", {}, make("h2", {}, title), ...children);

/** A block of text from a worker, which can be scrolled with the keyboard. */
export const block = (text, label) => make("pre", { tabindex: 0, role: "group", "aria-label": label }, text);

/** The address of a view of this page. */
export const link = (...parts) => `#/${parts.map((part) => encodeURIComponent(part)).join("/")}`;

export const failure = (error) => make("p", { class: "notice bad" }, error.message);
