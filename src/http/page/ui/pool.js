// The frame of all views of a pool: its state and figures, the way to its parts, and the part that is open.

import { find, get, path, send } from "./api.js";
import { make, put } from "./dom.js";
import { confirm } from "./dialog.js";
import { NONE, bytes, cores, count, duration, milliseconds, rate } from "./format.js";
import { Facts, badge, busiest, link, problems, spaced } from "./parts.js";
import { Sparkline } from "./sparkline.js";

const PARTS = [["", "Workers"], ["sessions", "Sessions"], ["commands", "Commands"], ["protection", "Protection"], ["events", "Events"]];
const FIGURES = ["Ready", "Calls/s", "In flight", "Waiting", "Longest call", "Busiest command", "Run p50 / p99", "Memory", "CPU", "Sessions"];

/** A view: the frame around `part`, which has `{title, element, refresh(signal, status), close}`. `open` is the name of the part. */
export function poolView(app, name, open, part) {
  const state = make("span", {});
  const type = make("span", { class: "quiet" });
  const facts = new Facts(FIGURES, "tiles");
  const line = new Sparkline(`rate ${name}`);
  const rateText = make("span", { class: "figure" });
  facts.place("Calls/s").replaceChildren(rateText, line.element);
  facts.place("Calls/s").className = "with-line";
  const trouble = make("ul", { class: "problems", "aria-label": "Problems" });
  const level = app.isAdmin ? logLevel(name) : null;
  const update = (status) => {
    if (state.textContent !== spaced(status.state)) state.replaceChildren(badge(status.state));
    put(type, `${status.worker_type} pool, up for ${milliseconds(status.uptime_ms)}`);
    updateFigures(facts, status, rateText);
    line.draw();
    showProblems(trouble, problems(status));
  };
  const known = app.statuses.get(name);
  if (known) update(known);
  const refresh = async (signal) => {
    const status = app.isAdmin ? await get(path("pools", name), signal) : undefined;
    if (status) {
      app.keep(status);
      update(status);
    }
    await part.refresh(signal, status);
  };
  const heading = make("div", { class: "row heading" }, make("h1", { tabindex: -1 }, name), state, type, level ?? "");
  const figures = app.isAdmin ? [facts.element, trouble] : [];
  const element = make("div", { class: open === "" ? "pool" : "pool inner" }, heading, ...figures, partLinks(app, name, open), part.element);
  return { title: part.title ? `${part.title}, ${name}` : name, element, refresh, close: () => part.close?.() };
}

function partLinks(app, name, open) {
  const items = PARTS.filter(([key]) => app.isAdmin || key === "commands").map(([key, label]) => {
    const attributes = { href: key ? link("pools", name, key) : link("pools", name) };
    if (key === open) attributes["aria-current"] = "page";
    return make("li", {}, make("a", attributes, label));
  });
  return make("nav", { class: "parts", "aria-label": "Parts of the pool" }, make("ul", {}, ...items));
}

function updateFigures(facts, status, rateText) {
  const { queue, workers } = status;
  const ready = workers.filter((worker) => !worker.overflow && ["ready", "busy", "degraded"].includes(worker.state)).length;
  const busy = busiest(status);
  const longest = status.running?.longest;
  put(rateText, rate(status.per_second));
  facts.update({
    Ready: [count(ready), `of ${count(status.pool_size)}`],
    "In flight": [count(queue.in_flight), `of ${count(queue.capacity)}`],
    Waiting: [count(queue.waiting), queue.waiting && queue.estimated_wait_ms ? `of ${count(queue.limit)}, about ${milliseconds(queue.estimated_wait_ms)}` : `of ${count(queue.limit)}`],
    "Longest call": status.running === undefined ? undefined : longest ? [duration(longest.since_us), longest.command ?? ""] : NONE,
    "Busiest command": busy && busy.name,
    "Run p50 / p99": busy && `${duration(busy.run_us.p50)} / ${duration(busy.run_us.p99)}`,
    Memory: status.memory_bytes === undefined ? undefined : bytes(status.memory_bytes),
    CPU: status.cpu === undefined ? undefined : [cores(status.cpu), "cores"],
    Sessions: status.features.session_affinity || status.active_sessions ? count(status.active_sessions) : undefined,
  });
  facts.mark("Ready", ready < status.pool_size && status.state !== "idle" ? "bad" : "");
}

function showProblems(list, found) {
  const lines = found.map(({ text }) => text).join("\n");
  if (list.dataset.shown === lines) return;
  list.dataset.shown = lines;
  list.replaceChildren(...found.map(({ kind, text }) => make("li", { class: `notice ${kind}` }, text)));
}

/** The level of the pool's log, if the server can change it. */
function logLevel(name) {
  const address = path("pools", name, "log-level");
  const select = make("select", {}, ...["default", "off", "error", "warn", "info", "debug", "trace"].map((level) => make("option", {}, level)));
  const set = () => confirm({
    title: "Change the log level?", action: "Change", done: `The log level of ${name} is ${select.value}.`,
    text: select.value === "default"
      ? `The log shows the events of ${name} that HERDER_LOG of the server selects.`
      : `The log shows the events of ${name} up to the level ${select.value}, until it is changed again or the server stops.`,
    act: () => send("PUT", address, {
      body: JSON.stringify({ level: select.value === "default" ? null : select.value }), headers: { "Content-Type": "application/json" },
    }),
  });
  const element = make("form", { class: "row level", hidden: true, onsubmit: (event) => { event.preventDefault(); set(); } },
    make("label", {}, "Log level ", select), make("button", {}, "Set"));
  find(address).then((answer) => {
    if (answer) select.value = answer.level ?? "default";
    element.hidden = !answer;
  }, () => {});
  return element;
}
