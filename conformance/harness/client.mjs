// A native client that remembers everything it was sent, in order, and lets a test wait for what it expects.

import assert from "node:assert/strict";

import { decode, encode } from "@msgpack/msgpack";
import WebSocket from "ws";

import { mint } from "./jwt.mjs";

export const JSON_PROTOCOL = "starling.v1.json";
export const MSGPACK_PROTOCOL = "starling.v1.msgpack";
const PATIENCE = 60_000; // milliseconds until a wait has failed

const open = new Set();
/** Ends every connection that the tests of this file have left open. */
export function closeAll() {
  for (const client of open) client.socket.terminate();
}

/** The upgrade was answered with plain HTTP. */
export class Refused extends Error {
  constructor(response, body) {
    super(`the upgrade was refused: HTTP ${response.statusCode} ${body}`);
    Object.assign(this, { status: response.statusCode, headers: response.headers, body });
  }
}

const matches = (pattern) => typeof pattern === "function" ? pattern
  : (message) => Object.entries(pattern).every(([name, value]) => JSON.stringify(message[name]) === JSON.stringify(value));

/** What `promise` gives, or a failure that shows `story()` after PATIENCE. */
async function patiently(promise, story) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(story())), PATIENCE);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

export class Client {
  received = []; // not yet taken by a test
  raws = []; // the text (or bytes) of every frame ever received
  #waiting = new Set();
  #nextId = 1;

  /**
   * Connects to `/ws` and resolves when the socket is open.
   *
   * `user`: a user id (a token is minted and sent as a header); `token`: the same with a given token;
   * `protocols`, `headers`, `query`, and further options are those of `ws`.
   */
  static connect(server, { user, claims, token, protocols = [JSON_PROTOCOL], headers = {}, query = "", path = "/ws", ...options } = {}) {
    const client = new Client();
    const bearer = token ?? (user === undefined ? undefined : mint({ sub: user, ...claims }));
    const socket = new WebSocket(`${server.ws}${path}${query}`, protocols, {
      headers: { ...(bearer === undefined ? {} : { authorization: `Bearer ${bearer}` }), ...headers },
      perMessageDeflate: false,
      ...options,
    });
    client.socket = socket;
    client.msgpack = protocols.includes(MSGPACK_PROTOCOL);
    client.closed = new Promise((done) => socket.once("close", (code, reason) => {
      open.delete(client);
      done({ code, reason: reason.toString() });
      client.#wake();
    }));
    client.closed.then((how) => { client.end = how; });
    socket.on("message", (data, binary) => {
      client.raws.push(binary ? data : data.toString());
      try {
        assert.equal(binary, client.msgpack, "the kind of frame goes with the subprotocol");
        client.received.push(binary ? decode(data, { useBigInt64: false }) : JSON.parse(data.toString()));
      } catch (error) {
        client.received.push({ type: "(undecodable)", error: error.message, raw: data.toString() });
      }
      client.#wake();
    });
    socket.on("error", (error) => { client.error = error; });
    return patiently(new Promise((done, fail) => {
      socket.once("open", () => {
        open.add(client);
        done(client);
      });
      socket.once("unexpected-response", (request, response) => {
        let body = "";
        response.setEncoding("utf8").on("data", (text) => { body += text; }).on("end", () => fail(new Refused(response, body)));
      });
      socket.once("error", fail);
    }), () => "the WebSocket did not open in time");
  }

  /** Connects, and takes the `auth_ack` that a token on the upgrade brings. */
  static async user(server, user, options = {}) {
    const client = await Client.connect(server, { user, ...options });
    client.ack = await client.next({ type: "auth_ack" });
    client.connectionId = client.ack.connectionId;
    return client;
  }

  /** Asserts that the upgrade is answered with `status`. */
  static async refused(server, status, options) {
    try {
      const client = await Client.connect(server, options);
      client.socket.terminate();
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      assert.equal(error.status, status, error.message);
      return error;
    }
    return assert.fail(`the upgrade succeeded; HTTP ${status} was expected`);
  }

  send(message) {
    this.socket.send(this.msgpack ? encode(message) : JSON.stringify(message));
  }

  /** Sends a text frame as it is. */
  raw(text) {
    this.socket.send(text);
  }

  /** The next message, not taken before, that matches; earlier ones stay for others to take. */
  async next(pattern = () => true, what = typeof pattern === "function" ? "the expected message" : JSON.stringify(pattern)) {
    const match = matches(pattern);
    for (;;) {
      const at = this.received.findIndex(match);
      if (at >= 0) return this.received.splice(at, 1)[0];
      await this.#more(what);
    }
  }

  /** Everything up to the next message that matches, which comes last; all of it is taken. */
  async until(pattern) {
    const match = matches(pattern);
    for (;;) {
      const at = this.received.findIndex(match);
      if (at >= 0) return this.received.splice(0, at + 1);
      await this.#more(typeof pattern === "function" ? "the marker" : JSON.stringify(pattern));
    }
  }

  async #more(what) {
    if (this.end) throw new Error(`closed with ${this.end.code} ${this.end.reason} while waiting for ${what}; untaken: ${this.#story()}`);
    await patiently(new Promise((wake) => { this.#waiting.add(wake); }), () => `waited in vain for ${what}; untaken: ${this.#story()}`);
  }

  #wake() {
    const waiting = [...this.#waiting];
    this.#waiting.clear();
    for (const wake of waiting) wake();
  }

  #story() {
    const text = this.received.map((message) => JSON.stringify(message).slice(0, 200)).join("\n  ");
    return text.length > 3000 ? `${text.slice(0, 3000)}… (${this.received.length} messages)` : text || "nothing";
  }

  /** Sends with a fresh id and returns the answer that carries it. */
  async request(message) {
    const id = this.#nextId++;
    this.send({ ...message, id });
    return this.next((answer) => answer.id === id && answer.type !== "message", `the answer to ${JSON.stringify({ ...message, id }).slice(0, 300)}`);
  }

  async ok(message) {
    const answer = await this.request(message);
    assert.equal(answer.type, "ack", `${JSON.stringify(message).slice(0, 300)} → ${JSON.stringify(answer)}`);
    return answer;
  }

  /** Asserts that the answer is an error with one of `codes`. */
  async fails(message, ...codes) {
    const answer = await this.request(message);
    const story = `${JSON.stringify(message).slice(0, 300)} → ${JSON.stringify(answer)}`;
    assert.equal(answer.type, "error", story);
    assert.ok(codes.includes(answer.code), `${codes.join(" or ")} expected: ${story}`);
    assert.equal(typeof answer.message, "string", story);
    return answer;
  }

  subscribe(channel, more = {}) {
    return this.ok({ type: "subscribe", channel, ...more });
  }

  publish(channel, payload, more = {}) {
    return this.ok({ type: "publish", channel, payload, ...more });
  }

  message(channel, more = {}) {
    return this.next({ type: "message", channel, ...more });
  }

  /** A round trip: everything sent to this client before the server saw it has arrived; returns what was untaken. */
  async settled() {
    const id = `settled-${this.#nextId++}`;
    this.send({ type: "ping", id });
    const before = await this.until((message) => message.type === "pong" && message.id === id);
    return before.slice(0, -1);
  }

  async closes(...codes) {
    const { code, reason } = await patiently(this.closed, () => `not closed; untaken: ${this.#story()}`);
    assert.ok(codes.includes(code), `close ${codes.join(" or ")} expected, got ${code} ${reason}; untaken: ${this.#story()}`);
    return { code, reason };
  }

  /** Closes with 1000 and waits for the server's answer. */
  async close() {
    this.socket.close(1000);
    return this.closed;
  }

  /** Loses the connection: no close frame. */
  lose() {
    this.socket.terminate();
  }
}

/** A member list kept up to date from `presence_state` and `presence_diff`, as an application would. */
export class Members {
  now = new Map();

  constructor(client, channel) {
    Object.assign(this, { client, channel });
  }

  async start() {
    const { members } = await this.client.next({ type: "presence_state", channel: this.channel });
    for (const member of members) this.now.set(member.connectionId, member);
    return this;
  }

  /** Applies changes until `condition(members)` holds. */
  async when(condition) {
    while (!condition([...this.now.values()])) {
      const diff = await this.client.next({ type: "presence_diff", channel: this.channel },
        `a presence_diff after ${JSON.stringify([...this.now.values()])}`);
      assert.ok(Array.isArray(diff.joins) && Array.isArray(diff.leaves), JSON.stringify(diff));
      for (const member of diff.leaves) this.now.delete(member.connectionId);
      for (const member of diff.joins) this.now.set(member.connectionId, member);
    }
    return [...this.now.values()];
  }
}
