/** Until when somebody waits for something. */

import { Alarm, type Environment } from "./environment.js";
import { StarlingError } from "./errors.js";

/** Bounds of the wait for an answer. */
export interface RequestOptions {
  /** Milliseconds from the call to the answer, also while offline; 0: for ever. Default: that of the client. */
  timeout?: number | undefined;
  /** Gives up when it is aborted. What was sent already may have been done. */
  signal?: AbortSignal | undefined;
}

/** Calls `giveUp` once, with `TIMEOUT` or the signal's reason, unless it is cleared before. Never at once. */
export class Deadline {
  #alarm: Alarm;
  #signal: AbortSignal | undefined;
  #abort: () => void;

  constructor(
    environment: Environment,
    { timeout = 0, signal }: RequestOptions,
    what: string,
    giveUp: (error: unknown) => void,
  ) {
    this.#alarm = new Alarm(environment);
    this.#signal = signal;
    this.#abort = () => giveUp(signal?.reason);
    signal?.addEventListener("abort", this.#abort);
    if (signal?.aborted) this.#alarm.set(0, this.#abort);
    else if (timeout > 0) {
      this.#alarm.set(timeout, () => giveUp(new StarlingError("TIMEOUT", `${what}: no answer in ${timeout} ms`)));
    }
  }

  clear(): void {
    this.#alarm.clear();
    this.#signal?.removeEventListener("abort", this.#abort);
  }
}
