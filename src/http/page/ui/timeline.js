// The last minute of a pool: a lane for each worker, its calls as bars, its deaths as crosses. A table has the same for screen readers.

import { make, put, show } from "./dom.js";
import { count, duration, plural } from "./format.js";
import { Table } from "./table.js";
import { AXIS, draw, palette } from "./timeline_canvas.js";
import { SPAN, TimelineData } from "./timeline_data.js";

const HIGHEST = 420; // pixels

export class Timeline {
  #data = new TimelineData();
  #lanes = [];
  #canvas = make("canvas", { role: "img", "aria-label": "The last minute" });
  // An empty image gives the scrolled area its height: the page has no style attributes.
  #space = make("canvas", { width: 1, height: 1, class: "space", "aria-hidden": "true" });
  #scroll = make("div", { class: "lanes", tabindex: 0, role: "group", "aria-label": "Timeline" }, this.#canvas, this.#space);
  #pointed = make("p", { class: "quiet pointed" });
  #deaths = make("ul", { class: "deaths" });
  #table = summaryTable();
  #details = make("details", {}, make("summary", {}, "The same as a table"), this.#table.element);

  constructor() {
    const key = (kind, text) => make("span", { class: `key ${kind}` }, text);
    this.element = make("section", { "aria-labelledby": "timeline-title" },
      make("div", { class: "row title" }, make("h2", { id: "timeline-title" }, "Last minute"), this.#pointed,
        make("p", { class: "legend" }, key("ended", "call"), key("running", "running"), key("failed", "failed"), key("death", "worker died"))),
      this.#scroll, this.#deaths, this.#details);
    this.#scroll.addEventListener("scroll", () => this.#draw());
    this.#canvas.addEventListener("pointermove", (event) => this.#point(event));
    this.#canvas.addEventListener("pointerleave", () => put(this.#pointed, ""));
    this.resized = new ResizeObserver(() => this.#draw());
    this.resized.observe(this.#scroll);
    this.colors = matchMedia("(prefers-color-scheme: dark)");
    this.colors.addEventListener("change", this.#redraw);
  }

  #redraw = () => this.#draw();

  close() {
    this.resized.disconnect();
    this.colors.removeEventListener("change", this.#redraw);
  }

  get query() { return this.#data.query; }

  /** Takes an answer of the server, and the ids of the workers that exist. */
  update(answer, workers) {
    this.#data.take(answer);
    const lanes = this.#data.lanes();
    const ids = [...workers, ...[...lanes.keys()].filter((id) => !workers.includes(id))];
    this.#lanes = ids.map((worker) => lanes.get(worker) ?? { worker, calls: [], deaths: [], count: 0, failed: 0, busy: 0 });
    this.#describe();
    this.#draw();
  }

  #describe() {
    const calls = this.#lanes.reduce((sum, lane) => sum + lane.count, 0);
    const failed = this.#lanes.reduce((sum, lane) => sum + lane.failed, 0);
    const text = `The last minute: ${plural(calls, "call")} on ${plural(this.#lanes.length, "worker")}, ${count(failed)} failed, ${plural(this.#data.deaths.length, "death")}`;
    this.#canvas.setAttribute("aria-label", text);
    const deaths = this.#data.deaths.slice(-5).reverse().map((death) => `${death.worker} (generation ${death.generation}) died ${duration(this.#data.now - death.at_us)} ago: ${death.cause}`);
    show(this.#deaths, deaths.length > 0);
    while (this.#deaths.children.length > deaths.length) this.#deaths.lastChild.remove();
    deaths.forEach((each, index) => put(this.#deaths.children[index] ?? this.#deaths.appendChild(make("li")), each));
    if (this.#details.open) this.#table.update(this.#lanes.map((lane) => ({ ...lane, part: lane.busy / SPAN })));
  }

  #view() {
    const laneHeight = this.#lanes.length <= 24 ? 18 : 8;
    const whole = AXIS + laneHeight * this.#lanes.length;
    const width = this.#scroll.clientWidth;
    const height = Math.min(whole, HIGHEST);
    const gutter = width < 500 ? 36 : 48;
    return { lanes: this.#lanes, laneHeight, gutter, width, height, whole, top: this.#scroll.scrollTop, now: this.#data.now };
  }

  #draw() {
    const view = this.#view();
    if (!view.width || !this.#lanes.length) return;
    if (this.#space.height !== view.whole) this.#space.height = view.whole;
    draw(this.#canvas, view, palette(this.element));
  }

  /** Names the call under the pointer. */
  #point(event) {
    const view = this.#view();
    const lane = this.#lanes[Math.floor((event.offsetY - AXIS + view.top) / view.laneHeight)];
    const time = view.now - SPAN + ((event.offsetX - view.gutter) / (view.width - view.gutter)) * SPAN;
    const slack = SPAN / (view.width - view.gutter);
    const call = lane?.calls.find((each) => each.from_us - slack <= time && (each.to_us ?? view.now) + slack >= time);
    put(this.#pointed, call ? describe(call, view.now) : lane?.worker ?? "");
  }
}

function describe(call, now) {
  const session = call.session ? `, session ${call.session}` : "";
  const what = call.count > 1 ? `${count(call.count)} calls of ${call.command} in` : `${call.command ?? "a call"}${session},`;
  return `${call.worker}: ${what} ${duration((call.to_us ?? now) - call.from_us)}, ${call.to_us === null ? "running" : call.outcome}`;
}

function summaryTable() {
  return new Table({
    caption: "The last minute by worker", empty: "No workers.", key: (lane) => lane.worker,
    columns: [
      { label: "Worker", text: (lane) => lane.worker, sort: (lane) => lane.worker },
      { label: "Calls", kind: "number", text: (lane) => count(lane.count), sort: (lane) => lane.count },
      { label: "Failed", kind: "number", text: (lane) => count(lane.failed), sort: (lane) => lane.failed },
      { label: "Busy", kind: "number", text: (lane) => `${Math.round(Math.min(lane.part, 1) * 100)} %`, sort: (lane) => lane.busy },
      { label: "Deaths", kind: "number", text: (lane) => count(lane.deaths.length), sort: (lane) => lane.deaths.length },
    ],
  });
}
