// The workers of a pool, below the timeline of its last minute.

import { find, path, send } from "./api.js";
import { confirm } from "./dialog.js";
import { button, make } from "./dom.js";
import { NONE, bytes, cores, count, duration, plural, rate } from "./format.js";
import { badge, link, linkColumn, stateColumn } from "./parts.js";
import { Table } from "./table.js";
import { Timeline } from "./timeline.js";

/** The part `Workers`. */
export function workersPart(app, pool) {
  const timeline = new Timeline();
  timeline.element.hidden = true;
  const place = make("div", {});
  const search = make("input", { type: "search", placeholder: "Filter workers", "aria-label": "Filter workers", autocomplete: "off", spellcheck: "false" });
  let table;
  const filter = () => {
    const text = search.value.toLowerCase();
    table.filter = text ? (worker) => `${worker.id} ${worker.state} ${worker.health} ${worker.pid} ${runningText(worker)}`.toLowerCase().includes(text) : null;
  };
  search.addEventListener("input", () => table && filter());
  const refresh = async (signal, status) => {
    if (!table) {
      table = workerTable(app, pool, status);
      place.replaceChildren(table.element);
      filter();
    }
    table.update(status.workers);
    const answer = await find(`${path("pools", pool, "timeline")}${timeline.query}`, signal);
    timeline.element.hidden = !answer;
    if (answer) timeline.update(answer, status.workers.map((worker) => worker.id));
  };
  const element = make("div", {}, timeline.element,
    make("section", { "aria-labelledby": "workers-title" }, make("div", { class: "row title" }, make("h2", { id: "workers-title" }, "Workers"), search), place));
  return { title: "", element, refresh, close: () => timeline.close() };
}

/** What runs in a worker, and since when. */
function runningText({ running = [] }) {
  if (!running.length) return "";
  const longest = running.reduce((a, b) => (b.since_us > a.since_us ? b : a));
  const more = running.length > 1 ? ` and ${running.length - 1} more` : "";
  return `${longest.command ?? "a call"} for ${duration(longest.since_us)}${more}`;
}

function workerTable(app, pool, status) {
  const column = (label, pick, format, kind = "number wide") => ({ label, kind, text: (worker) => format(pick(worker)), sort: pick });
  const measured = status.features.worker_metrics ? [
    { label: "Runs", kind: "runs", text: (worker) => runningText(worker) || NONE, sort: (worker) => worker.running?.[0]?.since_us },
    column("Calls/s", (worker) => worker.per_second, rate),
    column("Run p99", (worker) => worker.run_us?.p99, duration),
    column("Memory", (worker) => worker.resident_bytes, bytes),
    column("CPU", (worker) => worker.cpu, cores),
  ] : [];
  const actions = app.isAdmin ? [{
    label: "Action", text: (worker) => (worker.pid ? `${worker.id} ${worker.generation}` : ""),
    draw: (cell, worker) => cell.replaceChildren(worker.pid ? killButton(app, pool, worker) : ""),
  }] : [];
  return new Table({
    caption: "Workers", empty: "No worker runs.", key: (worker) => worker.id,
    columns: [
      linkColumn("Worker", (worker) => worker.id, (worker) => link("pools", pool, "workers", worker.id), "name"),
      stateColumn("State", (worker) => worker.unresponsive ?? worker.state),
      { label: "Health", kind: "wide", text: (worker) => worker.health, sort: (worker) => worker.health, draw: drawHealth },
      column("Generation", (worker) => worker.generation, count),
      { label: "PID", kind: "number wide", text: (worker) => String(worker.pid ?? NONE), sort: (worker) => worker.pid },
      column("In flight", (worker) => worker.in_flight, count),
      ...measured,
      column("Calls", (worker) => worker.operations, count),
      ...actions,
    ],
  });
}

/** Only what is not healthy stands out. */
const drawHealth = (cell, { health }) => cell.replaceChildren(health === "healthy" ? make("span", { class: "quiet" }, health) : badge(health));

/** A button that kills a worker's process, after a confirmation. */
export function killButton(app, pool, worker, label = "Kill") {
  const { id, generation, pid } = worker;
  const address = `${path("pools", pool, "workers", id, "kill")}?generation=${generation}`;
  const calls = worker.in_flight ? `It has ${plural(worker.in_flight, "unfinished call")}: idempotent ones run again on another worker, others fail. ` : "";
  return button(label, () => confirm({
    title: `Kill worker ${id}?`, action: "Kill worker", done: `Worker ${id} was killed.`,
    text: `Process ${pid} (generation ${generation}) of ${pool} gets SIGKILL. ${calls}Its sessions lose their state. A new process replaces it.`,
    act: async () => { await send("POST", address); app.poller.now(true); },
  }), { class: label === "Kill" ? "small" : "", "aria-label": `Kill worker ${id}` });
}
