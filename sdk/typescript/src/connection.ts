/** Keeps one connection to the server: when to connect, over what, and when to give up. */

import { Backoff } from "./backoff.js";
import type { Off } from "./emitter.js";
import { Alarm } from "./environment.js";
import { isRefusal, StarlingError } from "./errors.js";
import { Ladder } from "./ladder.js";
import { Line, type LineEvents } from "./line.js";
import type { ClientMessage, ServerMessage, Welcome } from "./protocol.js";
import type { Settings } from "./settings.js";
import { Renewal, type Tokens } from "./token.js";
import type { Loss, Transport } from "./transport/transport.js";
import { type Hint, listen } from "./wake.js";

/**
 * Where a client stands:
 *
 * - `idle`: not asked to connect yet; `closed`: asked to end.
 * - `connecting`, `connected`; `waiting`: for the next attempt.
 * - `failed`: the server refused the token; it stays so until `connect()` is called again.
 */
export type State = "idle" | "connecting" | "connected" | "waiting" | "failed" | "closed";

/** A state with what belongs to it. */
export interface Status {
  readonly state: State;
  /** `connected`: over what. */
  readonly transport?: string;
  /** `connected`: what the server calls this connection. */
  readonly connectionId?: string;
  /** `connected`: who the server says we are; `null` for nobody. */
  readonly userId?: string | null;
  /** `waiting`: when the next attempt is due, Unix milliseconds. */
  readonly retryAt?: number;
  /** `waiting`, `failed`: why. */
  readonly error?: StarlingError;
}

/** What a connection tells its owner. */
export interface ConnectionEvents {
  status(status: Status): void;
  /** There is a connection to send on; what was in flight before is lost. */
  attached(): void;
  /** There is none. */
  detached(error: StarlingError): void;
  receive(message: ServerMessage): void;
  /** Nothing will follow until `connect`. */
  ended(error: StarlingError): void;
  /** Something went wrong that does not end the connection. */
  complain(error: StarlingError): void;
}

/** Within how long clients of a server that restarted unannounced come back (milliseconds). */
const RESTART_SPREAD = 5_000;
/** Within how long they come back when the network is there again (milliseconds). */
const ONLINE_SPREAD = 500;
/** The most that attempts to return to a better transport are apart (milliseconds). */
const UPGRADE_CAP = 600_000;
/** The delay after `4029 too many requests` is that of at least so many failed attempts. */
const PENALTY_ATTEMPTS = 4;

export class Connection {
  status: Status = { state: "idle" };
  #settings: Settings;
  #events: ConnectionEvents;
  #tokens: Tokens;
  #backoff: Backoff;
  #ladder: Ladder;
  #renewal: Renewal;
  #line: Line | undefined;
  /** The best transport, tried beside the line. */
  #probe: Line | undefined;
  #retry: Alarm;
  #stable: Alarm;
  #upgrade: Alarm;
  #upgradeDelay: number;
  #unlisten: Off | undefined;
  /** Refused tokens in a row. */
  #refusals = 0;
  /** When the server wants to see us again after a restart (Unix milliseconds). */
  #drainedUntil: number | undefined;
  #isOffline = false;
  #isStable = false;
  #lineEvents: LineEvents = {
    opened: () => {},
    receive: (message) => this.#receive(message),
    lost: (loss) => this.#lost(loss),
  };

  constructor(settings: Settings, tokens: Tokens, events: ConnectionEvents) {
    const { environment } = settings;
    this.#settings = settings;
    this.#tokens = tokens;
    this.#events = events;
    this.#backoff = new Backoff(environment.random, settings.backoff);
    this.#ladder = new Ladder(settings.transports.length);
    this.#retry = new Alarm(environment);
    this.#stable = new Alarm(environment);
    this.#upgrade = new Alarm(environment);
    this.#upgradeDelay = settings.upgradeAfter;
    const renew = (token: string) => this.#line?.renew(token);
    this.#renewal = new Renewal(tokens, environment, renew, (error) => events.complain(error));
  }

  /** Connects, or tries again at once. */
  connect(): void {
    const { state } = this.status;
    if (state === "connecting" || state === "connected") return;
    if (state !== "waiting") {
      if (this.#settings.transports.length === 0) throw new TypeError("no transport");
      this.#backoff.reset();
      this.#refusals = 0;
      this.#isOffline = false;
      this.#unlisten = listen(this.#settings.environment, (hint) => this.#hinted(hint));
    }
    this.#attempt();
  }

  /** Ends everything; `connect` starts anew. */
  close(): void {
    if (this.status.state === "closed") return;
    this.#end({ state: "closed" }, new StarlingError("CLOSED"));
  }

  send(message: ClientMessage): void {
    this.#line?.send(message);
  }

  #attempt(): void {
    this.#retry.clear();
    this.#drainedUntil = undefined;
    this.#line = this.#newLine(this.#ladder.rung, {
      ...this.#lineEvents,
      opened: (welcome) => this.#opened(welcome),
    });
    this.#become({ state: "connecting" });
  }

  #newLine(rung: number, events: LineEvents): Line {
    // The ladder has as many rungs as there are transports.
    const transport = this.#settings.transports[rung] as Transport;
    return new Line(this.#settings, transport, this.#tokens, events);
  }

  #opened(welcome: Welcome): void {
    const { stableAfter } = this.#settings;
    this.#refusals = 0;
    this.#isStable = false;
    this.#stable.set(stableAfter, () => {
      this.#isStable = true;
      this.#backoff.reset();
      this.#ladder.stable();
      if (this.#ladder.rung === 0) this.#upgradeDelay = this.#settings.upgradeAfter;
    });
    this.#renewal.schedule(welcome.expiresAt, this.#line?.token);
    this.#scheduleUpgrade();
    this.#attached(welcome);
  }

  #attached({ connectionId, userId = null }: Welcome): void {
    const line = this.#line;
    this.#events.attached();
    // A listener may have closed the client.
    if (line && line === this.#line) {
      this.#become({ state: "connected", transport: line.transport.name, connectionId, userId });
    }
  }

  #receive(message: ServerMessage): void {
    if (message.type === "auth_ack") return this.#renewal.schedule(message.expiresAt, this.#line?.token);
    if (message.type === "drain") this.#drain(message.reconnectIn);
    this.#events.receive(message);
  }

  /** The server restarts soon, and said when to come back: each of its clients another moment. */
  #drain(reconnectIn: number): void {
    this.#drainedUntil = this.#settings.environment.now() + reconnectIn;
    const drained = new StarlingError("CONNECTION_LOST", "the server restarts");
    this.#retry.set(reconnectIn, () => {
      this.#line?.close();
      this.#lost({ error: drained, closeCode: 1012 });
    });
  }

  #lost({ error, closeCode }: Loss): void {
    const wasOpen = this.status.state === "connected";
    this.#settle();
    this.#line = undefined;
    if (wasOpen) this.#events.detached(error);
    if (isRefusal(error) && !this.#mayRefresh(error, wasOpen)) return this.#end({ state: "failed", error }, error);
    if (this.#probe?.welcome) return this.#adoptProbe();
    this.#dropProbe();
    if (closeCode === 1012) return this.#wait(error, this.#restartDelay());
    if (error.code === "RATE_LIMITED") this.#backoff.skip(PENALTY_ATTEMPTS);
    if (!wasOpen && error.code !== "TOKEN_SOURCE") this.#ladder.failed("opening");
    // A close frame with a code of its own came from a server: no proxy cut the connection.
    else if (!this.#isStable && error.code === "CONNECTION_LOST") this.#ladder.failed("cut");
    this.#wait(error, this.#isOffline ? this.#backoff.cap : this.#backoff.next());
  }

  /** Whether another token is worth an attempt: once, if there is where to get one from. */
  #mayRefresh({ code }: StarlingError, wasOpen: boolean): boolean {
    this.#tokens.forget();
    if (!this.#tokens.isRenewable || code === "FORBIDDEN") return false;
    return wasOpen || ++this.#refusals === 1;
  }

  #restartDelay(): number {
    const { now, random } = this.#settings.environment;
    const until = this.#drainedUntil;
    return until === undefined ? random() * RESTART_SPREAD : Math.max(0, until - now());
  }

  #wait(error: StarlingError, delay: number): void {
    this.#retry.set(delay, () => this.#attempt());
    this.#become({ state: "waiting", retryAt: this.#settings.environment.now() + delay, error });
  }

  #hinted(hint: Hint): void {
    this.#isOffline = hint === "offline";
    if (this.status.state === "connected") return this.#line?.probe();
    // Whom the server sent away until later stays away until then.
    if (hint === "offline" || this.status.state !== "waiting" || this.#drainedUntil !== undefined) return;
    const delay = hint === "online" ? this.#settings.environment.random() * ONLINE_SPREAD : 0;
    this.#retry.set(delay, () => this.#attempt());
  }

  #scheduleUpgrade(): void {
    if (this.#ladder.rung === 0) return;
    this.#upgrade.set(this.#upgradeDelay, () => this.#tryBest());
    this.#upgradeDelay = Math.min(this.#upgradeDelay * 2, UPGRADE_CAP);
  }

  /** Opens the best transport beside the present one, and moves when it has lasted: a proxy may cut it soon after. */
  #tryBest(): void {
    this.#probe = this.#newLine(0, {
      opened: () => this.#upgrade.set(this.#settings.stableAfter, () => this.#adoptProbe()),
      receive: () => {},
      lost: () => {
        this.#dropProbe();
        this.#scheduleUpgrade();
      },
    });
  }

  /** Moves to the transport that was tried. From now on its messages are ours, and its end is the connection's. */
  #adoptProbe(): void {
    const [old, probe] = [this.#line, this.#probe];
    if (!probe?.welcome) return;
    this.#probe = undefined;
    this.#line = probe;
    probe.events = this.#lineEvents;
    if (old) this.#events.detached(new StarlingError("CONNECTION_LOST", "moved"));
    this.#ladder.moveTo(0);
    this.#opened(probe.welcome);
    // Last, so that presence is entered on the new connection before it is left on the old one.
    old?.close();
  }

  #dropProbe(): void {
    this.#probe?.close();
    this.#probe = undefined;
  }

  #end(status: Status, error: StarlingError): void {
    this.#settle();
    this.#dropProbe();
    this.#unlisten?.();
    this.#unlisten = undefined;
    this.#line?.close();
    this.#line = undefined;
    this.#events.ended(error);
    this.#become(status);
  }

  /** Clears what is only for the time of a connection. */
  #settle(): void {
    this.#retry.clear();
    this.#stable.clear();
    this.#upgrade.clear();
    this.#renewal.stop();
  }

  #become(status: Status): void {
    this.status = status;
    this.#events.status(status);
  }
}
