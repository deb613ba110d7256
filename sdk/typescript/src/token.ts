/** Where tokens come from, and when the next one is due. */

import { Alarm, type Environment } from "./environment.js";
import { StarlingError } from "./errors.js";
import { isFields } from "./protocol.js";

/** A token, or a function that fetches one. `null` and `undefined`: connect without. */
export type TokenSource = string | (() => string | null | undefined | Promise<string | null | undefined>);

/** How long before a token expires the next one is asked for (milliseconds), but no more than a fifth of its life. */
const RENEW_BEFORE = 30_000;
/** How long to wait after the token function failed (milliseconds), plus a random part of as much. */
const RETRY_AFTER = 2_000;

/** Keeps the latest token, so that a reconnect does not have to ask for one. */
export class Tokens {
  #source: TokenSource | undefined;
  #environment: Environment;
  #kept: string | undefined;

  constructor(source: TokenSource | undefined, environment: Environment) {
    this.#source = source;
    this.#environment = environment;
  }

  /** Whether another token can be had. */
  get isRenewable(): boolean {
    return typeof this.#source === "function";
  }

  /** A token that is still good, as far as can be told from here. */
  async current(): Promise<string | undefined> {
    return this.#kept !== undefined && expiry(this.#kept) > this.#environment.now() ? this.#kept : this.fresh();
  }

  /** A token from the source. One that does not answer holds nobody up but who asked: the next one asks again. */
  async fresh(): Promise<string | undefined> {
    const source = this.#source;
    try {
      this.#kept = (typeof source === "function" ? await source() : source) ?? undefined;
      return this.#kept;
    } catch (error) {
      throw new StarlingError("TOKEN_SOURCE", `no token: ${error}`, { cause: error });
    }
  }

  /** The server did not take the kept token. */
  forget(): void {
    this.#kept = undefined;
  }
}

/** Fetches a token before the last one expires, for as long as a connection lasts. */
export class Renewal {
  #tokens: Tokens;
  #environment: Environment;
  #alarm: Alarm;
  #use: (token: string) => void;
  #failed: (error: StarlingError) => void;
  #run = 0;

  constructor(
    tokens: Tokens,
    environment: Environment,
    use: (token: string) => void,
    failed: (error: StarlingError) => void,
  ) {
    this.#tokens = tokens;
    this.#environment = environment;
    this.#alarm = new Alarm(environment);
    this.#use = use;
    this.#failed = failed;
  }

  /** The server took `token`; it said that it expires at `expiresAt` (Unix milliseconds), or nothing. */
  schedule(expiresAt: number | undefined, token: string | undefined): void {
    if (!this.#tokens.isRenewable) return;
    this.#alarm.clear();
    const left = (expiresAt ?? expiry(token)) - this.#environment.now();
    // A token that was just taken and has expired tells that this clock is wrong. The server will say when it is time.
    if (!(left > 0 && left < Number.POSITIVE_INFINITY)) return;
    this.#alarm.set(Math.max(1000, left - Math.min(RENEW_BEFORE, left / 5)), () => void this.#renew());
  }

  stop(): void {
    this.#run++;
    this.#alarm.clear();
  }

  async #renew(): Promise<void> {
    const run = this.#run;
    try {
      const token = await this.#tokens.fresh();
      if (run !== this.#run || token === undefined) return;
      // Until the server answers with the exact time.
      this.schedule(undefined, token);
      this.#use(token);
    } catch (error) {
      if (run !== this.#run) return;
      this.#failed(error as StarlingError);
      this.#alarm.set(RETRY_AFTER * (1 + this.#environment.random()), () => void this.#renew());
    }
  }
}

/** When a JWT expires (Unix milliseconds); never, as far as can be told, for any other token. */
function expiry(token = ""): number {
  try {
    const body = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const claims: unknown = JSON.parse(atob(body));
    return isFields(claims) && typeof claims.exp === "number" ? claims.exp * 1000 : Number.POSITIVE_INFINITY;
  } catch {
    return Number.POSITIVE_INFINITY;
  }
}
