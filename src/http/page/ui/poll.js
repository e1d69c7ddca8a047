// Repeats a refresh: never while the page is hidden or paused, never two at once, and less often if a refresh takes long.

const LEAST = 1500; // milliseconds between two refreshes
const MOST = 10000;
const SHARE = 4; // a refresh takes at most a fifth of the time, as long as MOST allows it

export class Poller {
  #refresh;
  #timer = 0;
  #running = null;
  #isPaused = false;

  /** `refresh` takes an `AbortSignal`, and never fails. */
  constructor(refresh) {
    this.#refresh = refresh;
    document.addEventListener("visibilitychange", () => this.now());
  }

  get isPaused() { return this.#isPaused; }

  set isPaused(value) {
    this.#isPaused = value;
    this.now();
  }

  /** Refreshes at once, unless the page is hidden. A running refresh is aborted: it belongs to an earlier view. */
  async now(isAsked = false) {
    this.#running?.abort();
    clearTimeout(this.#timer);
    if (document.hidden || (this.#isPaused && !isAsked)) return;
    const running = new AbortController();
    this.#running = running;
    const began = performance.now();
    await this.#refresh(running.signal);
    if (running.signal.aborted || this.#isPaused) return;
    this.#timer = setTimeout(() => this.now(), Math.min(Math.max(LEAST, SHARE * (performance.now() - began)), MOST));
  }
}
