/** The subscription to one channel over any number of connections. */

import { Deadline, type RequestOptions } from "./deadline.js";
import { Alarm } from "./environment.js";
import { isTransient, StarlingError } from "./errors.js";
import { Log, type Silent } from "./log.js";
import { type Ack, type ClientRequest, type Message, type Position, positionOf } from "./protocol.js";
import type { Requests } from "./requests.js";
import type { Settings } from "./settings.js";

/** How long to wait before a refused resubscription is tried again (milliseconds), plus a random part of as much. */
const RETRY_AFTER = 1_000;

/** How to subscribe. */
export interface SubscribeOptions extends RequestOptions {
  /** Start with the latest `rewind` messages of the history. */
  rewind?: number | undefined;
  /** Start behind this position, for example one that an earlier run of the program stored. */
  recover?: Position | undefined;
  /** Keep `channel.presence.members` up to date. */
  presence?: boolean | undefined;
  /** Enter presence with this. */
  data?: unknown;
}

/** What the server agreed to. */
export interface Subscribed {
  /** Where the log stands, if the channel has one. */
  readonly position?: Position | undefined;
  /** Where messages may have been missed, whether all of them follow. Absent the first time, without `recover`. */
  readonly recovered?: boolean | undefined;
}

/** Messages that will not come. */
export interface Gap {
  /** How many. */
  readonly missed: number;
  /** Whether the server said so. Otherwise offsets were skipped: superseded messages, those kept from us, or a fault. */
  readonly announced: boolean;
}

/** What happens to a subscription. */
export interface SubscriptionEvents {
  subscribed: Subscribed;
  /** After a reconnect: whether every missed message follows. If not, what the application shows may be stale. */
  recovered: { recovered: boolean };
  gap: Gap;
  /** The server ended it, or refused to renew it. */
  unsubscribed: StarlingError;
}

/** Whom a subscription tells. */
export interface SubscriptionOwner {
  message(message: Message): void;
  happened<Name extends keyof SubscriptionEvents>(name: Name, event: SubscriptionEvents[Name]): void;
  /** What to enter presence with, if it was entered. */
  own(): { data: unknown } | undefined;
  /** The server says nothing about this channel for now. */
  paused(): void;
}

/** `asked`: what comes before the answer belongs to an earlier subscription. `leaving`: until the server said so. */
type Stage = "off" | "asked" | "live" | "leaving";

export class Subscription {
  readonly channel: string;
  #settings: Settings;
  #requests: Requests;
  #owner: SubscriptionOwner;
  #log = new Log();
  #options: SubscribeOptions = {};
  #wish: Wish | undefined;
  #stage: Stage = "off";
  #isOnline = false;
  /** Tells the answer to the latest question from those to earlier ones. */
  #question = 0;
  #retry: Alarm;

  constructor(channel: string, settings: Settings, requests: Requests, owner: SubscriptionOwner) {
    this.channel = channel;
    this.#settings = settings;
    this.#requests = requests;
    this.#owner = owner;
    this.#retry = new Alarm(settings.environment);
  }

  /** Whether it is to be, now or as soon as there is a connection. */
  get isWanted(): boolean {
    return this.#wish !== undefined;
  }

  /** Whether the server agreed, on the present connection. */
  get isLive(): boolean {
    return this.#stage === "live";
  }

  /** Behind which message to go on after a lost connection. */
  get position(): Position | undefined {
    return this.#log.position;
  }

  get silent(): Silent {
    return this.#log.silent;
  }

  /** Resolves when the server agreed; while it is wanted, with what it agreed to then. */
  subscribe(options: SubscribeOptions): Promise<Subscribed> {
    if (this.#wish) {
      this.#extend(options);
      return this.#wish.promise;
    }
    this.#options = options;
    this.#log.start(options.recover);
    const wish = new Wish(this.#settings, options, (error) => void this.unsubscribe(error, { timeout: 0 }));
    this.#wish = wish;
    if (this.#isOnline) this.#ask();
    return wish.promise;
  }

  /** Resolves when the server agreed, at once while there is no connection. */
  unsubscribe(error: unknown = new StarlingError("CLOSED"), options?: RequestOptions): Promise<void> {
    this.#forget()?.reject(error);
    return new Promise((resolve, reject) => this.#leave(options, { resolve: () => resolve(), reject }));
  }

  /** Presence is asked for with the subscription: for somebody who wants it later, that is made once more. */
  #extend({ presence }: SubscribeOptions): void {
    if (!presence || this.#options.presence) return;
    this.#options = { ...this.#options, presence };
    this.#leave({ timeout: 0 });
  }

  attached(): void {
    this.#isOnline = true;
    this.#stage = "off";
    if (this.#wish) this.#ask();
  }

  detached(): void {
    this.#isOnline = false;
    this.#stage = "off";
    this.#question++;
    this.#retry.clear();
    this.#owner.paused();
  }

  /** Nothing will follow until somebody connects again: who waits is told. What was agreed to stays wanted. */
  ended(error: StarlingError): void {
    this.detached();
    if (this.#wish?.isPending) this.#forget()?.reject(error);
  }

  /** A message of this channel. Without a subscription it is one that the server sends on its own account. */
  message(message: Message): void {
    if (this.#stage === "asked" || this.#stage === "leaving") return;
    const { isNew, missed } = this.#log.read(message);
    if (missed > 0) this.#owner.happened("gap", { missed, announced: false });
    if (isNew) this.#owner.message(message);
  }

  gap(missed: number): void {
    this.#log.skip();
    this.#owner.happened("gap", { missed, announced: true });
  }

  /** The server ended the subscription. */
  removed(error: StarlingError): void {
    // While it is asked for, this is about an earlier one.
    if (this.#stage === "asked" || this.#stage === "leaving") return;
    this.#stage = "off";
    this.#forget();
    this.#owner.happened("unsubscribed", error);
  }

  /** The server subscribed this connection on its own account. It is not renewed on another one. */
  added(position: Position | undefined): void {
    this.#stage = "live";
    this.#log.start(position);
    this.#owner.happened("subscribed", { position });
  }

  #ask(): void {
    if (this.#stage === "leaving") return;
    this.#stage = "asked";
    const { rewind, presence } = this.#options;
    const recover = this.#log.position;
    const own = this.#owner.own();
    const request: ClientRequest = {
      type: "subscribe",
      channel: this.channel,
      recover,
      rewind: recover ? undefined : rewind,
      presence,
      data: own && (own.data ?? {}),
    };
    const question = ++this.#question;
    const ifLatest =
      <Of>(then: (of: Of) => void) =>
      (of: Of) => {
        if (question === this.#question) then(of);
      };
    this.#requests.start(
      request,
      "moot",
      { timeout: 0 },
      {
        resolve: ifLatest((ack: Ack) => this.#agreed(ack, recover !== undefined)),
        reject: ifLatest((error: unknown) => this.#refused(error as StarlingError)),
      },
    );
  }

  #agreed(ack: Ack, wasAsked: boolean): void {
    this.#stage = "live";
    const position = positionOf(ack);
    const isRecovered = wasAsked && ack.recovered === true;
    if (!isRecovered) this.#log.start(position, wasAsked ? 0 : this.#options.rewind);
    const mayMiss = wasAsked || !this.#wish?.isPending;
    const subscribed = { position, recovered: mayMiss ? isRecovered : undefined };
    this.#wish?.resolve(subscribed);
    this.#owner.happened("subscribed", subscribed);
    if (mayMiss) this.#owner.happened("recovered", { recovered: isRecovered });
  }

  #refused(error: StarlingError): void {
    // The application subscribed this connection before we asked; where the log stands is seen with the next message.
    if (error.code === "ALREADY_SUBSCRIBED") return this.#agreed({ type: "ack", id: 0 }, false);
    this.#stage = "off";
    if (this.#wish?.isPending) return this.#forget()?.reject(error);
    if (!isTransient(error)) return this.removed(error);
    this.#retry.set(RETRY_AFTER * (1 + this.#settings.environment.random()), () => this.#ask());
  }

  /** Tells the server; what comes until it answers is of the earlier subscription. Then it is asked for anew, if wanted. */
  #leave(options: RequestOptions = {}, answer?: { resolve(): void; reject(error: unknown): void }): void {
    if (this.#stage !== "asked" && this.#stage !== "live") return answer?.resolve();
    this.#stage = "leaving";
    const question = ++this.#question;
    const left = (error?: unknown) => {
      if (question === this.#question && this.#stage === "leaving") {
        this.#stage = "off";
        if (this.#wish) this.#ask();
      }
      // Any other end, as that of the connection, is what was asked for.
      const isGivenUp = error instanceof StarlingError ? error.code === "TIMEOUT" : error !== undefined;
      if (isGivenUp) answer?.reject(error);
      else answer?.resolve();
    };
    const request: ClientRequest = { type: "unsubscribe", channel: this.channel };
    this.#requests.start(request, "moot", options, { resolve: () => left(), reject: left });
  }

  /** It is wanted no longer. */
  #forget(): Wish | undefined {
    const wish = this.#wish;
    this.#wish = undefined;
    this.#retry.clear();
    this.#question++;
    this.#owner.paused();
    return wish;
  }
}

/** A subscription that is wanted, and who waits for the server's agreement. */
class Wish {
  readonly promise: Promise<Subscribed>;
  isPending = true;
  resolve!: (subscribed: Subscribed) => void;
  reject!: (error: unknown) => void;

  constructor({ environment }: Settings, options: RequestOptions, giveUp: (error: unknown) => void) {
    const deadline = new Deadline(environment, options, "subscribe", giveUp);
    const settle =
      <Of>(settled: (of: Of) => void) =>
      (of: Of) => {
        this.isPending = false;
        deadline.clear();
        settled(of);
      };
    this.promise = new Promise((resolve, reject) => {
      this.resolve = settle(resolve);
      this.reject = settle(reject);
    });
  }
}
