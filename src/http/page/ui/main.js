// Starts the page: who the caller is, which view the address names, and when it is refreshed.

import { NoAnswer, get, hasToken, setToken } from "./api.js";
import { byId, make, put, setClass, show } from "./dom.js";
import { EventList } from "./event_list.js";
import { EventLog } from "./events.js";
import { callerOverview, overview } from "./overview.js";
import { failure, link, spaced } from "./parts.js";
import { Poller } from "./poll.js";
import { poolView } from "./pool.js";
import { record } from "./sparkline.js";
import { commandPart, commandsPart } from "./commands.js";
import { protectionPart } from "./protection.js";
import { sessionPart, sessionsPart } from "./sessions.js";
import { workerPart } from "./worker.js";
import { workersPart } from "./workers.js";

const app = {
  isAdmin: false,
  sessionHeader: "", // the header that names the session of a call
  events: new EventLog(),
  statuses: new Map(), // the last status of each pool
  poller: new Poller(refresh),
  keep(status) {
    record(`rate ${status.pool}`, status.per_second);
    app.statuses.set(status.pool, status);
  },
};
let view = null;

/** The parts of the address after `#/`. */
function place() {
  try {
    return location.hash.slice(2).split("/").filter(Boolean).map(decodeURIComponent);
  } catch {
    return [];
  }
}

function viewOf([kind, pool, part, id, generation]) {
  if (kind !== "pools" || pool === undefined) return app.isAdmin ? overview(app) : callerOverview();
  if (!app.isAdmin || part === "commands") {
    return poolView(app, pool, "commands", id === undefined ? commandsPart(app, pool) : commandPart(app, pool, id));
  }
  if (part === "workers" && id !== undefined) return poolView(app, pool, "", workerPart(app, pool, id, generation));
  if (part === "sessions") return poolView(app, pool, part, id === undefined ? sessionsPart(app, pool) : sessionPart(app, pool, id));
  if (part === "protection") return poolView(app, pool, part, protectionPart(app, pool));
  if (part === "events") return poolView(app, pool, part, eventsPart(pool));
  return poolView(app, pool, "", workersPart(app, pool));
}

function eventsPart(pool) {
  const list = new EventList(app.events, (item) => item.pool === pool || item.kind === "gap");
  return { title: "Events", element: list.element, refresh: async () => {}, close: () => list.close() };
}

/** Opens the view that the address names. */
function open() {
  view?.close?.();
  const parts = place();
  view = viewOf(parts);
  document.title = `${view.title} · Herder`;
  byId("main").replaceChildren(view.element);
  const links = parts[1] === undefined ? [] : [make("a", { href: "#/" }, "Pools"), make("a", { href: link("pools", parts[1]) }, parts[1])];
  byId("place").replaceChildren(make("ol", {}, ...links.map((each) => make("li", {}, each))));
  byId("main").querySelector("h1")?.focus();
  scrollTo(0, 0);
  app.poller.now(true);
}

async function refresh(signal) {
  const current = view;
  if (!current) return;
  try {
    await current.refresh(signal);
    byId("failure")?.remove();
    connection(app.poller.isPaused ? "Paused" : "Live", app.poller.isPaused ? "idle" : "good");
  } catch (error) {
    if (signal.aborted || current !== view) return;
    if (error.status === 401) return askForToken(error);
    connection(error instanceof NoAnswer ? "No connection" : "Error", "bad");
    showFailure(error);
  }
}

function showFailure(error) {
  const element = failure(error);
  element.id = "failure";
  if (byId("failure")) byId("failure").replaceWith(element);
  else byId("main").prepend(element);
}

function connection(text, kind) {
  put(byId("link"), text);
  setClass(byId("link"), `link badge ${kind}`);
}

/** Asks the server who the caller is, and starts. */
async function start() {
  connection("Connecting", "idle");
  try {
    const caller = await get("v1/whoami");
    app.isAdmin = caller.role === "admin";
    app.sessionHeader = caller.session_header;
    put(byId("role"), app.isAdmin ? "administrator" : "caller");
  } catch (error) {
    // The token of metrics has no role here.
    if (error.status === 401 || error.name === "wrong-role") return askForToken(error);
    connection("No connection", "bad");
    showFailure(error);
    return void setTimeout(start, 3000);
  }
  show(byId("pause"), true);
  show(byId("forget"), hasToken());
  open();
  readEvents();
}

/** Reads events, unless nobody would see them. What happens meanwhile is read later. */
function readEvents() {
  if (view && app.isAdmin && !document.hidden && !app.poller.isPaused) app.events.start();
  else app.events.stop();
}

/** Shows the form that asks for the token. */
function askForToken(error) {
  view?.close?.();
  view = null;
  app.events.clear();
  connection("Token needed", "warn");
  show(byId("pause"), false);
  const input = make("input", { type: "password", autocomplete: "off", required: true, id: "token" });
  const submit = (event) => {
    event.preventDefault();
    setToken(input.value);
    start();
  };
  const wrong = hasToken() ? [make("p", { class: "bad", role: "alert" }, error.message)] : [];
  byId("main").replaceChildren(make("form", { class: "access", onsubmit: submit }, make("h1", {}, "Token"),
    make("p", { class: "quiet" }, "This server needs the token of administrators or of callers. The page keeps it in memory until it is reloaded, and nowhere else."),
    ...wrong, make("label", { for: "token" }, "Token"), make("div", { class: "row" }, input, make("button", { class: "primary" }, "Use token"))));
  input.focus();
}

function forget() {
  setToken("");
  app.statuses.clear();
  show(byId("forget"), false);
  start();
}

/** Reads out what happens, at most one sentence in three seconds. */
function announce() {
  let waiting = [];
  let timer = 0;
  app.events.listen((items) => {
    waiting.push(...items);
    if (!waiting.length || timer) return;
    timer = setTimeout(() => {
      const last = waiting.at(-1);
      const more = waiting.length > 1 ? `${waiting.length} events, the last: ` : "";
      put(byId("announcer"), `${more}${last.pool ?? ""} ${last.worker ?? ""} ${spaced(last.kind)}: ${last.message ?? ""}`);
      [waiting, timer] = [[], 0];
    }, 3000);
  });
}

byId("pause").addEventListener("click", () => {
  app.poller.isPaused = !app.poller.isPaused;
  byId("pause").setAttribute("aria-pressed", String(app.poller.isPaused));
  connection(app.poller.isPaused ? "Paused" : "Connecting", "idle");
  readEvents();
});
byId("forget").addEventListener("click", forget);
byId("skip").addEventListener("click", (event) => { event.preventDefault(); byId("main").focus(); });
document.addEventListener("visibilitychange", readEvents);
addEventListener("hashchange", () => { if (view) open(); });
announce();
start();
