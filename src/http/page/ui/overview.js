// The view of all pools, with the events beside them.

import { find, get, path } from "./api.js";
import { make, put } from "./dom.js";
import { EventList } from "./event_list.js";
import { NONE, bytes, cores, count, duration, rate } from "./format.js";
import { Facts, busiest, link, linkColumn, problems, stateColumn } from "./parts.js";
import { Sparkline } from "./sparkline.js";
import { Table } from "./table.js";

/** The view for administrators. */
export function overview(app) {
  const lines = new Map();
  const table = poolTable(lines);
  const facts = new Facts(["Pools", "Healthy", "Bodies in memory", "Dropped log lines"]);
  const found = make("ul", { class: "problems" });
  const events = new EventList(app.events);
  const refresh = async (signal) => {
    const list = await get("v1/pools", signal);
    updateFacts(facts, list);
    const show = () => {
      const rows = list.pools.map((pool) => ({ ...pool, status: app.statuses.get(pool.pool) }));
      table.update(rows);
      showProblems(found, rows);
    };
    show();
    for (const { pool } of list.pools) {
      const status = await find(path("pools", pool), signal).catch((error) => { if (signal.aborted) throw error; });
      if (status) app.keep(status);
      show();
    }
    for (const line of lines.values()) line.draw();
  };
  const element = make("div", { class: "columns" },
    make("div", {}, make("h1", { tabindex: -1 }, "Pools"), facts.element, found, table.element), events.element);
  return { title: "Pools", element, refresh, close: () => events.close() };
}

function updateFacts(facts, list) {
  const healthy = list.pools.filter((pool) => pool.healthy).length;
  facts.update({
    Pools: count(list.pools.length), Healthy: `${count(healthy)} of ${count(list.pools.length)}`,
    "Bodies in memory": `${bytes(list.buffered_bytes)} of ${bytes(list.buffer_limit)}`,
    "Dropped log lines": list.dropped_log_lines ? count(list.dropped_log_lines) : undefined,
  });
  facts.mark("Healthy", healthy < list.pools.length ? "bad" : "");
}

function poolTable(lines) {
  const status = (pick) => (row) => (row.status ? pick(row.status) : undefined);
  const column = (label, pick, format, kind = "number wide") => ({ label, kind, text: (row) => format(status(pick)(row)), sort: status(pick) });
  return new Table({
    caption: "Pools", empty: "This server has no pools.", key: (row) => row.pool,
    emphasis: (row) => (row.healthy ? "" : "unwell"),
    columns: [
      linkColumn("Pool", (row) => row.pool, (row) => link("pools", row.pool), "name"),
      stateColumn("State", (row) => row.state ?? (row.error && "error")),
      { label: "Ready", kind: "number", text: (row) => `${count(row.ready_workers)} / ${count(row.pool_size)}`, sort: (row) => row.ready_workers },
      { ...column("Calls/s", (pool) => pool.per_second, rate, "number"), draw: (cell, row) => drawRate(cell, row, lines) },
      column("Waiting", (pool) => pool.queue.waiting, count, "number"),
      column("Busiest command", (pool) => busiest(pool)?.name, (name) => name ?? NONE, "wide"),
      column("Run p50", (pool) => busiest(pool)?.run_us.p50, duration),
      column("Run p99", (pool) => busiest(pool)?.run_us.p99, duration),
      column("Memory", (pool) => pool.memory_bytes, bytes),
      column("CPU", (pool) => pool.cpu, cores),
    ],
  });
}

function drawRate(cell, row, lines) {
  let label = cell.querySelector(".figure");
  if (!label) {
    const line = new Sparkline(`rate ${row.pool}`);
    lines.set(row.pool, line);
    label = make("span", { class: "figure" });
    cell.replaceChildren(line.element, label);
  }
  put(label, rate(row.status?.per_second));
}

/** One line for each problem of a pool. */
function showProblems(list, rows) {
  const found = rows.flatMap((row) => problemsOf(row).map((problem) => ({ ...problem, pool: row.pool })));
  if (list.dataset.shown === JSON.stringify(found)) return;
  list.dataset.shown = JSON.stringify(found);
  list.replaceChildren(...found.map(({ pool, kind, text }) => make("li", { class: `notice ${kind}` }, make("a", { href: link("pools", pool) }, pool), ` ${text}`)));
}

function problemsOf(row) {
  if (row.error) return [{ kind: "bad", text: row.error }];
  return problems({ ...row.status, last_start_error: row.last_start_error });
}

/** The view for callers, who may not read figures: the pools, and the way to their commands. */
export function callerOverview() {
  const table = new Table({
    caption: "Pools", empty: "This server has no pools.", key: (row) => row.pool,
    columns: [
      linkColumn("Pool", (row) => row.pool, (row) => link("pools", row.pool, "commands"), "name"),
      stateColumn("State", (row) => row.state),
      { label: "Ready", kind: "number", text: (row) => `${count(row.ready_workers)} / ${count(row.pool_size)}` },
    ],
  });
  const refresh = async (signal) => table.update((await get("v1/pools", signal)).pools);
  const note = "This token may call commands. Figures, sessions, events and actions need the token of an administrator.";
  const element = make("div", { class: "narrow" }, make("h1", { tabindex: -1 }, "Pools"), make("p", { class: "quiet" }, note), table.element);
  return { title: "Pools", element, refresh };
}
