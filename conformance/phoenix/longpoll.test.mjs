// `/socket/longpoll` request by request, and the fallback to it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import WebSocket from "ws";

import { mint } from "../harness/jwt.mjs";
import { eventually, OPEN_RULE, Server } from "../harness/server.mjs";
import { CLIENTS, connect, disconnectAll, join, ok, opened } from "./client.mjs";

let server;
before(async () => {
  server = await Server.start({
    server: { max_payload: "64KiB" },
    origins: { allow: ["https://app.example"] },
    channels: [{ match: "users:*", subscribe: "authenticated", publish: "authenticated" }, OPEN_RULE],
  });
});
after(async () => {
  disconnectAll();
  await server.stop();
});

let next = 0;
const fresh = (kind = "poll") => `${kind}:${++next}`;

const URL_OF = (query = "vsn=2.0.0") => `${server.origin}/socket/longpoll?${query}`;

/** A session as the official client keeps it, without any of its patience. */
class Session {
  constructor(query = "vsn=2.0.0") {
    this.query = query;
  }

  url() {
    return URL_OF(this.token === undefined ? this.query : `${this.query}&token=${encodeURIComponent(this.token)}`);
  }

  async get(headers = {}) {
    const answer = await fetch(this.url(), { headers });
    assert.equal(answer.status, 200);
    assert.match(answer.headers.get("content-type"), /^application\/json/);
    const body = await answer.json();
    if (body.token) this.token = body.token;
    return body;
  }

  async open() {
    const { status, token, messages } = await this.get();
    assert.deepEqual([status, typeof token, messages], [410, "string", []]);
    return this;
  }

  async post(body, type = "application/x-ndjson") {
    const answer = await fetch(this.url(), { method: "POST", body, headers: { "content-type": type } });
    return { http: answer.status, ...(answer.headers.get("content-type")?.startsWith("application/json") ? await answer.json() : {}) };
  }

  /** Frames until one with this event. */
  async until(event) {
    const frames = [];
    for (;;) {
      const { status, messages } = await this.get();
      assert.ok([200, 204].includes(status), `status ${status} while waiting for ${event}`);
      frames.push(...messages.map((text) => JSON.parse(text)));
      const found = frames.find((frame) => frame[3] === event);
      if (found) return found;
    }
  }
}

const frame = (...fields) => JSON.stringify(fields);

describe("a session", () => {
  test("410 opens, 200 brings, POST says", async () => {
    const topic = fresh();
    const session = await new Session().open();
    assert.deepEqual(await session.post(frame("1", "1", topic, "phx_join", {})), { http: 200, status: 200 });
    assert.deepEqual(await session.until("phx_reply"), ["1", "1", topic, "phx_reply", { response: {}, status: "ok" }]);
  });

  test("a body of lines, text and base64", async () => {
    const topic = fresh();
    const session = await new Session().open();
    const header = Buffer.concat([Buffer.from([0, 1, 1, topic.length, 4]), Buffer.from(`19${topic}blob`), Buffer.from([1, 2])]);
    const body = [frame("1", "1", topic, "phx_join", {}), frame("1", "2", topic, "say", { n: 1 }), header.toString("base64")].join("\n");
    assert.equal((await session.post(body)).status, 200);
    assert.deepEqual((await session.until("blob"))[4], { data: "AQI=", encoding: "base64" });
  });

  test("a poll with nothing to bring is 204 within the window", async () => {
    const session = await new Session().open();
    const { status, messages } = await session.get();
    assert.deepEqual([status, messages], [204, []]);
  });

  test("the user's token is the first, the session's the last", async () => {
    const session = await new Session(`token=${mint({ sub: "ann" })}&vsn=2.0.0`).open();
    await session.post(frame("1", "1", fresh("users"), "phx_join", {}));
    assert.equal((await session.until("phx_reply"))[4].status, "ok");
  });

  test("tokens in headers, as newer clients have them", async () => {
    const opened = await fetch(URL_OF(), { headers: { "x-phoenix-authtoken": mint({ sub: "ann" }) } });
    const { status, token } = await opened.json();
    assert.equal(status, 410);
    const headers = { "x-phoenix-longpoll-token": token, "content-type": "application/x-ndjson" };
    const said = await fetch(URL_OF(), { method: "POST", headers, body: frame("1", "1", fresh("users"), "phx_join", {}) });
    assert.deepEqual(await said.json(), { status: 200 });
    const { messages } = await (await fetch(URL_OF(), { headers })).json();
    assert.equal(JSON.parse(messages[0])[4].status, "ok");
  });

  test("serializer 1.0.0, which is spoken where no version is given", async () => {
    const session = await new Session("").open();
    const topic = fresh();
    await session.post(JSON.stringify({ topic, event: "phx_join", payload: {}, ref: "1" }), "application/json");
    const { messages } = await session.get();
    assert.deepEqual(JSON.parse(messages[0]), { topic, event: "phx_reply", ref: "1", payload: { response: {}, status: "ok" } });
  });
});

describe("refusals", () => {
  test("403 in the body for a bad user token, and for a version that is not spoken", async () => {
    for (const query of ["vsn=2.0.0&token=bad", `vsn=2.0.0&token=${mint({ sub: "ann", exp: 1 })}`, "vsn=9.9.9", "vsn=x"]) {
      assert.deepEqual(await (await fetch(URL_OF(query))).json(), { status: 403 });
    }
  });

  test("a forged token is none: GET begins a new session, POST is told 410", async () => {
    const session = await new Session().open();
    const [...parts] = session.token.split(".");
    const forged = [
      parts.with?.(2, "somebodyelse").join(".") ?? "phx1.a.b.ffffffff.c",
      parts.map((part, at) => (at === 3 ? "ffffffff" : part)).join("."),
      `${session.token}x`, "phx1.", "phx1.....", `phx1.${"x".repeat(5000)}`,
    ];
    for (const token of forged) {
      const other = new Session();
      other.token = token;
      assert.equal((await other.post(frame("1", "1", fresh(), "phx_join", {}))).status, 410);
      const { status, token: fresher } = await other.get();
      assert.equal(status, 410);
      assert.notEqual(fresher, session.token);
    }
    const without = await fetch(URL_OF(), { method: "POST", body: frame("1", "1", fresh(), "phx_join", {}) });
    assert.deepEqual(await without.json(), { status: 410 });
  });

  test("a body that is no message ends the session", async () => {
    for (const [body, type] of [["hello", "text/plain"], [`${frame("1", "1", "a", "phx_join", {})}\n${frame("1", "1", "b", "phx_join", {})}`, "text/plain"], ["{}", "application/x-ndjson"]]) {
      const session = await new Session().open();
      await session.post(body, type);
      const { status } = await session.get();
      assert.ok([410, 500].includes(status), `${body}: ${status}`);
    }
  });

  test("another content type is one message", async () => {
    const session = await new Session().open();
    assert.equal((await session.post(frame("1", "1", fresh(), "phx_join", {}), "text/plain")).status, 200);
    assert.equal((await session.until("phx_reply"))[4].status, "ok");
  });

  test("bodies that are too much, and lines that are not base64", async () => {
    const session = await new Session().open();
    assert.equal((await session.post("*not base64*")).http, 400);
    assert.equal((await session.post(frame("1", "1", "a", "e", "x".repeat(70_000)))).http, 413);
    assert.equal((await session.post(`${frame("1", "1", "a", "e", {})}\n`.repeat(1001))).http, 413);
    assert.equal((await session.post(frame("1", "1", fresh(), "phx_join", {}))).status, 200, "the session lives on");
  });

  test("a method that is none of them", async () => {
    assert.equal((await fetch(URL_OF(), { method: "PUT", body: "x" })).status, 400);
  });

  test("[origins] governs it", async () => {
    const ask = (origin, method = "GET") => fetch(URL_OF(), { method, headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type,x-phoenix-authtoken" } });
    const allowed = await ask("https://app.example");
    assert.equal(allowed.headers.get("access-control-allow-origin"), "https://app.example");
    const preflight = await ask("https://app.example", "OPTIONS");
    assert.ok(preflight.ok);
    assert.match(preflight.headers.get("access-control-allow-headers"), /x-phoenix-authtoken/);
    const evil = await ask("https://evil.example");
    assert.equal(evil.status, 403);
    assert.deepEqual(await evil.json(), { status: 403 });
  });
});

describe("what becomes of sessions", () => {
  test("a session that nobody comes for is gone after the recovery window, and its presence with it", async () => {
    const short = await Server.start({ recovery: { window: "5s" }, channels: [OPEN_RULE] });
    try {
      const url = `${short.origin}/socket/longpoll?vsn=2.0.0`;
      const { token } = await (await fetch(url)).json();
      const post = (body) => fetch(`${url}&token=${token}`, { method: "POST", body, headers: { "content-type": "application/x-ndjson" } });
      assert.deepEqual(await (await post(frame("1", "1", "room:1", "phx_join", {}))).json(), { status: 200 });
      const members = async () => (await short.api("GET", "/api/channels/room:1/presence")).body.members.length;
      await eventually(async () => (await members()) === 1, "its presence");
      await eventually(async () => (await members()) === 0, "its end");
      assert.deepEqual(await (await post(frame("1", "2", "room:1", "say", {}))).json(), { status: 410 });
    } finally {
      await short.stop();
    }
  });

  for (const [name, lib] of CLIENTS) {
    test(`${name} falls back to long-polling when the WebSocket fails`, async () => {
      class Broken extends WebSocket {
        constructor() { super("ws://127.0.0.1:9/"); }
      }
      const socket = connect(server, { lib, transport: Broken, longPollFallbackMs: 300 });
      await opened(socket);
      assert.equal(socket.transport, lib.LongPoll);
      const channel = await join(socket, fresh());
      await ok(channel.push("say", { n: 1 }));
      assert.deepEqual(await channel.next("say"), { n: 1 });
    });

    test(`${name} stays with a WebSocket that answers its ping`, async () => {
      const socket = connect(server, { lib, longPollFallbackMs: 5_000 });
      await join(socket, fresh());
      await eventually(() => socket.primaryPassedHealthCheck, "the answer to its ping");
      assert.notEqual(socket.transport, lib.LongPoll);
    });
  }
});
