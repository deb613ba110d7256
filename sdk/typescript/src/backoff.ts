/** How long to wait before the next attempt: exponential, with full jitter. */

/** Bounds of the waiting time. */
export interface BackoffOptions {
  /** The longest first delay, in milliseconds. Default 1000. */
  base?: number;
  /** The longest delay of all, in milliseconds. Default 30,000. */
  cap?: number;
}

/**
 * Delays that double, each a random part of the whole, so that clients which lost a server together do not come back
 * together: the n-th delay is evenly spread over 0 to min(cap, base × 2ⁿ).
 */
export class Backoff {
  readonly cap: number;
  #base: number;
  #random: () => number;
  #attempts = 0;

  constructor(random: () => number, { base = 1000, cap = 30_000 }: BackoffOptions = {}) {
    this.#random = random;
    this.#base = base;
    this.cap = cap;
  }

  /** The next delay, in milliseconds. */
  next(): number {
    const ceiling = Math.min(this.cap, this.#base * 2 ** this.#attempts++);
    return this.#random() * ceiling;
  }

  /** Makes the next delay at least the one of attempt `attempts`, for servers that asked for patience. */
  skip(attempts: number): void {
    this.#attempts = Math.max(this.#attempts, attempts);
  }

  /** After a connection proved stable. */
  reset(): void {
    this.#attempts = 0;
  }
}
