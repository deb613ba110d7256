/** The client: channels over one connection. */

import { Channel, type EventMap } from "./channel.js";
import { Connection, type Status } from "./connection.js";
import type { RequestOptions } from "./deadline.js";
import { Emitter, type Off } from "./emitter.js";
import { StarlingError } from "./errors.js";
import { type Message, positionOf, type ServerMessage } from "./protocol.js";
import { Requests } from "./requests.js";
import { type ClientOptions, type Settings, settings } from "./settings.js";
import { Tokens } from "./token.js";

type OfChannel = Exclude<Extract<ServerMessage, { channel: string }>, { type: "error" | "ack" | "event" }>;

/** What the application says to this connection alone. */
export interface ServerEvent {
  readonly event: string;
  /** Any JSON value, or bytes. */
  readonly payload: unknown;
  /** Which channel it is about. */
  readonly channel?: string;
  /**
   * Where the application waits for a reply: gives it, as any JSON value or bytes. Of several the first one counts; after
   * the connection on which it was asked is lost, nothing happens.
   */
  readonly reply?: (payload?: unknown) => void;
}

/** What a client tells. */
export interface ClientEvents {
  /** It has a new state. */
  status: Status;
  /** A message to the user, or of a channel that `client.channel` was never called for. */
  message: Message;
  /** The application says something to this connection alone, or asks. */
  event: ServerEvent;
  /** The server restarts soon; the client moves when it was told to. */
  drain: { readonly reconnectIn: number };
  /** Something that went wrong and that no promise tells: a token that could not be renewed, a refused message. */
  error: StarlingError;
}

/** A client of one Starling server. Does nothing until it is used. */
export class Client {
  #settings: Settings;
  #events = new Emitter<ClientEvents>();
  #requests: Requests;
  #connection: Connection;
  #channels = new Map<string, Channel>();

  /**
   * @param url - the server's address without `/ws`: `https://example.com`, also with `wss:` or a path before it
   * @throws TypeError - it is no such address
   */
  constructor(url: string | URL, options: ClientOptions = {}) {
    this.#settings = settings(url, options);
    this.#requests = new Requests(this.#settings);
    this.#connection = new Connection(this.#settings, new Tokens(options.token, this.#settings.environment), {
      status: (status) => this.#events.emit("status", status),
      complain: (error) => this.#events.emit("error", error),
      receive: (message) => this.#receive(message),
      attached: () => {
        for (const { subscription } of this.#channels.values()) subscription.attached();
        this.#requests.attach((message) => this.#connection.send(message));
      },
      detached: (error) => {
        for (const { subscription } of this.#channels.values()) subscription.detached();
        this.#requests.detach(error);
      },
      ended: (error) => {
        for (const channel of this.#channels.values()) channel.ended(error);
        this.#requests.end(error);
      },
    });
  }

  /** Where the client stands. */
  get status(): Status {
    return this.#connection.status;
  }

  /** Calls `listener` with each event of that name. */
  on<Name extends keyof ClientEvents>(name: Name, listener: (event: ClientEvents[Name]) => void): Off {
    return this.#events.on(name, listener);
  }

  /**
   * Connects, and stays connected until `close`. Also called by what needs a connection, unless the client was closed
   * or has failed. While it waits for the next attempt, that one is made at once.
   */
  connect(): void {
    this.#connection.connect();
  }

  /**
   * Ends the connection. Whoever waits is told `CLOSED`; iterators end; no timer or listener stays. Subscriptions that
   * were made are made again, with recovery, if `connect` is called.
   */
  close(): void {
    this.#connection.close();
  }

  /** The channel of that name; always the same object. */
  channel<Events extends EventMap = Record<string, unknown>>(name: string): Channel<Events> {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = new Channel(name, this.#settings, this.#requests, () => this.#need());
      this.#channels.set(name, channel);
      if (this.status.state === "connected") channel.subscription.attached();
    }
    return channel as unknown as Channel<Events>;
  }

  /**
   * Sends an event to the application behind the server, and resolves with its reply. It is sent once: if the connection
   * is lost before the answer it rejects with `CONNECTION_LOST`, and the application may have had it.
   */
  async request<Reply = unknown>(
    event: string,
    payload: unknown,
    { channel, ...options }: RequestOptions & { channel?: string } = {},
  ): Promise<Reply> {
    this.#need();
    const request = { type: "event" as const, event, payload, channel };
    return (await this.#requests.request(request, "lost", options)).payload as Reply;
  }

  /** Connects for the first time. Who closed the client opens it again. */
  #need(): void {
    if (this.status.state === "idle") this.connect();
    // A listener may have closed it meanwhile.
    const { state, error } = this.status;
    if (state === "closed" || state === "failed") throw error ?? new StarlingError("CLOSED");
  }

  #receive(message: ServerMessage): void {
    switch (message.type) {
      case "ack":
        return this.#requests.answered(message);
      case "error": {
        const error = new StarlingError(message.code, message.message);
        if (message.id !== undefined) this.#requests.refused(message.id, error);
        else this.#events.emit("error", error);
        return;
      }
      case "drain":
        this.#events.emit("drain", { reconnectIn: message.reconnectIn });
        return;
      case "event": {
        const { type: _, ack, ...content } = message;
        const { status } = this;
        const reply = (payload: unknown = null) => {
          // On the connection on which it was asked.
          if (status === this.status) this.#connection.send({ type: "reply", ack, payload });
        };
        return this.#events.emit("event", ack ? { ...content, reply } : content);
      }
      default:
        // What names no channel is of no concern here.
        this.#receiveOf(message as OfChannel);
    }
  }

  /** What concerns a channel. */
  #receiveOf(message: OfChannel): void {
    const channel = this.#channels.get(message.channel);
    if (message.type === "message") {
      const { type: _, ...content } = message;
      if (channel) channel.subscription.message(content);
      else this.#events.emit("message", content);
      return;
    }
    if (!channel) return;
    const { subscription, presence } = channel;
    switch (message.type) {
      case "presence_state":
        return presence.replace(message.members);
      case "presence_diff":
        return presence.apply(message.joins, message.leaves);
      case "gap":
        return subscription.gap(message.missed);
      case "unsubscribed":
        return subscription.removed(new StarlingError(message.code, message.message));
      case "subscribed":
        return subscription.added(positionOf(message));
    }
  }
}
