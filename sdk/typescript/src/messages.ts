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
  #items: Of[] = [];
  #waiting: { resolve(result: IteratorResult<Of>): void; reject(error: unknown): void }[] = [];
  #end: { error?: StarlingError } | undefined;
  #release: (() => void)[] = [];

  constructor({ limit = 1000, signal }: IterateOptions) {
    this.#limit = limit;
    const abort = () => this.end();
    signal?.addEventListener("abort", abort);
    this.#release.push(() => signal?.removeEventListener("abort", abort));
    if (signal?.aborted) this.end();
  }

  /** Calls `release` when it ends. */
  onEnd(release: () => void): void {
    if (this.#end) release();
    else this.#release.push(release);
  }

  push(item: Of): void {
    if (this.#end) return;
    const waiting = this.#waiting.shift();
    if (waiting) waiting.resolve({ done: false, value: item });
    else if (this.#items.push(item) > this.#limit) {
      this.end(new StarlingError("OVERFLOW", `more than ${this.#limit} messages wait for a loop`));
    }
  }

  end(error?: StarlingError): void {
    if (this.#end) return;
    this.#end = error ? { error } : {};
    for (const release of this.#release) release();
    for (const { resolve } of this.#waiting) resolve({ done: true, value: undefined });
    this.#waiting = [];
  }

  next(): Promise<IteratorResult<Of>> {
    const item = this.#items.shift();
    if (item) return Promise.resolve({ done: false, value: item });
    if (!this.#end) return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
    const { error } = this.#end;
    this.#end = {};
    return error ? Promise.reject(error) : Promise.resolve({ done: true, value: undefined });
  }

  return(): Promise<IteratorResult<Of>> {
    this.end();
    this.#items = [];
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }
}
