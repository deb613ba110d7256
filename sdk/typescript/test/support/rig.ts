/** A client on virtual time, with sockets whose other end is the test. */

import { Client, type ClientOptions, type Environment, type Socket, type Status, websocket } from "../../src/index.js";
import { Clock, settle } from "./clock.js";

type Json = Record<string, unknown>;

/** A socket as a server sees it. */
export class FakeSocket implements Socket {
  binaryType = "blob";
  readonly protocol = "starling.v1.json";
  onopen: ((event: never) => void) | null = null;
  onmessage: ((event: never) => void) | null = null;
  onerror: ((event: never) => void) | null = null;
  onclose: ((event: never) => void) | null = null;
  /** What the client sent and the test did not look at yet. */
  readonly sent: Json[] = [];
  closedWith: number | undefined;
  isClosed = false;

  constructor(
    readonly url: string,
    readonly protocols: string[],
  ) {}

  send(data: string | Uint8Array): void {
    if (!this.isClosed) this.sent.push(JSON.parse(data as string) as Json);
  }

  close(code?: number): void {
    this.closedWith = code;
    this.isClosed = true;
  }

  /** The connection is there. */
  async open(): Promise<void> {
    this.onopen?.({} as never);
    await settle();
  }

  /** The server says `message`. */
  async say(message: Json | string): Promise<void> {
    this.onmessage?.({ data: typeof message === "string" ? message : JSON.stringify(message) } as never);
    await settle();
  }

  /** The connection ends. */
  async end(code = 1006, reason = ""): Promise<void> {
    this.isClosed = true;
    this.onclose?.({ code, reason } as never);
    await settle();
  }

  /** Opens it, takes the client's `auth` and agrees. */
  async welcome(more: Json = {}): Promise<Json> {
    await this.open();
    const auth = this.take("auth");
    await this.say({ type: "auth_ack", userId: "ann", connectionId: "c1", ...more });
    return auth;
  }

  /** The next thing the client sent, which must be of this type. */
  take(type: string): Json {
    const message = this.sent.shift();
    if (message?.type !== type) throw new Error(`${type} expected, not ${JSON.stringify(message)}`);
    return message;
  }

  /** Takes a request of this type and acknowledges it with `more`. */
  async ack(type: string, more: Json = {}): Promise<Json> {
    const request = this.take(type);
    await this.say({ type: "ack", id: request.id, ...more });
    return request;
  }

  /** Takes a request of this type and refuses it. */
  async refuse(type: string, code: string): Promise<Json> {
    const request = this.take(type);
    await this.say({ type: "error", id: request.id, code, message: "no" });
    return request;
  }
}

/** Counts its listeners. */
export class FakeTarget {
  readonly visibilityState = "visible";
  #listeners = new Map<() => void, string>();

  addEventListener(type: string, listener: () => void): void {
    this.#listeners.set(listener, type);
  }

  removeEventListener(_: string, listener: () => void): void {
    this.#listeners.delete(listener);
  }

  get listeners(): number {
    return this.#listeners.size;
  }

  async fire(type: string): Promise<void> {
    for (const [listener, of] of [...this.#listeners]) if (of === type) listener();
    await settle();
  }
}

export class Rig {
  readonly clock = new Clock();
  readonly sockets: FakeSocket[] = [];
  readonly network = new FakeTarget();
  readonly page = new FakeTarget();
  readonly client: Client;
  readonly statuses: Status[] = [];
  /** What `random()` returns. */
  random = 0.5;

  constructor({ environment, ...options }: ClientOptions = {}) {
    const { sockets } = this;
    const surroundings: Partial<Environment> = {
      now: this.clock.now,
      setTimeout: this.clock.setTimeout,
      clearTimeout: this.clock.clearTimeout,
      random: () => this.random,
      network: this.network,
      page: this.page,
      fetch: undefined,
      WebSocket: class extends FakeSocket {
        constructor(url: string, protocols: string[]) {
          super(url, protocols);
          sockets.push(this);
        }
      },
      ...environment,
    };
    this.client = new Client("https://example.test", {
      transports: [websocket()],
      ...options,
      environment: surroundings,
    });
    this.client.on("status", (status) => this.statuses.push(status));
  }

  /** The latest socket. */
  get socket(): FakeSocket {
    const socket = this.sockets.at(-1);
    if (!socket) throw new Error("no socket was opened");
    return socket;
  }

  get state(): string {
    return this.client.status.state;
  }

  /** Connects, and agrees. */
  async connected(more: Json = {}): Promise<FakeSocket> {
    this.client.connect();
    await settle();
    await this.socket.welcome(more);
    return this.socket;
  }

  /** Waits out the delay before the next attempt, and agrees to it. */
  async reconnected(more: Json = {}): Promise<FakeSocket> {
    const before = this.sockets.length;
    for (let turn = 0; this.sockets.length === before; turn++) {
      if (turn > 100) throw new Error("no attempt was made");
      await this.clock.advance(this.clock.next ?? 0);
    }
    await this.socket.welcome(more);
    return this.socket;
  }
}

let count = 0;

/** A message of a channel as a server sends it. */
export function message(channel: string, offset: number | undefined, more: Json = {}): Json {
  const place = offset === undefined ? {} : { offset, epoch: "e" };
  return {
    type: "message",
    channel,
    event: "message",
    payload: offset ?? null,
    id: `m${++count}`,
    ts: 0,
    ...place,
    ...more,
  };
}
