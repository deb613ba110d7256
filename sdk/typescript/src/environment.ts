/**
 * What the client needs from where it runs: a clock, timers, random numbers, sockets. Everything else takes it from
 * here, so that a test can bring its own.
 */

/** A task that was scheduled; only good for {@link Environment.clearTimeout}. */
export type Timer = unknown;

/** The part of the standard `WebSocket` that is used. The one of the package `ws` has it too. */
export interface Socket {
  binaryType: string;
  readonly protocol: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: { data: unknown } & never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: { code: number; reason: string } & never) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}

/** Opens a {@link Socket}. */
export type SocketConstructor = new (url: string, protocols: string[]) => Socket;

/** Something that can be listened to: `window`, `document`. */
export interface Target {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}

/** Clock, timers, random numbers and sockets. Every part has the platform's own as default. */
export interface Environment {
  /** Unix milliseconds. */
  now(): number;
  /** At least 0, less than 1. */
  random(): number;
  /** Calls `task` once, after `delay` milliseconds. */
  setTimeout(task: () => void, delay: number): Timer;
  /** Forgets a task. */
  clearTimeout(timer: Timer): void;
  /** `undefined` where there is none (Node before 22): then the next transport is used. */
  WebSocket: SocketConstructor | undefined;
  /** For SSE and long-polling. */
  fetch: typeof fetch | undefined;
  /** Tells `online` and `offline`; `window` in a browser. */
  network: Target | undefined;
  /** Tells `visibilitychange`; `document` in a browser. */
  page: (Target & { readonly visibilityState?: string }) | undefined;
}

/** The platform's own environment, with what `given` replaces. */
export function environment(given: Partial<Environment> = {}): Environment {
  const platform = globalThis as unknown as {
    fetch?: typeof fetch;
    WebSocket?: SocketConstructor;
    document?: NonNullable<Environment["page"]>;
    window?: Target;
  };
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    setTimeout: (task, delay) => setTimeout(task, delay),
    clearTimeout: (timer) => clearTimeout(timer as number),
    WebSocket: platform.WebSocket,
    fetch: platform.fetch?.bind(platform),
    network: platform.window,
    page: platform.document,
    ...given,
  };
}

/** The longest delay that timers of JavaScript keep (milliseconds); longer ones fire at once. */
const LONGEST_DELAY = 2 ** 31 - 1;

/** One timer: set again, it forgets what it was set to. */
export class Alarm {
  #environment: Environment;
  #timer: Timer;

  constructor(environment: Environment) {
    this.#environment = environment;
  }

  /** Calls `task` after `delay` milliseconds. */
  set(delay: number, task: () => void): void {
    this.clear();
    const run = () => {
      this.#timer = undefined;
      task();
    };
    this.#timer = this.#environment.setTimeout(run, Math.min(Math.max(delay, 0), LONGEST_DELAY));
  }

  /** Forgets the task. */
  clear(): void {
    if (this.#timer !== undefined) this.#environment.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
