/** Finds out within seconds that a connection is dead, also after the machine slept. */

import { Alarm, type Environment } from "./environment.js";

/** How a dead connection is found. */
export interface HeartbeatOptions {
  /** How long nothing may be heard before the server is asked for a sign of life, in milliseconds. Default 8000. */
  interval?: number;
  /**
   * How long the answer may take before the connection is given up, in milliseconds. Default 5000. A server does not
   * read while one of its hooks decides about a message: keep it above the hooks' timeout.
   */
  timeout?: number;
}

/** Pings after silence, and gives up when silence follows. The owner starts and stops it with the connection. */
export class Heartbeat {
  #environment: Environment;
  #alarm: Alarm;
  #interval: number;
  #timeout: number;
  #ping: () => void;
  #dead: () => void;
  #heardAt = 0;
  #running = false;
  #probing = false;

  constructor(environment: Environment, options: HeartbeatOptions, ping: () => void, dead: () => void) {
    this.#environment = environment;
    this.#alarm = new Alarm(environment);
    this.#interval = options.interval ?? 8_000;
    this.#timeout = options.timeout ?? 5_000;
    this.#ping = ping;
    this.#dead = dead;
  }

  /** `silence`: whether silence is a reason to ask; otherwise only {@link probe} does. */
  start(silence: boolean): void {
    this.#running = true;
    if (!silence) this.#interval = Number.POSITIVE_INFINITY;
    this.heard();
    this.#wait();
  }

  stop(): void {
    this.#running = false;
    this.#probing = false;
    this.#alarm.clear();
  }

  /** Something came from the server. Cheap: the timer is not touched while it only measures silence. */
  heard(): void {
    this.#heardAt = this.#environment.now();
    if (!this.#probing) return;
    this.#probing = false;
    this.#wait();
  }

  /** Asks for a sign of life now: the network changed, or the machine woke. */
  probe(): void {
    if (!this.#running || this.#probing) return;
    this.#probing = true;
    this.#alarm.set(this.#timeout, () => this.#dead());
    this.#ping();
  }

  /** Measures silence. A timer that was held up by sleep comes late, finds a long silence, and asks at once. */
  #wait(): void {
    const silent = this.#environment.now() - this.#heardAt;
    // Negative after the clock was set back.
    const left = this.#interval - Math.max(silent, 0);
    if (left <= 0) return this.probe();
    if (left === Number.POSITIVE_INFINITY) return this.#alarm.clear();
    this.#alarm.set(left, () => this.#wait());
  }
}
