// The official Phoenix client in two versions and over both transports, with everything that arrives kept in order.

import assert from "node:assert/strict";

import WebSocket from "ws";

import { mint } from "../harness/jwt.mjs";

/** As much of a browser's XMLHttpRequest as long-polling in phoenix.js 1.7 takes; 1.8 has learnt `fetch`. */
class Request {
  readyState = 0;
  headers = {};
  #abort = new AbortController();

  open(method, url) {
    Object.assign(this, { method, url });
  }

  setRequestHeader(name, value) {
    this.headers[name] = value;
  }

  async send(body) {
    const timer = this.timeout && setTimeout(() => {
      this.#abort.abort();
      this.ontimeout?.();
    }, this.timeout);
    try {
      const answer = await fetch(this.url, { method: this.method, headers: this.headers, body: body ?? undefined, signal: this.#abort.signal });
      this.responseText = await answer.text();
      this.status = answer.status;
      this.readyState = 4;
    } catch {
      if (!this.#abort.signal.aborted) this.onerror?.();
      return;
    } finally {
      clearTimeout(timer);
    }
    this.onreadystatechange?.();
  }

  abort() {
    this.#abort.abort();
  }
}

// 1.7 looks for its surroundings once, when it is loaded.
globalThis.self = { XMLHttpRequest: Request };
const v17 = await import("phoenix-1.7");
delete globalThis.self;
const v18 = await import("phoenix-1.8");

const PATIENCE = 60_000; // milliseconds until a wait has failed

/** What each suite runs with: `{ name, lib, longpoll }`. */
export const CLIENTS = [["phoenix.js 1.7", v17], ["phoenix.js 1.8", v18]];
export const VARIANTS = CLIENTS.flatMap(([name, lib]) => [
  { name: `${name}, WebSocket`, lib, longpoll: false },
  { name: `${name}, long-poll`, lib, longpoll: true },
]);

const open = new Set();
/** Disconnects every socket that the tests of this file have left open. */
export function disconnectAll() {
  for (const socket of open) socket.disconnect();
  open.clear();
}

/**
 * A connected socket. `user`: a token is minted for it and goes into the params; everything else is the client's own
 * option (`transport: WebSocketClass` replaces the usual one).
 */
export function connect(server, { lib = v18, longpoll = false, user, claims, params = {}, ...options } = {}) {
  const token = user === undefined ? {} : { token: mint({ sub: user, ...claims }) };
  const socket = new lib.Socket(`${server.ws}/socket`, {
    transport: longpoll ? lib.LongPoll : WebSocket,
    params: typeof params === "function" ? params : { ...token, ...params },
    reconnectAfterMs: () => 50,
    rejoinAfterMs: () => 50,
    ...options,
  });
  socket.lib = lib;
  socket.connect();
  open.add(socket);
  return socket;
}

/** What `promise` gives, or a failure that names `what` after PATIENCE. */
export async function patiently(promise, what) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what} did not come in time`)), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Resolves with what the socket calls back next. */
export const opened = (socket) => patiently(new Promise((done) => socket.onOpen(done)), "the open");
export const failed = (socket) => patiently(new Promise((done) => socket.onError(done)), "the error");
export const closed = (socket) => patiently(new Promise((done) => socket.onClose(done)), "the close");

/** The outcome of a push: `["ok" | "error" | "timeout", response]`. */
export function outcome(push) {
  const statuses = ["ok", "error", "timeout"];
  return patiently(new Promise((done) => {
    for (const status of statuses) push.receive(status, (response) => done([status, response]));
  }), "the reply");
}

/** Asserts that a push is answered with `ok`, and returns the response. */
export async function ok(push) {
  const [status, response] = await outcome(push);
  assert.equal(status, "ok", JSON.stringify(response));
  return response;
}

/** Asserts that a push is refused with `code`. */
export async function refused(push, code) {
  const [status, response] = await outcome(push);
  assert.equal(status, "error", JSON.stringify(response));
  assert.equal(response.code, code, JSON.stringify(response));
  assert.equal(typeof response.reason, "string");
  return response;
}

/** A joined channel that keeps what arrives; `response` is that of the join. */
export async function join(socket, topic, params = {}) {
  const channel = keeping(socket.channel(topic, params));
  channel.response = await ok(channel.join());
  return channel;
}

/** Has a channel keep every event: `channel.next(event)` takes them in order. */
export function keeping(channel) {
  const kept = [];
  const waiting = new Set();
  const onMessage = channel.onMessage.bind(channel);
  channel.onMessage = (event, payload, ref, joinRef) => {
    kept.push({ event, payload, ref, joinRef });
    for (const wake of waiting) wake();
    waiting.clear();
    return onMessage(event, payload, ref, joinRef);
  };
  channel.kept = kept;
  channel.next = async (event) => {
    for (;;) {
      const at = kept.findIndex((message) => message.event === event);
      if (at >= 0) return kept.splice(at, 1)[0].payload;
      await patiently(new Promise((wake) => waiting.add(wake)), `the event ${event} on ${channel.topic}; came: ${JSON.stringify(kept)}`);
    }
  };
  return channel;
}

/** Resolves when `condition()` holds after a `Presence.onSync`. */
export function synced(presence, condition) {
  return patiently(new Promise((done) => {
    const look = () => { if (condition(presence.state)) done(presence.state); };
    presence.onSync(look);
    look();
  }), `the presence (${condition})`);
}

/** A frame-by-frame client of serializer 2.0.0 that keeps everything. */
export class Frames {
  #kept = [];
  #waiting = new Set();

  static async open(server, { query = "?vsn=2.0.0", protocols = [], ...options } = {}) {
    const frames = new Frames();
    frames.socket = new WebSocket(`${server.ws}/socket/websocket${query}`, protocols, { perMessageDeflate: false, ...options });
    frames.socket.on("message", (data, binary) => {
      frames.#kept.push(binary ? `bin ${data.toString("hex")}` : JSON.parse(data.toString()));
      frames.#wake();
    });
    frames.closed = new Promise((done) => frames.socket.once("close", (code) => {
      frames.end = code;
      frames.#wake();
      done(code);
    }));
    await patiently(new Promise((done, fail) => {
      frames.socket.once("open", done);
      frames.socket.once("error", fail);
    }), "the open");
    return frames;
  }

  #wake() {
    for (const wake of this.#waiting) wake();
    this.#waiting.clear();
  }

  send(frame) {
    this.socket.send(typeof frame === "string" || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  async next(what = "a frame") {
    while (this.#kept.length === 0) {
      if (this.end !== undefined) throw new Error(`closed with ${this.end} while waiting for ${what}`);
      await patiently(new Promise((wake) => this.#waiting.add(wake)), what);
    }
    return this.#kept.shift();
  }

  /** The next frame with this event. */
  async event(name) {
    for (;;) {
      const frame = await this.next(name);
      if (frame[3] === name) return frame;
    }
  }

  terminate() {
    this.socket.terminate();
  }
}
