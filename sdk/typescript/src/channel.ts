/** A channel as an application sees it. */

import type { RequestOptions } from "./deadline.js";
import { Emitter, type Off } from "./emitter.js";
import type { StarlingError } from "./errors.js";
import { type IterateOptions, MessageQueue } from "./messages.js";
import { Presence } from "./presence.js";
import { type Ack, type Message, type Position, positionOf } from "./protocol.js";
import type { Requests } from "./requests.js";
import type { Settings } from "./settings.js";
import { type Subscribed, type SubscribeOptions, Subscription, type SubscriptionEvents } from "./subscription.js";

/** Payloads by event: `{ chat: { text: string }; move: [number, number] }`. */
export type EventMap = object;

/** The names of the events of `Events`. */
export type EventName<Events extends EventMap> = keyof Events & string;

/** Any message of `Events`. Where `event` is known, so is the type of `payload`. */
export type MessageOf<Events extends EventMap> = {
  [Name in EventName<Events>]: Message<Events[Name], Name>;
}[EventName<Events>];

/** How to publish. */
export interface PublishOptions extends RequestOptions {
  /** A name of the message's own: published twice within the server's recovery window, it is delivered once. */
  messageId?: string | undefined;
  /** What the message is the latest state of, on channels that deliver only the latest. */
  key?: string | undefined;
  /** `false`: not to this client. Default true. */
  echo?: boolean | undefined;
}

/** The server took a message. */
export interface Published {
  readonly messageId: string;
  /** Its place in the log, if the channel has one. */
  readonly position?: Position | undefined;
}

/** Which part of the history. */
export interface HistoryOptions extends RequestOptions {
  /** At most so many messages, the newest unless `after` is given. Default 100. */
  limit?: number | undefined;
  /** Only messages with smaller offsets. */
  before?: number | undefined;
  /** Only messages with greater offsets. */
  after?: number | undefined;
}

/** A part of the history. */
export interface History<Events extends EventMap> {
  /** The oldest first. */
  readonly messages: MessageOf<Events>[];
  /** Where the log stands. */
  readonly position: Position | undefined;
}

/** One channel of a client, with the types of its events. Made by `client.channel(name)`. */
export class Channel<Events extends EventMap = Record<string, unknown>> {
  readonly name: string;
  /** Who is there. */
  readonly presence: Presence;
  #requests: Requests;
  #subscription: Subscription;
  #connect: () => void;
  #messages = new Emitter<Record<string, Message>>();
  #all = new Emitter<{ message: Message }>();
  #happenings = new Emitter<SubscriptionEvents>();
  #queues = new Set<MessageQueue<Message>>();

  /** @internal */
  constructor(name: string, settings: Settings, requests: Requests, connect: () => void) {
    this.name = name;
    this.#requests = requests;
    this.#connect = connect;
    this.presence = new Presence(name, requests, connect);
    this.#subscription = new Subscription(name, settings, requests, {
      message: (message) => {
        this.#messages.emit(message.event, message);
        this.#all.emit("message", message);
      },
      happened: (happening, event) => {
        if (happening === "unsubscribed") this.#over();
        this.#happenings.emit(happening, event);
      },
      own: () => this.presence.own,
      paused: () => this.presence.pause(),
    });
  }

  /** Whether the server delivers messages of this channel at the moment. */
  get isSubscribed(): boolean {
    return this.#subscription.isLive;
  }

  /** Behind which message this client would go on; store it to go on in another run with `recover`. */
  get position(): Position | undefined {
    return this.#subscription.position;
  }

  /**
   * Subscribes, now and after every reconnect, until `unsubscribe`. Waits for a connection as long as it takes; bound it
   * by `timeout` or `signal`. Rejects with the server's code. Of further calls only `presence` and `data` count.
   */
  async subscribe(options: SubscribeOptions = {}): Promise<Subscribed> {
    this.#connect();
    if (!this.#subscription.isWanted) this.presence.entered(options.data);
    else if (options.data !== undefined) this.presence.enter(options.data).catch(() => {});
    return this.#subscription.subscribe(options);
  }

  /** Ends the subscription, its iterators and presence. Resolves when the server knows; offline, at once. */
  async unsubscribe(options?: RequestOptions): Promise<void> {
    const left = this.#subscription.unsubscribe(undefined, options);
    this.#over();
    await left;
  }

  /** Calls `listener` with each message of one event. */
  on<Name extends EventName<Events>>(event: Name, listener: (message: Message<Events[Name], Name>) => void): Off {
    return this.#messages.on(event, listener as (message: Message) => void);
  }

  /** Calls `listener` with each message. */
  onMessage(listener: (message: MessageOf<Events>) => void): Off {
    return this.#all.on("message", listener as unknown as (message: Message) => void);
  }

  /** Calls `listener` when something happens to the subscription. */
  watch<Name extends keyof SubscriptionEvents>(name: Name, listener: (event: SubscriptionEvents[Name]) => void): Off {
    return this.#happenings.on(name, listener);
  }

  /**
   * Messages from now on, as an async iterator. It ends with `unsubscribe`, with the end of the subscription or the
   * client, with its signal, and with the loop.
   */
  messages<Name extends EventName<Events> = EventName<Events>>(
    options: IterateOptions<Name> = {},
  ): AsyncIterableIterator<Extract<MessageOf<Events>, { event: Name }>> {
    const { event } = options;
    const push = (message: Message) => queue.push(message);
    const off = event === undefined ? this.#all.on("message", push) : this.#messages.on(event, push);
    const queue = new MessageQueue<Message>(options, () => {
      off();
      this.#queues.delete(queue);
    });
    this.#queues.add(queue);
    return queue as unknown as AsyncIterableIterator<Extract<MessageOf<Events>, { event: Name }>>;
  }

  /** The same as {@link messages} of every event. */
  [Symbol.asyncIterator](): AsyncIterableIterator<MessageOf<Events>> {
    return this.messages() as AsyncIterableIterator<MessageOf<Events>>;
  }

  /**
   * Publishes; offline, as soon as there is a connection, in order. After a lost connection it is sent again under the
   * same `messageId`, which the server delivers once. Resolves when the server took it.
   */
  async publish<Name extends EventName<Events>>(
    event: Name,
    payload: Events[Name],
    { messageId = newId(), key, echo, ...options }: PublishOptions = {},
  ): Promise<Published> {
    this.#connect();
    const silent = echo === false ? this.#subscription.silent : undefined;
    silent?.published(messageId);
    return new Promise((resolve, reject) => {
      const request = { type: "publish" as const, channel: this.name, event, payload, messageId, key, echo };
      this.#requests.start(request, "again", options, {
        resolve: (ack: Ack) => {
          silent?.settled(ack);
          resolve({ messageId: ack.messageId ?? messageId, position: positionOf(ack) });
        },
        reject: (error) => {
          silent?.settled();
          reject(error);
        },
      });
    });
  }

  /** Asks for messages that the server keeps; no subscription is needed. */
  async history({ limit, before, after, ...options }: HistoryOptions = {}): Promise<History<Events>> {
    this.#connect();
    const request = { type: "history" as const, channel: this.name, limit, before, after };
    const ack = await this.#requests.request(request, "again", options);
    return { messages: (ack.messages ?? []) as unknown as MessageOf<Events>[], position: positionOf(ack) };
  }

  /** @internal What the client passes on of what the server says. */
  get subscription(): Subscription {
    return this.#subscription;
  }

  /** @internal The client ended. */
  ended(error: StarlingError): void {
    this.#subscription.ended(error);
    this.#over();
  }

  /** Nothing will come until the next `subscribe`. */
  #over(): void {
    for (const queue of [...this.#queues]) queue.end();
    this.presence.clear();
  }
}

/** A name that no other message has. Not `randomUUID`, which pages without TLS do not have. */
function newId(): string {
  return crypto.getRandomValues(new Uint32Array(4)).join("-");
}
