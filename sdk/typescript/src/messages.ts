/** Messages as an async iterator. */

import { StarlingError } from "./errors.js";
import type { Message } from "./protocol.js";

/** How to iterate. */
export interface IterateOptions<Event extends string = string> {
  /** Only messages with this event. */
  event?: Event;
  /** Ends the iteration when it is aborted; messages that came before are still given. */
  signal?: AbortSignal;
  /** Messages that may wait for the loop; with more the iteration throws `OVERFLOW`. Default 1000. */
  limit?: number;
}

/** Collects from the moment it is made until it ends; then gives what is left. */
export class MessageQueue<Of extends Message> implements AsyncIterableIterator<Of> {
  #limit: number;
  #signal: AbortSignal | undefined;
  #ended: () => void;
  #items: Of[] = [];
  #waiting: ((result: IteratorResult<Of>) => void)[] = [];
  #isEnded = false;
  #error: StarlingError | undefined;
  #abort = () => this.end();

  /** `ended` is called when it ends: no more need be pushed. */
  constructor({ limit = 1000, signal }: IterateOptions, ended: () => void) {
    this.#limit = limit;
    this.#signal = signal;
    this.#ended = ended;
    signal?.addEventListener("abort", this.#abort);
    if (signal?.aborted) queueMicrotask(this.#abort);
  }

  push(value: Of): void {
    if (this.#isEnded) return;
    const waiting = this.#waiting.shift();
    if (waiting) waiting({ done: false, value });
    else if (this.#items.push(value) > this.#limit) {
      this.#error = new StarlingError("OVERFLOW");
      this.end();
    }
  }

  end(): void {
    if (this.#isEnded) return;
    this.#isEnded = true;
    this.#signal?.removeEventListener("abort", this.#abort);
    this.#ended();
    for (const waiting of this.#waiting) waiting(DONE);
  }

  async next(): Promise<IteratorResult<Of>> {
    const value = this.#items.shift();
    if (value) return { done: false, value };
    const error = this.#error;
    this.#error = undefined;
    if (error) throw error;
    return this.#isEnded ? DONE : new Promise((resolve) => this.#waiting.push(resolve));
  }

  async return(): Promise<IteratorResult<Of>> {
    this.end();
    this.#items = [];
    return DONE;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}

const DONE = { done: true, value: undefined } as const;
