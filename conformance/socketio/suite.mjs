// Starts the example server `socketio-suite`, and speaks the protocols to it by hand.

import WebSocket from "ws";

import { Example } from "../harness/example.mjs";

const WITHIN = 60_000; // milliseconds

/** Milliseconds. Not those of the public suites (300 and 200): a busy machine lets a process wait longer than that. */
export const PING_INTERVAL = 1000;
export const PING_TIMEOUT = 5000;

export class Suite {
  /** `which`: the handlers for the suites of the protocols, or (`client`) those for the tests of the client. */
  static async start(which = "protocol") {
    const suite = new Suite();
    suite.example = await Example.start("socketio-suite", { args: [which, `${PING_INTERVAL}`, `${PING_TIMEOUT}`] });
    suite.origin = suite.example.origin;
    return suite;
  }

  stop() {
    return this.example.stop();
  }

  /** A request: `at("/engine.io/", "transport=polling", { method, body })`. */
  at(path, query, options = {}) {
    return fetch(`${this.origin}${path}?${query}`, options);
  }

  /** Opens a session by polling, and returns its id. */
  async poll(path) {
    const answer = await this.at(path, "EIO=4&transport=polling");
    return JSON.parse((await answer.text()).slice(1)).sid;
  }

  socket(path, query = "EIO=4&transport=websocket") {
    return new Socket(`${this.origin.replace("http", "ws")}${path}?${query}`);
  }

  /** A WebSocket that is past Engine.IO's handshake. */
  async opened(path) {
    const socket = this.socket(path);
    await socket.next();
    return socket;
  }
}

/** A WebSocket whose packets are taken one after the other; pings are skipped unless they are asked for. */
export class Socket {
  #packets = [];
  #waiting = [];

  constructor(url) {
    this.ws = new WebSocket(url, { perMessageDeflate: false });
    this.ws.on("message", (data, binary) => {
      this.#packets.push(binary ? Buffer.from(data) : data.toString());
      this.#waiting.splice(0).forEach((wake) => wake());
    });
    this.ws.on("error", (error) => { this.error = error; });
    this.closed = new Promise((done) => this.ws.once("close", () => {
      this.isClosed = true;
      this.#waiting.splice(0).forEach((wake) => wake());
      done();
    }));
  }

  send(...packets) {
    for (const packet of packets) this.ws.send(packet);
  }

  opened() {
    return new Promise((done, fail) => {
      this.ws.once("open", done);
      this.ws.once("error", fail);
    });
  }

  async next({ pings = false } = {}) {
    for (const deadline = Date.now() + WITHIN; Date.now() < deadline; ) {
      while (this.#packets.length > 0) {
        const packet = this.#packets.shift();
        if (packet !== "2" || pings) return packet;
        this.ws.send("3");
      }
      if (this.isClosed) throw new Error("the connection was closed");
      await new Promise((wake) => {
        this.#waiting.push(wake);
        setTimeout(wake, 500);
      });
    }
    throw new Error("no packet came");
  }

  close() {
    this.ws.close();
  }
}
