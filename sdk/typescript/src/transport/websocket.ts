/** The native protocol over WebSocket. */

import type { Socket } from "../environment.js";
import { closeError, StarlingError } from "../errors.js";
import { type ClientMessage, readServerMessage } from "../protocol.js";
import type { Link, LinkEvents, LinkRequest, Transport } from "./transport.js";

/** Options of {@link websocket}. */
export interface WebSocketOptions {
  /**
   * How the token reaches the server: as the first message, or as a subprotocol of the upgrade, for servers that are
   * configured with `when = "upgrade"`. A browser does not tell why an upgrade was refused, so that with the latter a
   * bad token is noticed by the next transport. Default `"message"`.
   */
  token?: "message" | "subprotocol";
}

/** WebSocket on `/ws`. */
export function websocket({ token = "message" }: WebSocketOptions = {}): Transport {
  return {
    name: "websocket",
    isSupported: ({ WebSocket }) => WebSocket !== undefined,
    open: (request, events) => new WebSocketLink(request, events, token === "subprotocol"),
  };
}

class WebSocketLink implements Link {
  readonly needsPings = true;
  #request: LinkRequest;
  #events: LinkEvents;
  #socket: Socket | undefined;
  #opened = false;
  #done = false;
  /** The last error that answered no request: why the server is about to close. */
  #complaint: StarlingError | undefined;

  constructor(request: LinkRequest, events: LinkEvents, inSubprotocol: boolean) {
    this.#request = request;
    this.#events = events;
    const { token, codec, base, environment } = request;
    const url = new URL("ws", base);
    url.protocol = url.protocol.replace("http", "ws");
    const bearer = inSubprotocol && token !== undefined ? [`bearer.${token}`] : [];
    try {
      const Constructor = environment.WebSocket as NonNullable<typeof environment.WebSocket>;
      this.#socket = new Constructor(url.href, [codec.subprotocol, ...bearer]);
    } catch (error) {
      queueMicrotask(() => this.#lost(new StarlingError("CONNECTION_LOST", String(error), { cause: error })));
      return;
    }
    this.#socket.binaryType = "arraybuffer";
    this.#socket.onopen = () => {
      // With the subprotocol the server speaks first.
      if (bearer.length === 0) this.send({ type: "auth", token });
    };
    this.#socket.onmessage = ({ data }) => this.#read(data);
    this.#socket.onerror = () => {};
    this.#socket.onclose = ({ code, reason }) => this.#lost(this.#complaint ?? closeError(code, reason), code);
  }

  send(message: ClientMessage): void {
    // A socket that is closing drops what it is given; its end is reported by itself.
    this.#socket?.send(this.#request.codec.encode(message));
  }

  renew(token: string): void {
    this.send({ type: "auth", token });
  }

  ping(): void {
    this.send({ type: "ping" });
  }

  /** Lets go of the socket at once: on a dead network its own `close` event may take minutes. */
  close(): void {
    this.#done = true;
    const socket = this.#socket;
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    this.#socket = undefined;
    // `onerror` stays: a socket that is closed while it connects makes some implementations report an error.
    socket.close(1000);
  }

  #read(data: unknown): void {
    this.#events.heard();
    let message: ReturnType<typeof readServerMessage>;
    try {
      const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : (data as string);
      message = readServerMessage(this.#request.codec.decode(bytes));
    } catch (error) {
      this.#lost(
        error instanceof StarlingError ? error : new StarlingError("PROTOCOL", String(error), { cause: error }),
      );
      return;
    }
    if (!message) return;
    if (message.type === "error" && message.id === undefined) {
      this.#complaint = new StarlingError(message.code, message.message);
      // Some servers let the connection live on without the user that it is meant for.
      if (!this.#opened) return this.#lost(this.#complaint);
    }
    if (message.type === "auth_ack" && !this.#opened) {
      this.#opened = true;
      return this.#events.opened(message);
    }
    this.#events.receive(message);
  }

  #lost(error: StarlingError, closeCode?: number): void {
    if (this.#done) return;
    this.close();
    this.#events.lost({ error, closeCode });
  }
}
