// The sessions of a pool, page by page from the server, and the story of one session.

import { find, get, path, send } from "./api.js";
import { confirm } from "./dialog.js";
import { button, enable, make, put, show } from "./dom.js";
import { NONE, count, fineClock, milliseconds, plural } from "./format.js";
import { Facts, badge, link, linkColumn, section, spaced, stateColumn } from "./parts.js";
import { Table } from "./table.js";

const LIMIT = 50;

/** The part `Sessions`. */
export function sessionsPart(app, pool) {
  const cursors = [0]; // those of the pages before, and of the page itself
  const search = make("input", { type: "search", placeholder: "Part of a session id", "aria-label": "Search sessions", autocomplete: "off", spellcheck: "false", maxlength: 256 });
  const total = make("span", { class: "quiet" });
  const table = sessionTable(app, pool);
  let following = null;
  const go = (change) => {
    following = null;
    change();
    app.poller.now(true);
  };
  const back = button("Previous", () => { if (cursors.length > 1) go(() => cursors.pop()); }, { "aria-disabled": "true" });
  const next = button("Next", () => {
    const cursor = following; // null while the page is loaded
    if (cursor !== null) go(() => cursors.push(cursor));
  }, { "aria-disabled": "true" });
  let typing = 0;
  search.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(() => go(() => { cursors.length = 1; }), 250);
  });
  const refresh = async (signal) => {
    const query = new URLSearchParams({ cursor: cursors.at(-1), limit: LIMIT });
    if (search.value) query.set("search", search.value);
    const page = await get(`${path("pools", pool, "sessions")}?${query}`, signal);
    following = page.next;
    table.update(page.sessions);
    put(total, `${plural(page.active_sessions, "session")}; page ${cursors.length}`);
    enable(back, cursors.length > 1);
    enable(next, following !== null);
  };
  const element = make("section", { "aria-labelledby": "sessions-title" },
    make("div", { class: "row title" }, make("h2", { id: "sessions-title" }, "Sessions"), search), table.element,
    make("nav", { class: "row pager", "aria-label": "Pages of sessions" }, total, back, next));
  return { title: "Sessions", element, refresh };
}

function sessionTable(app, pool) {
  const actions = app.isAdmin ? [{ label: "Action", text: (row) => row.id, draw: (cell, row) => cell.replaceChildren(endButton(app, pool, row.id)) }] : [];
  return new Table({
    caption: "Sessions", empty: "No sessions.", key: (row) => row.id, pageSize: LIMIT,
    columns: [
      linkColumn("Session", (row) => row.id, (row) => link("pools", pool, "sessions", row.id), "name id"),
      stateColumn("State", (row) => row.state),
      { label: "Worker", text: (row) => row.worker ?? NONE, draw: (cell, row) => cell.replaceChildren(row.worker ? make("a", { href: link("pools", pool, "workers", row.worker) }, row.worker) : NONE) },
      { label: "Epoch", kind: "number wide", text: (row) => count(row.epoch) },
      { label: "Calls", kind: "number wide", text: (row) => count(row.operations) },
      { label: "Pending", kind: "number", text: (row) => count(row.pending) },
      { label: "Age", kind: "number wide", text: (row) => milliseconds(row.age_ms) },
      { label: "Idle", kind: "number wide", text: (row) => milliseconds(row.idle_ms) },
      ...actions,
    ],
  });
}

function endButton(app, pool, id, label = "End") {
  return button(label, () => confirm({
    title: "End this session?", action: "End session", done: "The session ends.",
    text: `Session ${id} of ${pool} ends after its pending calls. Its worker forgets its state.`,
    act: async () => { await send("DELETE", path("pools", pool, "sessions", id)); app.poller.now(true); },
  }), { class: label === "End" ? "small" : "", "aria-label": `End session ${id}` });
}

/** The part that tells where the calls of a session ran, and why. */
export function sessionPart(app, pool, id) {
  const summary = make("p", { class: "lead" });
  const facts = new Facts(["State", "Worker", "Epoch", "Calls", "Pending", "Age", "Idle"]);
  const story = make("ol", { class: "story" });
  const incomplete = make("p", { class: "quiet", hidden: true }, "Earlier events are not known any more.");
  const past = make("ul", { class: "past" });
  const actions = make("div", { class: "row" });
  let told = "";
  const refresh = async (signal) => {
    const history = await find(`${path("pools", pool, "sessions", id)}/why`, signal);
    if (!history) return put(summary, "This pool keeps no history of sessions.");
    put(summary, history.summary);
    updateFacts(facts, pool, history);
    const isPresent = Boolean(history.present);
    if (app.isAdmin && isPresent !== Boolean(actions.firstChild)) actions.replaceChildren(...(isPresent ? [endButton(app, pool, id, "End session")] : []));
    show(incomplete, !history.complete);
    const text = JSON.stringify([history.events, history.past]);
    if (text === told) return;
    told = text;
    story.replaceChildren(...history.events.map((event) => eventLine(pool, event)));
    past.replaceChildren(...history.past.map((each) => make("li", {}, `${fineClock(each.began)} to ${fineClock(each.ended)}: ${spaced(each.why)} after ${plural(each.operations, "call")}`)));
    past.parentElement.hidden = history.past.length === 0;
  };
  const element = make("div", {}, make("h2", { class: "id" }, `Session ${id}`), summary, facts.element, actions,
    section("History", incomplete, story), section("Earlier sessions of this id", past));
  return { title: `Session ${id}`, element, refresh };
}

function updateFacts(facts, pool, { state, present }) {
  const worker = present?.worker;
  facts.update({
    State: badge(state),
    Worker: worker ? make("a", { href: link("pools", pool, "workers", worker) }, `${worker}, generation ${present.generation}`) : undefined,
    Epoch: present ? count(present.epoch) : undefined, Calls: present ? count(present.operations) : undefined,
    Pending: present ? count(present.pending) : undefined, Age: present ? milliseconds(present.age_ms) : undefined,
    Idle: present ? milliseconds(present.idle_ms) : undefined,
  });
}

const LOSSES = ["state_lost", "loss_reported", "refused_expired", "refused_busy", "refused_full"];

function eventLine(pool, event) {
  return make("li", { class: LOSSES.includes(event.kind) ? "bad" : "" },
    make("time", { datetime: event.at }, fineClock(event.at)), make("span", { class: "kind" }, spaced(event.kind)),
    make("span", { class: "what" }, event.text));
}
