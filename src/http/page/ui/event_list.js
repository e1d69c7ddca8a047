// The list of events, the newest first. Bursts are drawn once per frame.

import { make, put, show } from "./dom.js";
import { NONE, clock } from "./format.js";
import { link, spaced } from "./parts.js";

const SHOWN = 100;
const BAD = ["worker_exited", "worker_killed", "start_failed", "ping_missed", "session_lost", "quarantine", "call_failed"];

/** Shows the events of `log` for which `isWanted` is true. */
export class EventList {
  #log;
  #isWanted;
  #list = make("ol", { class: "events" });
  #note = make("p", { class: "quiet empty" });
  #search = make("input", { type: "search", "aria-label": "Filter events", placeholder: "Filter events", autocomplete: "off", spellcheck: "false" });
  #frame = 0;
  #end;

  constructor(log, isWanted = () => true) {
    this.#log = log;
    this.#isWanted = isWanted;
    this.#search.addEventListener("input", () => this.#draw());
    this.element = make("section", { "aria-labelledby": "events-title", class: "event-panel" },
      make("div", { class: "row title" }, make("h2", { id: "events-title" }, "Events"), this.#search),
      make("div", { class: "scroll tall", tabindex: 0, role: "group", "aria-label": "List of events" }, this.#list, this.#note));
    this.#end = log.listen(() => { this.#frame ||= requestAnimationFrame(() => this.#draw()); });
    this.#draw();
  }

  close() {
    this.#end();
    cancelAnimationFrame(this.#frame);
  }

  #draw() {
    this.#frame = 0;
    const text = this.#search.value.toLowerCase();
    const matches = (item) => this.#isWanted(item) && (!text || `${item.pool ?? ""} ${item.kind} ${item.worker ?? ""} ${item.message}`.toLowerCase().includes(text));
    const wanted = [];
    for (let index = this.#log.items.length - 1; index >= 0 && wanted.length < SHOWN; index -= 1) {
      if (matches(this.#log.items[index])) wanted.push(this.#log.items[index]);
    }
    const kept = new Map([...this.#list.children].map((line) => [line.dataset.key, line]));
    const lines = wanted.map((item) => kept.get(String(item.key)) ?? eventLine(item));
    lines.forEach((line, index) => {
      if (this.#list.children[index] !== line) this.#list.insertBefore(line, this.#list.children[index] ?? null);
    });
    while (this.#list.children.length > lines.length) this.#list.lastChild.remove();
    const reasons = { missing: "This server sends no events to this token.", closed: "The stream of events was cut off; the page connects again." };
    put(this.#note, reasons[this.#log.state] ?? (lines.length ? "" : text ? "Nothing matches." : "No events yet."));
    show(this.#note, this.#note.textContent !== "");
  }
}

function eventLine(item) {
  const kind = BAD.includes(item.kind) ? "bad" : "";
  const process = item.worker ? [item.worker, ...(item.generation === undefined ? [] : [String(item.generation)])] : [];
  const place = item.worker ? make("a", { href: link("pools", item.pool, "workers", ...process) }, process.join(".")) : "";
  return make("li", { "data-key": item.key },
    make("time", { datetime: item.at ?? "" }, item.at ? clock(item.at) : NONE),
    make("span", { class: "place" }, item.pool ? make("a", { href: link("pools", item.pool) }, item.pool) : "", " ", place),
    make("span", { class: `kind ${kind}` }, spaced(item.kind)), make("span", { class: "what" }, item.message ?? ""));
}
