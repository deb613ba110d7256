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
  #pending: Promise<string | undefined> | undefined;

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
    if (this.#kept !== undefined) {
      const { exp } = claims(this.#kept);
      if (exp === undefined || exp * 1000 > this.#environment.now()) return this.#kept;
    }
    return this.fresh();
  }

  /** A token from the source. Whoever asks while one is being fetched gets the same. */
  fresh(): Promise<string | undefined> {
    this.#pending ??= this.#fetch().finally(() => {
      this.#pending = undefined;
    });
    return this.#pending;
  }

  async #fetch(): Promise<string | undefined> {
    const source = this.#source;
    try {
      this.#kept = (typeof source === "function" ? await source() : source) ?? undefined;
      return this.#kept;
    } catch (error) {
      throw new StarlingError("TOKEN_SOURCE", `the token function failed: ${error}`, { cause: error });
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
    const { exp, iat } = token === undefined ? {} : claims(token);
    const end = expiresAt ?? (exp === undefined ? undefined : exp * 1000);
    if (end === undefined) return this.#alarm.clear();
    let left = end - this.#environment.now();
    // The server has just taken it, so that this clock must be wrong; the token itself tells how long it lives.
    if (left <= 0) left = exp !== undefined && iat !== undefined ? (exp - iat) * 1000 : Number.POSITIVE_INFINITY;
    if (left === Number.POSITIVE_INFINITY) return this.#alarm.clear();
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

/** What a JWT says of its life, in Unix seconds; nothing for any other token. */
function claims(token: string): { exp?: number; iat?: number } {
  try {
    const body = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
    const fields: unknown = JSON.parse(atob(body));
    if (!isFields(fields)) return {};
    const { exp, iat } = fields;
    return { ...(typeof exp === "number" && { exp }), ...(typeof iat === "number" && { iat }) };
  } catch {
    return {};
  }
}
