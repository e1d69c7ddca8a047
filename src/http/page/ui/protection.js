// What protects a pool: its circuit breaker, and the calls that killed workers.

import { get, path, send } from "./api.js";
import { confirm } from "./dialog.js";
import { button, make, show } from "./dom.js";
import { count, milliseconds, plural } from "./format.js";
import { Facts, badge, section, stateColumn } from "./parts.js";
import { Table } from "./table.js";

/** The part `Protection`. */
export function protectionPart(app, pool) {
  const facts = new Facts(["State", "Failures", "Successes", "Half-open calls", "Tries again in", "Opened", "Refused calls"]);
  const none = make("p", { class: "quiet", hidden: true }, "This pool has no circuit breaker.");
  const reset = app.isAdmin ? button("Reset the breaker", () => confirm({
    title: "Reset the breaker?", action: "Reset", done: `The breaker of ${pool} is closed.`,
    text: `The circuit breaker of ${pool} closes at once, and calls run again.`,
    act: async () => { await send("POST", path("pools", pool, "breaker", "reset")); app.poller.now(true); },
  })) : make("span");
  const quarantine = quarantineTable(app, pool);
  const refresh = async (signal) => {
    const { breaker } = await get(path("pools", pool, "breaker"), signal);
    show(facts.element, Boolean(breaker));
    show(reset, Boolean(breaker));
    show(none, !breaker);
    if (breaker) updateBreaker(facts, breaker);
    quarantine.update((await get(path("pools", pool, "quarantine"), signal)).quarantine);
  };
  const element = make("div", {}, section("Circuit breaker", none, facts.element, make("div", { class: "row" }, reset)),
    section("Quarantine", make("p", { class: "quiet" }, "Calls whose arguments killed workers. Quarantined ones are refused, suspected ones still run."), quarantine.element));
  return { title: "Protection", element, refresh };
}

function updateBreaker(facts, breaker) {
  facts.update({
    State: badge(breaker.state), Failures: count(breaker.failures), Successes: count(breaker.successes),
    "Half-open calls": count(breaker.half_open_calls), "Tries again in": breaker.state === "open" ? milliseconds(breaker.retry_after_ms) : undefined,
    Opened: plural(breaker.opened, "time"), "Refused calls": count(breaker.refused),
  });
}

function quarantineTable(app, pool) {
  const release = (row) => button("Release", () => confirm({
    title: "Release this call?", action: "Release", done: "The call is released.",
    text: `Calls of ${row.command} with these arguments (${row.fingerprint}) run again. They killed ${plural(row.deaths, "worker")}.`,
    act: async () => { await send("DELETE", path("pools", pool, "quarantine", row.fingerprint)); app.poller.now(true); },
  }), { class: "small", "aria-label": `Release ${row.command} ${row.fingerprint}` });
  const actions = app.isAdmin ? [{ label: "Action", text: (row) => row.fingerprint, draw: (cell, row) => cell.replaceChildren(release(row)) }] : [];
  return new Table({
    caption: "Quarantine", empty: "No call has killed a worker.", key: (row) => row.fingerprint,
    columns: [
      { label: "Command", kind: "name", text: (row) => row.command, sort: (row) => row.command },
      { label: "Fingerprint", kind: "code wide", text: (row) => row.fingerprint },
      stateColumn("State", (row) => (row.quarantined ? "quarantined" : "suspected")),
      { label: "Deaths", kind: "number", text: (row) => count(row.deaths), sort: (row) => row.deaths },
      { label: "Ends in", kind: "number", text: (row) => milliseconds(row.release_in_ms), sort: (row) => row.release_in_ms },
      ...actions,
    ],
  });
}
