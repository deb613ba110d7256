// A plain load balancer without a memory: every request, and every WebSocket, goes to the next node in turn.
//
// A node that refuses connections is passed over; nothing is retried once bytes have reached a node. A node that hangs
// gets its share, unless it is taken `out`, as a health check would.

import { Agent, createServer, request as ask } from "node:http";
import { connect } from "node:net";

export class Balancer {
  /** Ports that get nothing. */
  out = new Set();
  #turn = 0;
  #sockets = new Set();
  #agent = new Agent({ keepAlive: false });

  /** In front of nodes on these ports of 127.0.0.1. */
  static async start(ports) {
    const balancer = new Balancer();
    balancer.ports = ports;
    balancer.http = createServer((request, response) => balancer.#pass(request, response));
    balancer.http.on("upgrade", (request, socket, head) => balancer.#tunnel(request, socket, head));
    balancer.http.on("connection", (socket) => {
      balancer.#sockets.add(socket);
      socket.once("close", () => balancer.#sockets.delete(socket));
    });
    balancer.http.requestTimeout = 0;
    await new Promise((done, fail) => balancer.http.once("error", fail).listen(0, "127.0.0.1", done));
    balancer.port = balancer.http.address().port;
    balancer.origin = `http://127.0.0.1:${balancer.port}`;
    balancer.ws = `ws://127.0.0.1:${balancer.port}`;
    return balancer;
  }

  /** Nodes to try, the next in turn first. */
  #candidates() {
    const ports = this.ports.filter((port) => !this.out.has(port));
    const first = this.#turn++ % Math.max(ports.length, 1);
    return [...ports.slice(first), ...ports.slice(0, first)];
  }

  async #pass(request, response) {
    const chunks = [];
    try {
      for await (const chunk of request) chunks.push(chunk);
    } catch {
      return; // The client went away.
    }
    const body = Buffer.concat(chunks);
    const candidates = this.#candidates();
    const next = () => {
      const port = candidates.shift();
      if (port === undefined) return response.writeHead(502).end();
      const onwards = ask({ port, host: "127.0.0.1", method: request.method, path: request.url, headers: request.headers, agent: this.#agent });
      onwards.once("response", (answer) => {
        response.writeHead(answer.statusCode, answer.rawHeaders);
        response.flushHeaders();
        answer.on("error", () => response.destroy());
        answer.once("close", () => { if (!answer.complete) response.destroy(); });
        answer.pipe(response);
      });
      onwards.on("error", (error) => {
        if (response.headersSent || response.destroyed) response.destroy();
        else if (error.code === "ECONNREFUSED") next();
        else response.writeHead(502).end();
      });
      response.once("close", () => onwards.destroy());
      onwards.end(body);
    };
    next();
  }

  #tunnel(request, socket, head) {
    const lines = [`${request.method} ${request.url} HTTP/1.1`];
    for (let at = 0; at < request.rawHeaders.length; at += 2) lines.push(`${request.rawHeaders[at]}: ${request.rawHeaders[at + 1]}`);
    const candidates = this.#candidates();
    socket.on("error", () => {});
    const next = () => {
      const port = candidates.shift();
      if (port === undefined) return socket.end("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n");
      const node = connect({ port, host: "127.0.0.1", noDelay: true });
      node.once("connect", () => {
        node.write(`${lines.join("\r\n")}\r\n\r\n`);
        node.write(head);
        socket.setNoDelay(true).pipe(node).pipe(socket);
        socket.once("close", () => node.destroy());
        node.once("close", () => socket.destroy());
      });
      node.on("error", (error) => (error.code === "ECONNREFUSED" ? next() : socket.destroy()));
    };
    next();
  }

  async stop() {
    for (const socket of this.#sockets) socket.destroy();
    this.#agent.destroy();
    await new Promise((done) => this.http.close(done));
  }
}
