// The events of the server, read as a stream of server-sent events by `fetch`: EventSource cannot send a token.

import { Problem, send } from "./api.js";

const KEPT = 500; // events in memory
const WAITS = [1000, 2000, 5000, 10000, 30000];

/** Cuts a stream of bytes into server-sent events, and passes each as `{id, event, data}`. */
async function readEvents(stream, take) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    for (const block of blocks) take(parse(block));
  }
}

function parse(block) {
  const event = { id: undefined, event: "message", data: "" };
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "data") data.push(value);
    else if (field === "id" || field === "event") event[field] = value;
  }
  event.data = data.join("\n");
  return event;
}

export class EventLog {
  /** The events, the newest last. Each has a `key` of its own. */
  items = [];
  /** `waiting`, `open`, `closed`, or `missing` if the server has no events for this caller. */
  state = "waiting";
  #last;
  #next = 0;
  #tries = 0;
  #reading = null;
  #listeners = new Set();

  /** Calls `listener` with the new events, and with an empty list when the state changes. Returns a function that ends this. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Starts to read, again and again until `stop`. */
  async start() {
    this.stop();
    const reading = new AbortController();
    this.#reading = reading;
    while (!reading.signal.aborted) {
      try {
        const headers = this.#last === undefined ? {} : { "Last-Event-ID": this.#last };
        const response = await send("GET", "v1/events", { headers: { ...headers, Accept: "text/event-stream" }, signal: reading.signal });
        this.#tries = 0;
        this.#set("open");
        await readEvents(response.body, (event) => this.#take(event));
      } catch (error) {
        if (reading.signal.aborted) return;
        if (error instanceof Problem && error.status < 500) return this.#set("missing");
      }
      if (reading.signal.aborted) return;
      this.#set("closed");
      await new Promise((wake) => setTimeout(wake, WAITS[Math.min(this.#tries++, WAITS.length - 1)]));
    }
  }

  stop() {
    this.#reading?.abort();
    this.#reading = null;
  }

  /** Forgets everything. */
  clear() {
    this.stop();
    this.items = [];
    this.#last = undefined;
    this.#set("waiting");
  }

  #set(state) {
    this.state = state;
    this.#tell([]);
  }

  #take({ id, event, data }) {
    if (id !== undefined) this.#last = id;
    const content = event === "gap" ? { kind: "gap", message: "Events were missed here." } : event === "message" && data ? JSON.parse(data) : null;
    if (!content) return;
    const item = { ...content, key: this.#next++ };
    this.items.push(item);
    if (this.items.length > KEPT) this.items.splice(0, this.items.length - KEPT);
    this.#tell([item]);
  }

  #tell(items) {
    for (const listener of this.#listeners) listener(items);
  }
}
