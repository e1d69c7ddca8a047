// The commands of a pool with their figures, and one command with its form.

import { find, get, path } from "./api.js";
import { make, put, show } from "./dom.js";
import { commandForm } from "./command_form.js";
import { NONE, count, duration, rate } from "./format.js";
import { Facts, link, linkColumn, section } from "./parts.js";
import { Table } from "./table.js";

const errorsOf = (figures) => figures && Object.values(figures.errors ?? {}).reduce((sum, number) => sum + number, 0);

/** The part `Commands`. */
export function commandsPart(app, pool) {
  const place = make("div", {});
  let table;
  const refresh = async (signal, status) => {
    const { commands } = await get(path("pools", pool, "commands"), signal);
    if (!table) {
      table = commandTable(pool, status);
      place.replaceChildren(table.element);
    }
    table.update(commands.map((command) => ({ ...command, figures: status?.commands?.[command.name] })));
  };
  return { title: "Commands", element: make("section", { "aria-label": "Commands" }, place), refresh };
}

function commandTable(pool, status) {
  const figure = (label, pick, format, kind = "number wide") => (
    { label, kind, text: (row) => format(row.figures && pick(row.figures)), sort: (row) => row.figures && pick(row.figures) });
  const figures = status?.commands ? [
    figure("Calls", (each) => each.calls, count, "number"),
    figure("Calls/s", (each) => each.per_second, rate),
    figure("Errors", errorsOf, count, "number"),
    figure("Queue p50", (each) => each.queue_us?.p50, duration),
    figure("Queue p99", (each) => each.queue_us?.p99, duration),
    figure("Run p50", (each) => each.run_us?.p50, duration),
    figure("Run p99", (each) => each.run_us?.p99, duration),
    figure("Run max", (each) => each.run_us?.max, duration),
  ] : [];
  return new Table({
    caption: "Commands", empty: "No worker of this pool has been ready yet, so its commands are unknown.", key: (row) => row.name,
    columns: [
      linkColumn("Command", (row) => row.name, (row) => link("pools", pool, "commands", row.name), "name"),
      { label: "Description", kind: "wide text", text: (row) => (row.description ?? "").split("\n")[0] },
      ...figures,
    ],
  });
}

/** The part of one command: its text, its figures, and a form that calls it. */
export function commandPart(app, pool, name) {
  const text = make("p", { class: "text" });
  const marks = make("p", { class: "quiet" });
  const facts = new Facts(["Calls", "Calls/s", "Queue p50 / p99", "Run p50 / p99", "Run max"]);
  const errors = errorTable();
  const failures = section("Errors", errors.element);
  const form = make("div", {});
  let isDrawn = false;
  const refresh = async (signal, status) => {
    const figures = status?.commands?.[name];
    show(facts.element, Boolean(figures));
    show(failures, Boolean(figures && errorsOf(figures)));
    if (figures) updateFigures(facts, errors, figures);
    if (isDrawn) return;
    const command = (await find(path("pools", pool, "commands"), signal))?.commands.find((each) => each.name === name);
    if (!command) return put(text, "This pool has no such command, or no worker was ready yet.");
    isDrawn = true;
    put(text, command.description ?? "");
    put(marks, marksOf(command));
    form.replaceChildren(commandForm(app, pool, command));
  };
  const element = make("div", {}, make("h2", {}, name), text, marks, facts.element, form, failures);
  return { title: `Command ${name}`, element, refresh };
}

function marksOf(command) {
  const marks = [];
  if (command.idempotent) marks.push("Idempotent: it may run again on another worker.");
  if (command.needs_session) marks.push("Needs a session.");
  if (command.stream) marks.push("Yields a stream of items.");
  if (command.schema_error) marks.push(`The schema is incomplete: ${command.schema_error}`);
  return marks.join(" ");
}

function updateFigures(facts, errors, figures) {
  const pair = (times) => (times ? `${duration(times.p50)} / ${duration(times.p99)}` : NONE);
  facts.update({
    Calls: count(figures.calls), "Calls/s": rate(figures.per_second), "Queue p50 / p99": pair(figures.queue_us), "Run p50 / p99": pair(figures.run_us),
    "Run max": duration(figures.run_us?.max),
  });
  errors.update(Object.entries(figures.errors ?? {}).map(([error, calls]) => ({ error, calls })));
}

function errorTable() {
  return new Table({
    caption: "Errors", empty: "No errors.", key: (row) => row.error,
    columns: [
      { label: "Error", text: (row) => row.error, sort: (row) => row.error },
      { label: "Calls", kind: "number", text: (row) => count(row.calls), sort: (row) => row.calls },
    ],
  });
}
