//#region src/backoff.d.ts
/** How long to wait before the next attempt: exponential, with full jitter. */
/** Bounds of the waiting time. */
interface BackoffOptions {
  /** The longest first delay, in milliseconds. Default 1000. */
  base?: number;
  /** The longest delay of all, in milliseconds. Default 30,000. */
  cap?: number;
}
/**
 * Delays that double, each a random part of the whole, so that clients which lost a server together do not come back
 * together: the n-th delay is evenly spread over 0 to min(cap, base × 2ⁿ).
 */
declare class Backoff {
  #private;
  readonly cap: number;
  constructor(random: () => number, {
    base,
    cap
  }?: BackoffOptions);
  /** The next delay, in milliseconds. */
  next(): number;
  /** Makes the next delay at least the one of attempt `attempts`, for servers that asked for patience. */
  skip(attempts: number): void;
  /** After a connection proved stable. */
  reset(): void;
}
//#endregion
//#region src/environment.d.ts
/**
 * What the client needs from where it runs: a clock, timers, random numbers, sockets. Everything else takes it from
 * here, so that a test can bring its own.
 */
/** A task that was scheduled; only good for {@link Environment.clearTimeout}. */
type Timer = unknown;
/** The part of the standard `WebSocket` that is used. The one of the package `ws` has it too. */
interface Socket {
  binaryType: string;
  readonly protocol: string;
  onopen: ((event: never) => void) | null;
  onmessage: ((event: {
    data: unknown;
  } & never) => void) | null;
  onerror: ((event: never) => void) | null;
  onclose: ((event: {
    code: number;
    reason: string;
  } & never) => void) | null;
  send(data: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
}
/** Opens a {@link Socket}. */
type SocketConstructor = new (url: string, protocols: string[]) => Socket;
/** Something that can be listened to: `window`, `document`. */
interface Target {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}
/** Clock, timers, random numbers and sockets. Every part has the platform's own as default. */
interface Environment {
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
  page: (Target & {
    readonly visibilityState?: string;
  }) | undefined;
}
//#endregion
//#region src/deadline.d.ts
/** Bounds of the wait for an answer. */
interface RequestOptions {
  /** Milliseconds from the call to the answer, also while offline; 0: for ever. Default: that of the client. */
  timeout?: number | undefined;
  /** Gives up when it is aborted. What was sent already may have been done. */
  signal?: AbortSignal | undefined;
}
//#endregion
//#region src/emitter.d.ts
/** Listeners by the name of what they listen to. */
/** Ends what it was returned for. Calling it twice does no harm. */
type Off = () => void;
//#endregion
//#region src/errors.d.ts
/** What can go wrong, in the words of the server and a few of the client's own. */
/** Codes that a Starling server answers with. An application's hook may send others. */
type ServerErrorCode = "INVALID_MESSAGE" | "MISSING_TYPE" | "UNKNOWN_TYPE" | "AUTH_REQUIRED" | "TOKEN_INVALID" | "TOKEN_EXPIRED" | "FORBIDDEN" | "INVALID_CHANNEL" | "NOT_SUBSCRIBED" | "ALREADY_SUBSCRIBED" | "RATE_LIMITED" | "LIMIT_EXCEEDED" | "PAYLOAD_TOO_LARGE" | "NO_HISTORY" | "NO_PRESENCE" | "HOOK_FAILED" | "ENGINE_UNAVAILABLE" | "INTERNAL";
/**
 * Codes of the client itself:
 *
 * - `TIMEOUT`: no answer in time. A publish may have happened all the same.
 * - `CLOSED`: the client was closed, or the channel unsubscribed, before the answer.
 * - `CONNECTION_LOST`: the connection ended; the client comes back by itself.
 * - `SLOW_CONSUMER`: the server ended the connection because this client read too slowly.
 * - `PROTOCOL`: the server said something that is no Starling message.
 * - `QUEUE_FULL`: too many publishes await their acknowledgement.
 * - `OVERFLOW`: an async iterator was consumed too slowly.
 * - `TOKEN_SOURCE`: the token function threw.
 */
type ClientErrorCode = "TIMEOUT" | "CLOSED" | "CONNECTION_LOST" | "SLOW_CONSUMER" | "PROTOCOL" | "QUEUE_FULL" | "OVERFLOW" | "TOKEN_SOURCE";
/** A server's code, a client's code, or one that an application's hook made up. */
type ErrorCode = ServerErrorCode | ClientErrorCode | (string & {});
/** Every error that the client rejects or reports. */
declare class StarlingError extends Error {
  /** What a program tells errors apart by. */
  readonly code: ErrorCode;
  readonly name = "StarlingError";
  constructor(/** What a program tells errors apart by. */

  code: ErrorCode, /** For people. */

  message?: string, options?: ErrorOptions);
}
//#endregion
//#region src/protocol.d.ts
/** The messages of the native protocol, and how those of the server are checked. */
/** A place in a channel's log. */
interface Position {
  /** Changes when the log is lost or restarted. */
  readonly epoch: string;
  /** 1, 2, 3, … within the epoch. */
  readonly offset: number;
}
/** A message of a channel. */
interface Message<Payload = unknown, Event extends string = string> {
  readonly channel: string;
  readonly event: Event;
  /** Any JSON value, or bytes. */
  readonly payload: Payload;
  readonly id: string;
  /** Unix milliseconds, by the server's clock. */
  readonly ts: number;
  /** The user who published it; absent for the application and for anonymous connections. */
  readonly userId?: string;
  /** Where the channel keeps history: its place. */
  readonly offset?: number;
  readonly epoch?: string;
}
/** A connection that entered the presence of a channel. */
interface Member<Data = unknown> {
  /** `null` for an anonymous connection. */
  readonly userId: string | null;
  readonly connectionId: string;
  readonly data: Data;
}
/** What is sent as the first message, and again to renew the token. */
interface AuthMessage {
  type: "auth";
  token?: string | undefined;
  id?: number;
}
/** Requests to the server; an `id` is added when one is sent. What is `undefined` is left out. */
type ClientRequest = {
  type: "subscribe";
  channel: string;
  recover?: Position | undefined;
  rewind?: number | undefined;
  presence?: boolean | undefined;
  data?: unknown;
} | {
  type: "unsubscribe";
  channel: string;
} | {
  type: "publish";
  channel: string;
  event: string;
  payload: unknown;
  messageId: string;
  key?: string | undefined;
  echo?: boolean | undefined;
} | {
  type: "history";
  channel: string;
  limit?: number | undefined;
  before?: number | undefined;
  after?: number | undefined;
} | {
  type: "presence";
  channel: string;
  action: "get" | "enter" | "update" | "leave";
  data?: unknown;
} | {
  type: "event";
  event: string;
  payload: unknown;
  channel?: string | undefined;
};
/** What a client says. */
type ClientMessage = AuthMessage | {
  type: "ping";
} | (ClientRequest & {
  id: number;
});
/** The fields that an `ack` may have, by request. */
interface Ack {
  type: "ack";
  id: number;
  channel?: string;
  epoch?: string;
  offset?: number;
  recovered?: boolean;
  messageId?: string;
  messages?: Message[];
  members?: Member[];
  payload?: unknown;
}
/** The server's answer to `auth`. */
interface Welcome {
  type: "auth_ack";
  userId?: string | null;
  connectionId: string;
  /** When the token expires, Unix milliseconds. */
  expiresAt?: number;
}
/** What a server says. */
type ServerMessage = Ack | Welcome | {
  type: "error";
  code: string;
  message: string;
  id?: number;
  channel?: string;
} | (Message & {
  type: "message";
}) | {
  type: "presence_state";
  channel: string;
  members: Member[];
} | {
  type: "presence_diff";
  channel: string;
  joins: Member[];
  leaves: Member[];
} | {
  type: "gap";
  channel: string;
  missed: number;
} | {
  type: "unsubscribed";
  channel: string;
  code: string;
  message: string;
} | {
  type: "subscribed";
  channel: string;
  epoch?: string;
  offset?: number;
} | {
  type: "drain";
  reconnectIn: number;
} | {
  type: "pong";
};
//#endregion
//#region src/messages.d.ts
/** How to iterate. */
interface IterateOptions<Event extends string = string> {
  /** Only messages with this event. */
  event?: Event;
  /** Ends the iteration when it is aborted; messages that came before are still given. */
  signal?: AbortSignal;
  /** Messages that may wait for the loop; with more the iteration throws `OVERFLOW`. Default 1000. */
  limit?: number;
}
//#endregion
//#region src/presence.d.ts
/** A change of the set of members. */
interface PresenceChange<Data = unknown> {
  /** Who came, and who changed its data. */
  readonly joins: readonly Member<Data>[];
  readonly leaves: readonly Member<Data>[];
}
/** The presence of one channel. */
declare class Presence<Data = unknown> {
  #private;
  /**
   * Who is there, by connection id: a live set where the channel is subscribed with `presence: true`, empty otherwise.
   * While offline it is the last that was known; what changed meanwhile comes as one change afterwards.
   */
  get members(): ReadonlyMap<string, Member<Data>>;
  /** Whether the server keeps the set up to date at the moment. */
  get isLive(): boolean;
  /** Calls `listener` after each change of {@link members}. */
  onChange(listener: (change: PresenceChange<Data>) => void): Off;
  /** Enters the channel, which must be subscribed; also again after a reconnect. `data` defaults to the token's `info`. */
  enter(data?: Data, options?: RequestOptions): Promise<void>;
  /** Changes what is shown of this connection. */
  update(data: Data, options?: RequestOptions): Promise<void>;
  /** Leaves the presence, not the channel. */
  leave(options?: RequestOptions): Promise<void>;
  /** Asks the server who is there now; no subscription is needed. */
  get(options?: RequestOptions): Promise<Member<Data>[]>;
}
//#endregion
//#region src/codec.d.ts
/** Turns messages into what a socket carries, and back. */
interface Codec {
  /** The WebSocket subprotocol that stands for it. */
  readonly subprotocol: string;
  encode(message: ClientMessage): string | Uint8Array<ArrayBuffer>;
  /** Throws whatever it likes at what it cannot read: the connection is then given up. */
  decode(data: string | Uint8Array<ArrayBuffer>): unknown;
}
/** JSON text. Bytes as payload travel as base64. Numbers beyond 2^53 lose digits, as `JSON.parse` has it. */
declare const json: Codec;
//#endregion
//#region src/heartbeat.d.ts
/** How a dead connection is found. */
interface HeartbeatOptions {
  /** How long nothing may be heard before the server is asked for a sign of life, in milliseconds. Default 8000. */
  interval?: number;
  /**
   * How long the answer may take before the connection is given up, in milliseconds. Default 5000. A server does not
   * read while one of its hooks decides about a message: keep it above the hooks' timeout.
   */
  timeout?: number;
}
//#endregion
//#region src/token.d.ts
/** A token, or a function that fetches one. `null` and `undefined`: connect without. */
type TokenSource = string | (() => string | null | undefined | Promise<string | null | undefined>);
//#endregion
//#region src/transport/transport.d.ts
/** One way to reach a server. */
interface Transport {
  readonly name: string;
  /** Whether the platform has what it takes. */
  isSupported(environment: Environment): boolean;
  /** Starts to connect and authenticate. Reports asynchronously, never before it returned. */
  open(request: LinkRequest, events: LinkEvents): Link;
}
/** What a transport is given to connect. */
interface LinkRequest {
  readonly environment: Environment;
  /** The server's address, with a path that ends in `/`: `https://example.com/`. */
  readonly base: URL;
  readonly codec: Codec;
  readonly token: string | undefined;
}
/** What a link tells. Nothing is told after `lost`, or after {@link Link.close}. */
interface LinkEvents {
  /** The server agreed; messages may be sent. Once. */
  opened(welcome: Welcome): void;
  receive(message: ServerMessage): void;
  /** Anything at all came: the path is alive. */
  heard(): void;
  /** It could not be opened, or is open no longer. */
  lost(loss: Loss): void;
}
/** Why there is no link any more. */
interface Loss {
  readonly error: StarlingError;
  /** The WebSocket close code, where there was one. */
  readonly closeCode?: number;
}
/** A connection, or one in the making. */
interface Link {
  /** Whether silence has to be questioned with pings; otherwise the link itself notices that the path is dead. */
  readonly needsPings: boolean;
  send(message: ClientMessage): void;
  /** Hands the server a fresh token. */
  renew(token: string): void;
  /** Asks for any sign of life. */
  ping(): void;
  /** Ends it, also while it is being opened. */
  close(): void;
}
//#endregion
//#region src/settings.d.ts
/** How a client behaves. All times are in milliseconds. */
interface ClientOptions {
  /**
   * A token, or a function that fetches one: asked when there is none yet, before the last one expires, and when the
   * server refused it (once; refused again, the client is `failed`). Default: anonymous.
   */
  token?: TokenSource;
  /** What messages look like on a WebSocket. Default JSON; `@starling/client/msgpack` has another. */
  codec?: Codec;
  /**
   * Ways to the server, the best first, as far as the platform has them. Default `[websocket(), sse(), poll()]`; with the
   * client of `@starling/client/core`, which is smaller, `[websocket()]`.
   */
  transports?: Transport[];
  /** Delays between attempts. */
  backoff?: BackoffOptions;
  /** How long a connection must last until the delays start small again. Default 10,000. */
  stableAfter?: number;
  /** How long token, connection and authentication may take together. Default 10,000. */
  connectTimeout?: number;
  /** How a dead connection is found. */
  heartbeat?: HeartbeatOptions;
  /** How long a fallback is used before better transports are tried beside it; doubles up to 10 min. Default 15,000. */
  upgradeAfter?: number;
  /** How long an answer to a request other than publish may take, offline time included. 0: for ever. Default 10,000. */
  timeout?: number;
  /**
   * The same for a publish, which is sent again after a lost connection. Default 60,000: below the two minutes in which
   * a server recognises a repeated `messageId` by default, so that sending again never publishes twice.
   */
  publishTimeout?: number;
  /** Publishes that may await their acknowledgement, online and offline; more are `QUEUE_FULL`. Default 1000. */
  queue?: number;
  /** Clock, timers, random numbers, sockets. On Node 20 `{ WebSocket }` of the package `ws`. Default: the platform's. */
  environment?: Partial<Environment>;
}
//#endregion
//#region src/subscription.d.ts
/** How to subscribe. */
interface SubscribeOptions extends RequestOptions {
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
interface Subscribed {
  /** Where the log stands, if the channel has one. */
  readonly position?: Position | undefined;
  /** Where messages may have been missed, whether all of them follow. Absent the first time, without `recover`. */
  readonly recovered?: boolean | undefined;
}
/** Messages that will not come. */
interface Gap {
  /** How many. */
  readonly missed: number;
  /** Whether the server said so. Otherwise offsets were skipped: superseded messages, those kept from us, or a fault. */
  readonly announced: boolean;
}
/** What happens to a subscription. */
interface SubscriptionEvents {
  subscribed: Subscribed;
  /** After a reconnect: whether every missed message follows. If not, what the application shows may be stale. */
  recovered: {
    recovered: boolean;
  };
  gap: Gap;
  /** The server ended it, or refused to renew it. */
  unsubscribed: StarlingError;
}
//#endregion
//#region src/channel.d.ts
/** Payloads by event: `{ chat: { text: string }; move: [number, number] }`. */
type EventMap = object;
/** The names of the events of `Events`. */
type EventName<Events extends EventMap> = keyof Events & string;
/** Any message of `Events`. Where `event` is known, so is the type of `payload`. */
type MessageOf<Events extends EventMap> = { [Name in EventName<Events>]: Message<Events[Name], Name> }[EventName<Events>];
/** How to publish. */
interface PublishOptions extends RequestOptions {
  /** A name of the message's own: published twice within the server's recovery window, it is delivered once. */
  messageId?: string | undefined;
  /** What the message is the latest state of, on channels that deliver only the latest. */
  key?: string | undefined;
  /** `false`: not to this client. Default true. */
  echo?: boolean | undefined;
}
/** The server took a message. */
interface Published {
  readonly messageId: string;
  /** Its place in the log, if the channel has one. */
  readonly position?: Position | undefined;
}
/** Which part of the history. */
interface HistoryOptions extends RequestOptions {
  /** At most so many messages, the newest unless `after` is given. Default 100. */
  limit?: number | undefined;
  /** Only messages with smaller offsets. */
  before?: number | undefined;
  /** Only messages with greater offsets. */
  after?: number | undefined;
}
/** A part of the history. */
interface History<Events extends EventMap> {
  /** The oldest first. */
  readonly messages: MessageOf<Events>[];
  /** Where the log stands. */
  readonly position: Position | undefined;
}
/** One channel of a client, with the types of its events. Made by `client.channel(name)`. */
declare class Channel<Events extends EventMap = Record<string, unknown>> {
  #private;
  readonly name: string;
  /** Who is there. */
  readonly presence: Presence;
  /** Whether the server delivers messages of this channel at the moment. */
  get isSubscribed(): boolean;
  /** Behind which message this client would go on; store it to go on in another run with `recover`. */
  get position(): Position | undefined;
  /**
   * Subscribes, now and after every reconnect, until `unsubscribe`. Waits for a connection as long as it takes; bound it
   * by `timeout` or `signal`. Rejects with the server's code. Further calls change nothing.
   */
  subscribe(options?: SubscribeOptions): Promise<Subscribed>;
  /** Ends the subscription, its iterators and presence. Resolves when the server knows; offline, at once. */
  unsubscribe(options?: RequestOptions): Promise<void>;
  /** Calls `listener` with each message of one event. */
  on<Name extends EventName<Events>>(event: Name, listener: (message: Message<Events[Name], Name>) => void): Off;
  /** Calls `listener` with each message. */
  onMessage(listener: (message: MessageOf<Events>) => void): Off;
  /** Calls `listener` when something happens to the subscription. */
  watch<Name extends keyof SubscriptionEvents>(name: Name, listener: (event: SubscriptionEvents[Name]) => void): Off;
  /**
   * Messages from now on, as an async iterator. It ends with `unsubscribe`, with the end of the subscription or the
   * client, with its signal, and with the loop.
   */
  messages<Name extends EventName<Events> = EventName<Events>>(options?: IterateOptions<Name>): AsyncIterableIterator<Extract<MessageOf<Events>, {
    event: Name;
  }>>;
  /** The same as {@link messages} of every event. */
  [Symbol.asyncIterator](): AsyncIterableIterator<MessageOf<Events>>;
  /**
   * Publishes; offline, as soon as there is a connection, in order. After a lost connection it is sent again under the
   * same `messageId`, which the server delivers once. Resolves when the server took it.
   */
  publish<Name extends EventName<Events>>(event: Name, payload: Events[Name], {
    messageId,
    key,
    echo,
    ...options
  }?: PublishOptions): Promise<Published>;
  /** Asks for messages that the server keeps; no subscription is needed. */
  history({
    limit,
    before,
    after,
    ...options
  }?: HistoryOptions): Promise<History<Events>>;
}
//#endregion
//#region src/connection.d.ts
/**
 * Where a client stands:
 *
 * - `idle`: not asked to connect yet; `closed`: asked to end.
 * - `connecting`, `connected`; `waiting`: for the next attempt.
 * - `failed`: the server refused the token; it stays so until `connect()` is called again.
 */
type State = "idle" | "connecting" | "connected" | "waiting" | "failed" | "closed";
/** A state with what belongs to it. */
interface Status {
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
//#endregion
//#region src/client.d.ts
/** What a client tells. */
interface ClientEvents {
  /** It has a new state. */
  status: Status;
  /** A message to the user, or of a channel that `client.channel` was never called for. */
  message: Message;
  /** The server restarts soon; the client moves when it was told to. */
  drain: {
    readonly reconnectIn: number;
  };
  /** Something that went wrong and that no promise tells: a token that could not be renewed, a refused message. */
  error: StarlingError;
}
/** A client of one Starling server. Does nothing until it is used. */
declare class Client {
  #private;
  /**
   * @param url - the server's address without `/ws`: `https://example.com`, also with `wss:` or a path before it
   * @throws TypeError - it is no such address
   */
  constructor(url: string | URL, options?: ClientOptions);
  /** Where the client stands. */
  get status(): Status;
  /** Calls `listener` with each event of that name. */
  on<Name extends keyof ClientEvents>(name: Name, listener: (event: ClientEvents[Name]) => void): Off;
  /**
   * Connects, and stays connected until `close`. Also called by what needs a connection, unless the client was closed
   * or has failed. While it waits for the next attempt, that one is made at once.
   */
  connect(): void;
  /**
   * Ends the connection. Whoever waits is told `CLOSED`; iterators end; no timer or listener stays. Subscriptions that
   * were made are made again, with recovery, if `connect` is called.
   */
  close(): void;
  /** The channel of that name; always the same object. */
  channel<Events extends EventMap = Record<string, unknown>>(name: string): Channel<Events>;
  /**
   * Sends an event to the application behind the server, and resolves with its reply. It is sent once: if the connection
   * is lost before the answer it rejects with `CONNECTION_LOST`, and the application may have had it.
   */
  request<Reply = unknown>(event: string, payload: unknown, {
    channel,
    ...options
  }?: RequestOptions & {
    channel?: string;
  }): Promise<Reply>;
}
//#endregion
//#region src/transport/websocket.d.ts
/** Options of {@link websocket}. */
interface WebSocketOptions {
  /**
   * How the token reaches the server: as the first message, or as a subprotocol of the upgrade, for servers that are
   * configured with `when = "upgrade"`. A browser does not tell why an upgrade was refused, so that with the latter a
   * bad token is noticed by the next transport. Default `"message"`.
   */
  token?: "message" | "subprotocol";
}
/** WebSocket on `/ws`. */
declare function websocket({
  token
}?: WebSocketOptions): Transport;
//#endregion
export { BackoffOptions as $, PresenceChange as A, Welcome as B, Loss as C, Codec as D, HeartbeatOptions as E, ClientRequest as F, Off as G, ErrorCode as H, Member as I, Socket as J, RequestOptions as K, Message as L, Ack as M, AuthMessage as N, json as O, ClientMessage as P, Backoff as Q, Position as R, LinkRequest as S, TokenSource as T, ServerErrorCode as U, ClientErrorCode as V, StarlingError as W, Target as X, SocketConstructor as Y, Timer as Z, Subscribed as _, State as a, Link as b, EventMap as c, HistoryOptions as d, MessageOf as f, SubscribeOptions as g, Gap as h, ClientEvents as i, IterateOptions as j, Presence as k, EventName as l, Published as m, websocket as n, Status as o, PublishOptions as p, Environment as q, Client as r, Channel as s, WebSocketOptions as t, History as u, SubscriptionEvents as v, Transport as w, LinkEvents as x, ClientOptions as y, ServerMessage as z };
//# sourceMappingURL=core-CzzFSFE2.d.cts.map