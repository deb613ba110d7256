/** A TCP proxy that does to connections what networks do. */

import { createServer, type Server, Socket } from "node:net";

/** What happens to a new connection. */
export type Treatment =
  | "pass"
  /** Refused as soon as it is there. */
  | "refuse"
  /** Accepted, and then nothing goes through. */
  | "swallow"
  /** WebSockets are not let through: as a proxy that does not know of them answers. */
  | "no-websocket"
  /** WebSockets open, and are cut soon after. */
  | "kill-websocket";

interface Pair {
  readonly client: Socket;
  readonly server: Socket;
}

/** How long a WebSocket lives under `kill-websocket` (milliseconds). */
const KILL_AFTER = 100;

export class FaultProxy {
  treatment: Treatment = "pass";
  /** How much later everything arrives (milliseconds). */
  delay = 0;
  /** Connections that were made through it. */
  connections = 0;
  #listener: Server;
  #pairs = new Set<Pair>();
  #target: number;
  #timers = new Set<NodeJS.Timeout>();

  private constructor(target: number) {
    this.#target = target;
    this.#listener = createServer((client) => this.#accept(client));
  }

  static start(target: number): Promise<FaultProxy> {
    const proxy = new FaultProxy(target);
    return new Promise((done) => proxy.#listener.listen(0, "127.0.0.1", () => done(proxy)));
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#listener.address() as { port: number }).port}`;
  }

  /** Connections that are open. */
  get open(): number {
    return this.#pairs.size;
  }

  /** Resets every connection. */
  cut(): void {
    for (const { client, server } of this.#pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
  }

  /** Nothing goes through the present connections any more, and nobody is told. */
  blackhole(): void {
    for (const { client, server } of this.#pairs) {
      client.removeAllListeners("data").on("data", () => {});
      server.removeAllListeners("data").on("data", () => {});
    }
  }

  /** The server's half of every connection ends: the client can still send, and nobody reads it. */
  halfOpen(): void {
    for (const { client, server } of this.#pairs) {
      client.removeAllListeners("data").on("data", () => {});
      server.removeAllListeners("data").removeAllListeners("close").destroy();
    }
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers) clearTimeout(timer);
    this.cut();
    await new Promise((done) => this.#listener.close(done));
  }

  #accept(client: Socket): void {
    this.connections++;
    client.on("error", () => {});
    if (this.treatment === "refuse") {
      client.resetAndDestroy();
      return;
    }
    const server = new Socket().on("error", () => {});
    const pair = { client, server };
    this.#pairs.add(pair);
    const gone = () => {
      this.#pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    client.on("close", gone);
    server.on("close", gone);
    if (this.treatment === "swallow") {
      client.on("data", () => {});
      return;
    }
    server.connect(this.#target, "127.0.0.1");
    client.once("data", (head) => this.#first(pair, head));
    server.on("data", (data) => this.#pass(client, data));
  }

  /** The head of a request tells what the connection is for. */
  #first({ client, server }: Pair, head: Buffer): void {
    const isWebSocket = /^upgrade: *websocket/im.test(head.toString("latin1"));
    if (isWebSocket && this.treatment === "no-websocket") {
      client.end("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
      return;
    }
    if (isWebSocket && this.treatment === "kill-websocket") this.#later(KILL_AFTER, () => client.resetAndDestroy());
    this.#pass(server, head);
    client.on("data", (data) => this.#pass(server, data));
  }

  #pass(to: Socket, data: Buffer): void {
    if (this.delay === 0) to.write(data);
    else this.#later(this.delay, () => to.write(data));
  }

  #later(delay: number, task: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      task();
    }, delay);
    this.#timers.add(timer);
  }
}
