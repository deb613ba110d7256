/**
 * A server that speaks SSE, long-polling and `/send` as the contract has them, and whose WebSocket does what a test
 * wants. It keeps one log for each channel and knows nothing of rights.
 */

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";

type Json = Record<string, unknown>;

interface Session {
  readonly id: string;
  readonly channels: Set<string>;
  /** What waits for a poll. */
  readonly mailbox: Json[];
  deliver(message: Json): void;
}

export class HttpServer {
  /** What `Authorization` must be, if anything. */
  token: string | undefined;
  /** Answers that `/sse` gives instead of a stream. */
  sseStatus = 200;
  /** Whether `/sse` sends its headers but nothing more: a proxy that buffers. */
  sseBuffers = false;
  /** Of what paths the next answer has a head and no body: a line that dies half-way. */
  readonly stalls = new Set<string>();
  /** Messages of a subscription before the answer to it, as two connections may have it. */
  hurries = false;
  /** Requests by path. */
  readonly seen: string[] = [];
  readonly bodies: Json[] = [];
  #server: Server;
  #sessions = new Map<string, Session>();
  #logs = new Map<string, Json[]>();
  #streams = new Set<ServerResponse>();
  #polls = new Map<string, () => void>();
  #ids = 0;

  private constructor() {
    this.#server = createServer((request, response) => void this.#serve(request, response));
    this.#server.on("upgrade", (_: IncomingMessage, socket: Duplex) => {
      this.seen.push("upgrade");
      socket.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    });
  }

  static start(): Promise<HttpServer> {
    const server = new HttpServer();
    return new Promise((done) => server.#server.listen(0, "127.0.0.1", () => done(server)));
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as { port: number }).port}`;
  }

  async stop(): Promise<void> {
    this.cut();
    this.#server.closeAllConnections();
    await new Promise((done) => this.#server.close(done));
  }

  /** Ends all streams and forgets all sessions. */
  cut(): void {
    for (const stream of this.#streams) stream.destroy();
    for (const wake of this.#polls.values()) wake();
    this.#sessions.clear();
  }

  /** Forgets all sessions, and tells nobody. */
  forget(): void {
    this.#sessions.clear();
  }

  publish(channel: string, payload: unknown, id = `s${++this.#ids}`): { offset: number; epoch: string } {
    const log = this.#logs.get(channel) ?? [];
    this.#logs.set(channel, log);
    const known = log.find((message) => message.id === id);
    if (known) return known as { offset: number; epoch: string };
    const place = { offset: log.length + 1, epoch: "e" };
    const message = { type: "message", channel, event: "message", payload, id, ts: 0, ...place };
    log.push(message);
    for (const session of this.#sessions.values()) if (session.channels.has(channel)) session.deliver(message);
    return place;
  }

  /** Says something to every session. */
  notice(message: Json): void {
    for (const session of this.#sessions.values()) session.deliver(message);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? "/", "http://host");
    this.seen.push(url.pathname);
    if (this.token !== undefined && request.headers.authorization !== `Bearer ${this.token}`) {
      return json(response, 401, { error: { code: "TOKEN_INVALID", message: "no" } });
    }
    if (this.stalls.delete(url.pathname)) {
      response.writeHead(200, { "content-type": "application/json" });
      return response.flushHeaders();
    }
    if (url.pathname === "/sse") return this.#sse(response);
    if (url.pathname === "/poll") return this.#poll(url, response);
    if (url.pathname === "/send") return this.#send(url, request, response);
    json(response, 404, {});
  }

  #session(deliver: Session["deliver"] | undefined): Session {
    const mailbox: Json[] = [];
    const id = `h${++this.#ids}`;
    const toMailbox = (message: Json) => {
      mailbox.push(message);
      this.#polls.get(id)?.();
    };
    const session = { id, channels: new Set<string>(), mailbox, deliver: deliver ?? toMailbox };
    this.#sessions.set(id, session);
    return session;
  }

  #sse(response: ServerResponse): void {
    if (this.sseStatus !== 200) return json(response, this.sseStatus, {});
    response.writeHead(200, { "content-type": "text/event-stream" });
    response.flushHeaders();
    this.#streams.add(response);
    response.on("close", () => this.#streams.delete(response));
    if (this.sseBuffers) return;
    let written: Promise<unknown> = Promise.resolve();
    const session = this.#session(({ type, ...rest }) => {
      // In pieces, as networks do.
      const name = type === "message" ? "" : `event: ${type}\r\n`;
      const event = `${name}id: x\r\ndata: ${JSON.stringify({ type, ...rest })}\r\n\r\n`;
      written = written.then(() => {
        response.write(event.slice(0, 20));
        return new Promise((later) => setImmediate(later));
      });
      written = written.then(() => void response.write(event.slice(20)));
    });
    response.write(`: hello\n\nevent: ready\nid: c\ndata: {"connectionId":"${session.id}","channels":{}}\n\n`);
  }

  #poll(url: URL, response: ServerResponse): void {
    const [id, at] = (url.searchParams.get("cursor") ?? "").split(".");
    const session = this.#sessions.get(id ?? "");
    if (!session) {
      const fresh = this.#session(undefined);
      return json(response, 200, { cursor: `${fresh.id}.0`, messages: [], recovered: false, connectionId: fresh.id });
    }
    const answer = () => {
      this.#polls.delete(session.id);
      const messages = session.mailbox.slice(Number(at));
      const cursor = `${session.id}.${session.mailbox.length}`;
      json(response, 200, { cursor, messages, recovered: true, connectionId: session.id });
    };
    if (session.mailbox.length > Number(at)) answer();
    else this.#polls.set(session.id, answer);
  }

  async #send(url: URL, request: IncomingMessage, response: ServerResponse): Promise<void> {
    let text = "";
    for await (const piece of request) text += piece;
    if (text.length > 64 << 10)
      return json(response, 413, { type: "error", code: "PAYLOAD_TOO_LARGE", message: "not read" });
    const message = JSON.parse(text) as Json;
    this.bodies.push(message);
    const session = this.#sessions.get(url.searchParams.get("connectionId") ?? "");
    const { id, channel } = message as { id: number; channel: string };
    if (!session) return json(response, 403, { type: "error", id, code: "FORBIDDEN", message: "no such session" });
    const ack = (more: Json = {}) => json(response, 200, { type: "ack", id, ...more });
    switch (message.type) {
      case "auth":
        return json(response, 200, { type: "auth_ack", connectionId: session.id });
      case "ping":
        return json(response, 200, { type: "pong" });
      case "subscribe": {
        if (channel === "refused")
          return json(response, 403, { type: "error", id, channel, code: "FORBIDDEN", message: "no" });
        const log = this.#logs.get(channel) ?? [];
        const from = (message.recover as { offset: number } | undefined)?.offset ?? log.length;
        session.channels.add(channel);
        const missed = () => {
          for (const late of log.slice(from)) session.deliver(late);
        };
        if (this.hurries) {
          missed();
          await new Promise((later) => setTimeout(later, 30));
        }
        ack({ channel, epoch: "e", offset: log.length, ...(message.recover ? { recovered: true } : {}) });
        if (!this.hurries) missed();
        return;
      }
      case "reply":
        return json(response, 200, { type: "ack" });
      case "unsubscribe":
        session.channels.delete(channel);
        return ack();
      case "publish":
        return ack({
          messageId: message.messageId,
          ...this.publish(channel, message.payload, message.messageId as string),
        });
      default:
        return json(response, 400, { type: "error", id, code: "UNKNOWN_TYPE", message: "unknown" });
    }
  }
}

function json(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return;
  response.writeHead(status, { "content-type": "application/json" });
  response.end(JSON.stringify(body));
}
