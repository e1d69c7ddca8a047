// One worker: its process, its Python stack, and the recorder of its last frames, states and output.

import { find, path, send } from "./api.js";
import { button, make, show } from "./dom.js";
import { NONE, bytes, cores, count, duration, fineClock, rate } from "./format.js";
import { Facts, badge, block, failure, link, section, spaced } from "./parts.js";
import { Table } from "./table.js";
import { killButton } from "./workers.js";

const FACTS = ["State", "Health", "Generation", "PID", "In flight", "Calls", "Calls/s", "Run p50 / p99", "Memory", "CPU", "CPU time", "Sessions"];

/** The part `Worker` of a pool. `generation`: an earlier process of the worker, or undefined. */
export function workerPart(app, pool, id, generation) {
  const facts = new Facts(FACTS);
  const running = runningTable(pool);
  const runs = section("Running calls", running.element);
  const actions = make("div", { class: "row" });
  const stack = make("div", {});
  const present = make("div", { hidden: true }, facts.element, actions, stack, runs);
  const gone = make("p", { class: "quiet", hidden: true }, "No such worker runs.");
  const recorder = new Recorder(pool, id);
  let drawn = "";
  const refresh = async (signal, status) => {
    const worker = status.workers.find((each) => each.id === id);
    const isPresent = Boolean(worker) && (generation === undefined || generation === String(worker.generation));
    show(gone, !worker && generation === undefined);
    show(present, isPresent);
    if (isPresent) {
      update(facts, worker);
      running.update(worker.running ?? []);
      show(runs, Boolean(worker.running));
      const now = `${worker.generation} ${worker.pid}`;
      if (drawn !== now) actions.replaceChildren(stackButton(pool, id, stack), ...(worker.pid ? [killButton(app, pool, worker, "Kill worker")] : []));
      drawn = now;
    }
    await recorder.refresh(signal, generation);
  };
  const title = generation === undefined ? `Worker ${id}` : `Worker ${id}, generation ${generation}`;
  return { title, element: make("div", { class: "narrow" }, make("h2", {}, title), gone, present, recorder.element), refresh };
}

function update(facts, worker) {
  const times = worker.run_us;
  facts.update({
    State: badge(worker.unresponsive ?? worker.state), Health: badge(worker.health), Generation: count(worker.generation), PID: String(worker.pid ?? NONE),
    "In flight": `${count(worker.in_flight)} of ${count(worker.window)}`, Calls: count(worker.operations),
    "Calls/s": worker.per_second === undefined ? undefined : rate(worker.per_second),
    "Run p50 / p99": times ? `${duration(times.p50)} / ${duration(times.p99)}` : undefined,
    Memory: worker.resident_bytes === undefined ? undefined : bytes(worker.resident_bytes),
    CPU: worker.cpu === undefined ? undefined : `${cores(worker.cpu)} cores`,
    "CPU time": worker.cpu_seconds === undefined ? undefined : duration(worker.cpu_seconds * 1e6),
    Sessions: worker.sessions === undefined ? undefined : count(worker.sessions),
  });
}

function runningTable(pool) {
  return new Table({
    caption: "Running calls", empty: "No call runs.", key: (call) => `${call.call} ${call.command}`,
    columns: [
      { label: "Command", text: (call) => call.command ?? NONE },
      { label: "Session", text: (call) => call.session ?? NONE, draw: (cell, call) => cell.replaceChildren(call.session ? make("a", { href: link("pools", pool, "sessions", call.session) }, call.session) : NONE) },
      { label: "Running for", kind: "number", text: (call) => duration(call.since_us) },
    ],
  });
}

function stackButton(pool, id, place) {
  return button("Show Python stack", async () => {
    try {
      const answer = await send("GET", path("pools", pool, "workers", id, "stack"));
      place.replaceChildren(block(await answer.text(), `Python stack of ${id}`));
    } catch (error) {
      place.replaceChildren(failure(error));
    }
  });
}

/** The recording of a process. */
class Recorder {
  #summary = make("p", { class: "quiet" });
  #frames = frameTable();
  #states = stateTable();
  #output = make("div", {});
  #lines = "";

  constructor(pool, id) {
    this.pool = pool;
    this.address = path("pools", pool, "workers", id, "recorder");
    this.id = id;
    this.element = make("div", {}, section("Recorder", this.#summary, this.#frames.element), section("States", this.#states.element), section("Output", this.#output));
  }

  async refresh(signal, generation) {
    const query = generation === undefined ? "" : `?generation=${generation}`;
    const recording = await find(this.address + query, signal);
    if (!recording) return this.#summary.replaceChildren("There is no recording of this process.");
    const { started_at: started, ended_at: ended, exit, frames, transitions = [], dropped_frames: dropped } = recording;
    const earlier = recording.generation > 1 ? make("a", { href: link("pools", this.pool, "workers", this.id, String(recording.generation - 1)) }, "process before it") : "";
    const end = ended ? `, ended ${fineClock(ended)}: ${exit?.reason ?? "unknown"}` : "";
    this.#summary.replaceChildren(`Generation ${recording.generation}, started ${fineClock(started)}${end}. ${dropped ? `${count(dropped)} earlier frames were dropped. ` : ""}`, earlier);
    this.#frames.update(numbered(frames).reverse());
    this.#states.update(numbered(transitions).reverse());
    this.#show(recording.stderr_tail);
  }

  #show(lines) {
    const text = lines.join("\n");
    if (text === this.#lines && this.#output.firstChild) return;
    this.#lines = text;
    this.#output.replaceChildren(text ? block(text, "Last output") : make("p", { class: "quiet" }, "No output."));
  }
}

/** Entries with a key that stays the same while the window of the recording moves on. */
function numbered(entries) {
  const seen = new Map();
  return entries.map((entry) => {
    const text = JSON.stringify(entry);
    seen.set(text, (seen.get(text) ?? 0) + 1);
    return { ...entry, key: `${text} ${seen.get(text)}` };
  });
}

function frameTable() {
  return new Table({
    caption: "Last frames", empty: "No frames.", key: (frame) => frame.key, pageSize: 25,
    columns: [
      { label: "Time", kind: "code", text: (frame) => fineClock(frame.at) },
      { label: "Direction", text: (frame) => frame.direction },
      { label: "Descriptor", kind: "wide", text: (frame) => frame.descriptor },
      { label: "Frame", text: (frame) => frame.fault ?? spaced(frame.kind) },
      { label: "Command", text: (frame) => frame.command ?? "" },
      { label: "Bytes", kind: "number", text: (frame) => count(frame.length) },
    ],
  });
}

function stateTable() {
  return new Table({
    caption: "States", empty: "This pool keeps no states.", key: (entry) => entry.key, pageSize: 25,
    columns: [
      { label: "Time", kind: "code", text: (entry) => fineClock(entry.at) },
      { label: "From", text: (entry) => spaced(entry.from) },
      { label: "To", text: (entry) => spaced(entry.to) },
      { label: "Reason", text: (entry) => spaced(entry.reason) },
    ],
  });
}
