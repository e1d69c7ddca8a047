// The calls and deaths of the last minute, collected from the answers of `timeline`. Times are microseconds of the pool's clock.

export const SPAN = 60e6;
const MOST = 40000; // calls in memory

export class TimelineData {
  now = 0;
  deaths = [];
  #calls = new Map(); // those that have ended, by number
  #running = [];
  #next;

  /** The query for what is new. */
  get query() { return this.#next === undefined ? "" : `?since=${this.#next}`; }

  /** Takes an answer: what ended since the last one, and what runs now. */
  take({ now_us: now, next, calls, deaths }) {
    if (now < this.now) this.#forget(); // the pool was started again
    this.now = now;
    this.#next = next;
    // Entries that ended have a number. The server extends the last one of a worker while short calls follow each other.
    this.#running = calls.filter((call) => call.seq === undefined);
    for (const call of calls) if (call.seq !== undefined) this.#calls.set(call.seq, call);
    const seen = new Set(this.deaths.map((death) => `${death.worker} ${death.generation}`));
    this.deaths.push(...deaths.filter((death) => !seen.has(`${death.worker} ${death.generation}`)));
    this.#expire();
  }

  #forget() {
    this.#calls.clear();
    this.#running = [];
    this.deaths = [];
    this.#next = undefined;
  }

  #expire() {
    const start = this.now - SPAN;
    this.deaths = this.deaths.filter((death) => death.at_us >= start);
    for (const [seq, call] of this.#calls) {
      if (call.to_us >= start && this.#calls.size <= MOST) continue;
      this.#calls.delete(seq);
    }
  }

  /** The calls of each worker, with a summary. */
  lanes() {
    const lanes = new Map();
    const lane = (worker) => {
      if (!lanes.has(worker)) lanes.set(worker, { worker, calls: [], deaths: [], count: 0, failed: 0, busy: 0 });
      return lanes.get(worker);
    };
    for (const call of [...this.#calls.values(), ...this.#running]) {
      const of = lane(call.worker);
      of.calls.push(call);
      of.count += call.count ?? 1;
      if (isFailed(call)) of.failed += call.count ?? 1;
      of.busy += share(call, this.now) * ((call.to_us ?? this.now) - Math.max(call.from_us, this.now - SPAN));
    }
    for (const death of this.deaths) lane(death.worker).deaths.push(death);
    return lanes;
  }
}

/** The share of the time of an entry in which its calls ran: an entry of several short calls has pauses. */
export function share(call, now) {
  const time = (call.to_us ?? now) - call.from_us;
  return call.count > 1 && time > 0 ? Math.min(1, call.run_us / time) : 1;
}

/** Whether a call failed. */
export const isFailed = (call) => call.to_us !== null && call.outcome !== "ok";
