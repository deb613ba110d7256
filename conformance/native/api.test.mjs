// The HTTP API: every call of contract section 8, with good and bad input.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { mint, seconds } from "../harness/jwt.mjs";
import { APP, eventually, OPEN_RULE, Server } from "../harness/server.mjs";

let server;
before(async () => {
  server = await Server.start({
    server: { max_payload: "64KiB" },
    channels: [{ match: "plain:*", subscribe: "anyone", publish: "anyone" }, { match: "closed:*", subscribe: "granted", publish: "nobody", history: { size: 10, ttl: "1h" } }, OPEN_RULE],
  });
});
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (kind = "api") => `${kind}:${++next}`;

/** Asserts status and shape of an error. */
function isError(answer, ...statuses) {
  assert.ok(statuses.includes(answer.status), `HTTP ${statuses.join(" or ")} expected: ${answer.status} ${answer.text.slice(0, 300)}`);
  assert.deepEqual(Object.keys(answer.body ?? {}), ["error"], answer.text);
  assert.equal(typeof answer.body.error.code, "string", answer.text);
  assert.equal(typeof answer.body.error.message, "string", answer.text);
  assert.match(answer.headers.get("content-type"), /^application\/json/);
}

describe("authentication", () => {
  const call = (authorization) => server.api("GET", "/api/channels", undefined, { headers: authorization ? { authorization } : {} });
  const basic = (text) => `Basic ${Buffer.from(text).toString("base64")}`;

  test("Basic key:secret and Bearer secret", async () => {
    assert.equal((await call(basic(`${APP.key}:${APP.secret}`))).status, 200);
    assert.equal((await call(`Bearer ${APP.secret}`)).status, 200);
  });

  for (const [name, authorization] of [
    ["nothing", () => undefined], ["a wrong secret", () => basic(`${APP.key}:wrong`)], ["a wrong key", () => basic(`wrong:${APP.secret}`)],
    ["the key as Bearer", () => `Bearer ${APP.key}`], ["an empty Bearer", () => "Bearer "], ["a user's JWT", () => `Bearer ${mint({ sub: "ann" })}`],
    ["noise", () => "Basic %%%"], ["no colon", () => basic("nothing")], ["another scheme", () => `Digest ${APP.secret}`], ["an empty password", () => basic(`${APP.key}:`)],
  ]) {
    test(`401: ${name}`, async () => isError(await call(authorization()), 401));
  }

  test("every call wants it", async () => {
    for (const [method, path] of [["POST", "/api/publish"], ["POST", "/api/batch"], ["GET", "/api/channels"], ["GET", "/api/channels/x"], ["GET", "/api/channels/x/presence"],
      ["GET", "/api/channels/x/history"], ["DELETE", "/api/channels/x/history"], ["POST", "/api/users/u/publish"], ["POST", "/api/users/u/disconnect"], ["POST", "/api/users/u/revoke"],
      ["POST", "/api/users/u/subscribe"], ["POST", "/api/users/u/unsubscribe"], ["GET", "/api/connections/c"], ["POST", "/api/connections/c/disconnect"], ["GET", "/api/stats"]]) {
      isError(await server.api(method, path, method === "POST" ? "{}" : undefined, { headers: {} }), 401);
    }
  });
});

describe("POST /api/publish", () => {
  test("to one channel", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    const { epoch } = await client.subscribe(channel);
    const { status, body } = await server.api("POST", "/api/publish", { channel, event: "e", payload: { a: 1 }, messageId: "m-9" });
    assert.equal(status, 200);
    assert.deepEqual(body, { results: [{ channel, messageId: "m-9", epoch, offset: 1 }] });
    const message = await client.message(channel);
    assert.deepEqual([message.event, message.payload, message.id, message.offset, message.epoch], ["e", { a: 1 }, "m-9", 1, epoch]);
    assert.ok(!("userId" in message) || message.userId === null);
  });

  test("to several channels", async () => {
    const channels = [fresh(), fresh("plain"), fresh()];
    const { body } = await server.api("POST", "/api/publish", { channels, payload: 1 });
    assert.deepEqual(body.results.map(({ channel }) => channel), channels);
    assert.deepEqual(body.results.map(({ offset }) => offset), [1, undefined, 1]);
    for (const { messageId } of body.results) assert.equal(typeof messageId, "string");
  });

  test("the rules' `publish` does not bind the application", async () => {
    const channel = fresh("closed");
    assert.equal((await server.publish(channel, 1)).offset, 1);
  });

  test("exclude: not to that connection", async () => {
    const channel = fresh();
    const [ann, bob] = [await Client.user(server, "ann"), await Client.user(server, "bob")];
    await ann.subscribe(channel);
    await bob.subscribe(channel);
    await server.publish(channel, "not for ann", { exclude: ann.connectionId });
    await server.publish(channel, "for all", { exclude: "no-such-connection" });
    assert.deepEqual((await ann.until({ type: "message", payload: "for all" })).length, 1);
    assert.deepEqual((await bob.until({ type: "message", payload: "for all" })).length, 2);
  });

  test("payload null is a payload", async () => {
    assert.equal(typeof (await server.publish(fresh(), null)).messageId, "string");
  });

  for (const [name, body] of [
    ["no JSON", "hello"], ["nothing", ""], ["an array", []], ["a string", '"x"'], ["no channel", { payload: 1 }], ["no payload", { channel: "x" }],
    ["channel: number", { channel: 5, payload: 1 }], ["channels: string", { channels: "x", payload: 1 }], ["channels: empty", { channels: [], payload: 1 }],
    ["channels: numbers", { channels: [1], payload: 1 }], ["an empty channel", { channel: "", payload: 1 }], ["a channel of 256 bytes", { channel: "x".repeat(256), payload: 1 }],
    ["a control character", { channel: "a\u0001", payload: 1 }], ["a reserved channel", { channel: "#reserved", payload: 1 }], ["one bad channel of three", { channels: ["a", "", "b"], payload: 1 }],
    ["event: number", { channel: "x", payload: 1, event: 5 }], ["messageId: object", { channel: "x", payload: 1, messageId: {} }], ["key: number", { channel: "x", payload: 1, key: 5 }],
    ["exclude: array", { channel: "x", payload: 1, exclude: [] }], ["encoding: unknown", { channel: "x", payload: "", encoding: "hex" }],
    ["base64 that is none", { channel: "x", payload: "***", encoding: "base64" }], ["base64 of an object", { channel: "x", payload: {}, encoding: "base64" }],
    ["a trailing comma", '{"channel":"x","payload":1,}'], ["not UTF-8", Buffer.from([0x7b, 0xff, 0x7d]).toString("latin1").replace("ÿ", "\\xff")],
    ["10,000-deep arrays at the top", "[".repeat(10_000) + "]".repeat(10_000)],
  ]) {
    test(`400: ${name}`, async () => isError(await server.api("POST", "/api/publish", typeof body === "string" ? body : JSON.stringify(body)), 400));
  }

  test("10,000-deep payloads do no harm", async () => {
    const deep = `{"channel":"deep","payload":${"[".repeat(10_000)}${"]".repeat(10_000)}}`;
    assert.ok([200, 400].includes((await server.api("POST", "/api/publish", deep)).status));
    assert.equal((await server.api("GET", "/api/stats")).status, 200);
  });

  test("413: larger than max_payload", async () => {
    isError(await server.api("POST", "/api/publish", { channel: "x", payload: "x".repeat(70_000) }), 413);
  });

  test("404 for a path that is none, 405 for a method", async () => {
    isError(await server.api("GET", "/api/nothing"), 404);
    isError(await server.api("GET", "/api/publish"), 405);
    isError(await server.api("DELETE", "/api/stats"), 405);
  });
});

describe("POST /api/batch", () => {
  test("many messages, in order", async () => {
    const [a, b] = [fresh(), fresh()];
    const client = await Client.connect(server);
    await client.subscribe(a);
    await client.subscribe(b);
    const messages = Array.from({ length: 1000 }, (_, at) => ({ channel: at % 2 ? a : b, payload: at }));
    const { status, body } = await server.api("POST", "/api/batch", { messages });
    assert.equal(status, 200);
    assert.deepEqual(body.results.map(({ channel, offset }) => [channel, offset]), messages.map(({ channel }, at) => [channel, 1 + (at >> 1)]));
    for (const channel of [a, b]) {
      for (let at = channel === a ? 1 : 0; at < 1000; at += 2) assert.equal((await client.message(channel)).payload, at);
    }
  });

  test("an entry may have several channels, and everything publish has", async () => {
    const channels = [fresh(), fresh()];
    const { body } = await server.api("POST", "/api/batch", { messages: [{ channels, payload: 1, event: "e" }, { channel: channels[0], payload: "AAE=", encoding: "base64", messageId: "z" }] });
    assert.deepEqual(body.results.map(({ channel, offset }) => [channel, offset]), [[channels[0], 1], [channels[1], 1], [channels[0], 2]]);
    assert.equal(body.results[2].messageId, "z");
  });

  for (const [name, bad] of [["no payload", { channel: "x" }], ["a bad channel", { channel: "", payload: 1 }], ["not an object", 5], ["bad base64", { channel: "x", payload: "*", encoding: "base64" }]]) {
    test(`one bad entry (${name}): 400, and nothing is done`, async () => {
      const channel = fresh();
      isError(await server.api("POST", "/api/batch", { messages: [{ channel, payload: 1 }, bad, { channel, payload: 2 }] }), 400);
      assert.equal((await server.publish(channel, "first")).offset, 1);
    });
  }

  test("one entry too large: 413 or 400, and nothing is done", async () => {
    const channel = fresh();
    isError(await server.api("POST", "/api/batch", { messages: [{ channel, payload: 1 }, { channel, payload: "x".repeat(70_000) }] }), 400, 413);
    assert.equal((await server.publish(channel, "first")).offset, 1);
  });

  test("1001 messages, or more than 10 MiB, are refused whole", async () => {
    const channel = fresh();
    isError(await server.api("POST", "/api/batch", { messages: Array.from({ length: 1001 }, () => ({ channel, payload: 1 })) }), 400);
    isError(await server.api("POST", "/api/batch", { messages: Array.from({ length: 300 }, () => ({ channel, payload: "x".repeat(40_000) })) }), 400, 413);
    assert.equal((await server.publish(channel, "first")).offset, 1);
  });

  test("messages missing or of the wrong kind: 400", async () => {
    for (const body of [{}, { messages: 5 }, { messages: {} }, { messages: "x" }]) isError(await server.api("POST", "/api/batch", body), 400);
  });
});

describe("GET /api/channels", () => {
  const names = Array.from({ length: 25 }, (_, at) => `list:${String(at).padStart(2, "0")}`);
  let client;
  before(async () => {
    client = await Client.user(server, "lister");
    for (const name of names) await client.subscribe(name);
    const second = await Client.user(server, "lister");
    await second.subscribe("list:00");
  });

  test("occupied channels with their members and users", async () => {
    const { body } = await server.api("GET", "/api/channels?prefix=list:");
    assert.deepEqual(body.channels.map(({ channel }) => channel), names);
    assert.deepEqual(body.channels[0], { channel: "list:00", members: 2, users: 1 });
    assert.deepEqual(body.channels[1], { channel: "list:01", members: 1, users: 1 });
    assert.ok(!body.next);
  });

  test("prefix is a prefix and nothing more", async () => {
    assert.deepEqual((await server.api("GET", "/api/channels?prefix=list:1")).body.channels.length, 10);
    for (const prefix of ["ist:", "list%3A*", "*", "LIST:"]) {
      assert.deepEqual((await server.api("GET", `/api/channels?prefix=${prefix}`)).body.channels, [], prefix);
    }
  });

  test("limit and after page through all of them", async () => {
    const all = [];
    for (let after = ""; ;) {
      const { body } = await server.api("GET", `/api/channels?prefix=list:&limit=10${after && `&after=${encodeURIComponent(after)}`}`);
      assert.ok(body.channels.length <= 10);
      all.push(...body.channels.map(({ channel }) => channel));
      if (!body.next) break;
      assert.equal(body.next, all.at(-1), "next is the last name");
      after = body.next;
    }
    assert.deepEqual(all, names);
  });

  test("a channel with history and no members is not occupied; an abandoned one disappears", async () => {
    const channel = fresh("vacant");
    await server.publish(channel, 1);
    assert.deepEqual((await server.api("GET", `/api/channels?prefix=${channel}`)).body.channels, []);
    const visitor = await Client.connect(server);
    await visitor.subscribe(channel);
    assert.equal((await server.api("GET", `/api/channels?prefix=${channel}`)).body.channels.length, 1);
    await visitor.close();
    await eventually(async () => (await server.api("GET", `/api/channels?prefix=${channel}`)).body.channels.length === 0, "the channel to be vacated");
  });

  for (const query of ["limit=x", "limit=-1"]) {
    test(`400: ${query}`, async () => isError(await server.api("GET", `/api/channels?${query}`), 400));
  }
});

describe("GET /api/channels/{channel}", () => {
  test("members, users, and with history the position", async () => {
    const channel = fresh();
    const client = await Client.user(server, "ann");
    const { epoch } = await client.subscribe(channel);
    await server.publish(channel, 1);
    assert.deepEqual((await server.api("GET", `/api/channels/${channel}`)).body, { channel, members: 1, users: 1, epoch, offset: 1 });
    const plain = fresh("plain");
    await client.subscribe(plain);
    assert.deepEqual((await server.api("GET", `/api/channels/${plain}`)).body, { channel: plain, members: 1, users: 1 });
  });

  test("any name, percent-encoded", async () => {
    const client = await Client.connect(server);
    for (const channel of ["a/b/history", "with space", "ü🐦", "100%", "a?b#c", "..", "presence", "%2F"]) {
      await client.subscribe(channel);
      const { status, body } = await server.api("GET", `/api/channels/${channel === ".." ? "%2E%2E" : encodeURIComponent(channel)}`).catch((error) => ({ status: error.message }));
      // A client library resolves the dots itself before anything is sent.
      if (channel !== "..") assert.deepEqual([status, body?.channel, body?.members], [200, channel, 1], channel);
    }
  });

  test("presence and history", async () => {
    const channel = fresh();
    const ann = await Client.user(server, "ann");
    const { epoch } = await ann.subscribe(channel, { data: { name: "Ann" } });
    for (let at = 1; at <= 5; at++) await server.publish(channel, at);
    assert.deepEqual((await server.api("GET", `/api/channels/${channel}/presence`)).body, { members: [{ userId: "ann", connectionId: ann.connectionId, data: { name: "Ann" } }] });
    const history = async (query = "") => {
      const { status, body } = await server.api("GET", `/api/channels/${channel}/history${query}`);
      assert.equal(status, 200);
      assert.deepEqual([body.epoch, body.offset], [epoch, 5]);
      return body.messages.map(({ offset }) => offset);
    };
    assert.deepEqual(await history(), [1, 2, 3, 4, 5]);
    assert.deepEqual(await history("?limit=2"), [4, 5]);
    assert.deepEqual(await history("?after=1&limit=2"), [2, 3]);
    assert.deepEqual(await history("?before=4&limit=2"), [2, 3]);
    assert.deepEqual(await history("?after=1&before=4"), [2, 3]);
    isError(await server.api("GET", `/api/channels/${channel}/history?limit=x`), 400);
    isError(await server.api("GET", `/api/channels/${channel}/history?before=-1`), 400);
  });

  test("history and presence where the rule has none are errors with their code", async () => {
    const channel = fresh("plain");
    const history = await server.api("GET", `/api/channels/${channel}/history`);
    isError(history, 400, 404, 409, 422);
    assert.equal(history.body.error.code, "NO_HISTORY");
    const presence = await server.api("GET", `/api/channels/${channel}/presence`);
    isError(presence, 400, 404, 409, 422);
    assert.equal(presence.body.error.code, "NO_PRESENCE");
  });

  test("DELETE history: 204 and a new epoch", async () => {
    const channel = fresh();
    const { epoch } = await server.publish(channel, 1);
    const { status, text } = await server.api("DELETE", `/api/channels/${channel}/history`);
    assert.deepEqual([status, text], [204, ""]);
    const after = (await server.api("GET", `/api/channels/${channel}/history`)).body;
    assert.deepEqual(after.messages, []);
    assert.notEqual(after.epoch, epoch);
  });

  test("a bad name is 400", async () => {
    isError(await server.api("GET", `/api/channels/${"x".repeat(256)}`), 400);
    isError(await server.api("GET", "/api/channels/a%00b"), 400);
    isError(await server.api("GET", "/api/channels/%ff"), 400);
  });
});

describe("users", () => {
  test("publish: results, and to every connection", async () => {
    const two = [await Client.user(server, "uma"), await Client.user(server, "uma")];
    const { status, body } = await server.api("POST", "/api/users/uma/publish", { payload: 1, event: "e", messageId: "um" });
    assert.equal(status, 200);
    assert.equal(body.results.length, 1);
    assert.equal(body.results[0].messageId, "um");
    for (const client of two) assert.deepEqual((({ event, payload, id }) => [event, payload, id])(await client.next({ type: "message" })), ["e", 1, "um"]);
    isError(await server.api("POST", "/api/users/uma/publish", {}), 400);
    isError(await server.api("POST", "/api/users/uma/publish", "x"), 400);
  });

  test("publish to a user who is not there succeeds", async () => {
    assert.equal((await server.api("POST", "/api/users/absent/publish", { payload: 1 })).status, 200);
  });

  test("disconnect: an error, close 4003, for all of the user's connections; they may come back", async () => {
    const two = [await Client.user(server, "dan"), await Client.user(server, "dan")];
    const other = await Client.user(server, "other");
    const { status } = await server.api("POST", "/api/users/dan/disconnect");
    assert.ok([200, 204].includes(status), `HTTP ${status}`);
    for (const client of two) {
      await client.closes(4003);
      assert.equal(client.received.at(-1)?.type, "error");
    }
    await other.settled();
    await Client.user(server, "dan");
  });

  test("revoke: tokens issued before are refused from then on, and their connections closed", async () => {
    const old = mint({ sub: "rea", iat: seconds() - 100 });
    const client = await Client.user(server, "rea", { token: old });
    const { status } = await server.api("POST", "/api/users/rea/revoke");
    assert.ok([200, 204].includes(status), `HTTP ${status}`);
    await client.closes(4003);
    assert.equal(client.received.at(-1)?.type, "error");
    await Client.refused(server, 401, { token: old });
    await Client.refused(server, 401, { token: mint({ sub: "rea", iat: undefined }) });
    await Client.user(server, "rea", { token: mint({ sub: "rea", iat: seconds() + 1 }) });
    await Client.user(server, "not-rea", { token: mint({ sub: "not-rea", iat: seconds() - 100 }) });
    // As a first message and as a renewal it is refused too.
    const late = await Client.connect(server);
    await late.fails({ type: "auth", token: old }, "TOKEN_INVALID", "TOKEN_EXPIRED", "FORBIDDEN");
  });

  test("revoke before a moment leaves later tokens alone", async () => {
    const [older, newer] = [mint({ sub: "rob", iat: 1_000_000 }), mint({ sub: "rob", iat: 2_000_000 })];
    const [first, second] = [await Client.user(server, "rob", { token: older }), await Client.user(server, "rob", { token: newer })];
    await server.api("POST", "/api/users/rob/revoke", { before: 1_500_000 });
    await first.closes(4003);
    await second.settled();
    await Client.refused(server, 401, { token: older });
    await Client.user(server, "rob", { token: newer });
    isError(await server.api("POST", "/api/users/rob/revoke", { before: "yesterday" }), 400);
  });

  test("subscribe and unsubscribe: every connection of the user", async () => {
    const channel = fresh("closed");
    const two = [await Client.user(server, "sue"), await Client.user(server, "sue")];
    assert.ok([200, 204].includes((await server.api("POST", "/api/users/sue/subscribe", { channel })).status));
    await server.publish(channel, "in");
    for (const client of two) assert.equal((await client.message(channel)).payload, "in");
    assert.ok([200, 204].includes((await server.api("POST", "/api/users/sue/unsubscribe", { channel })).status));
    for (const client of two) {
      const message = await client.next({ type: "unsubscribed" });
      assert.deepEqual([message.channel, typeof message.code, typeof message.message], [channel, "string", "string"]);
    }
    await server.publish(channel, "out");
    for (const client of two) assert.deepEqual((await client.settled()).filter(({ type }) => type === "message"), []);
    for (const call of ["subscribe", "unsubscribe"]) {
      isError(await server.api("POST", `/api/users/sue/${call}`, {}), 400);
      isError(await server.api("POST", `/api/users/sue/${call}`, { channel: "" }), 400);
      isError(await server.api("POST", `/api/users/sue/${call}`, { channel: 5 }), 400);
    }
  });

  test("unsubscribe by the application ends a subscription that the client made, and its presence", async () => {
    const channel = fresh();
    const client = await Client.user(server, "una");
    await client.subscribe(channel, { data: {} });
    await server.api("POST", "/api/users/una/unsubscribe", { channel });
    await client.next({ type: "unsubscribed", channel });
    assert.deepEqual((await server.api("GET", `/api/channels/${channel}/presence`)).body.members, []);
    await client.subscribe(channel);
  });
});

describe("connections", () => {
  test("GET tells about one, disconnect closes it with 4003", async () => {
    const channel = fresh();
    const [client, other] = [await Client.user(server, "con"), await Client.user(server, "con")];
    await client.subscribe(channel);
    const { status, body, text } = await server.api("GET", `/api/connections/${encodeURIComponent(client.connectionId)}`);
    assert.equal(status, 200);
    assert.equal(body.connectionId, client.connectionId, text);
    assert.equal(body.userId, "con", text);
    assert.equal(body.protocol, "native", text);
    assert.ok(text.includes(JSON.stringify(channel)), text);
    assert.ok([200, 204].includes((await server.api("POST", `/api/connections/${encodeURIComponent(client.connectionId)}/disconnect`)).status));
    await client.closes(4003);
    assert.equal(client.received.at(-1)?.type, "error");
    await other.settled();
    await eventually(async () => (await server.api("GET", `/api/connections/${encodeURIComponent(client.connectionId)}`)).status === 404, "404");
  });

  test("an unknown one is 404", async () => {
    isError(await server.api("GET", "/api/connections/no-such"), 404);
    isError(await server.api("POST", "/api/connections/no-such/disconnect"), 404);
  });
});

test("GET /api/stats is an object with numbers in it", async () => {
  const { status, body } = await server.api("GET", "/api/stats");
  assert.equal(status, 200);
  assert.match(JSON.stringify(body), /"connections":\s*[{\d]/);
  assert.match(JSON.stringify(body), /"channels":\s*[{\d]/);
});

describe("GET /api/openapi.json", () => {
  let document;
  before(async () => {
    document = (await server.api("GET", "/api/openapi.json")).body;
  });

  test("is OpenAPI 3.1 and covers every call", () => {
    assert.match(document.openapi, /^3\.1/);
    assert.equal(typeof document.info.title, "string");
    assert.equal(typeof document.info.version, "string");
    const prefix = new URL(document.servers?.[0]?.url ?? "/", "http://x").pathname.replace(/\/$/, "");
    const calls = new Set(Object.entries(document.paths).flatMap(([path, methods]) => Object.keys(methods).map((method) => `${method.toUpperCase()} ${prefix}${path.replace(/\{[^}]+\}/g, "{}")}`)));
    for (const wanted of ["POST /api/publish", "POST /api/batch", "GET /api/channels", "GET /api/channels/{}", "GET /api/channels/{}/presence", "GET /api/channels/{}/history", "DELETE /api/channels/{}/history",
      "POST /api/users/{}/publish", "POST /api/users/{}/disconnect", "POST /api/users/{}/revoke", "POST /api/users/{}/subscribe", "POST /api/users/{}/unsubscribe",
      "GET /api/connections/{}", "POST /api/connections/{}/disconnect", "GET /api/stats"]) {
      assert.ok(calls.has(wanted), `${wanted} is not among ${[...calls].join(", ")}`);
    }
  });

  test("every reference in it leads somewhere, every operation has an id and answers", () => {
    const ids = new Set();
    const walk = (of) => {
      if (of === null || typeof of !== "object") return;
      if (typeof of.$ref === "string") {
        let at = document;
        for (const part of of.$ref.replace(/^#\//, "").split("/")) at = at?.[part.replaceAll("~1", "/").replaceAll("~0", "~")];
        assert.ok(at, of.$ref);
      }
      for (const member of Object.values(of)) walk(member);
    };
    walk(document);
    for (const [path, methods] of Object.entries(document.paths)) {
      for (const [method, operation] of Object.entries(methods)) {
        if (!["get", "post", "delete", "put", "patch"].includes(method)) continue;
        assert.ok(operation.operationId && !ids.has(operation.operationId), `${method} ${path}`);
        ids.add(operation.operationId);
        assert.ok(Object.keys(operation.responses).some((status) => /^2/.test(status)), `${method} ${path}`);
      }
    }
  });
});
