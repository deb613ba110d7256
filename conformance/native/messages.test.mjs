// Every client message of contract section 5 with its answer, and every way to get one wrong.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll, JSON_PROTOCOL } from "../harness/client.mjs";
import { OPEN_RULE, Server } from "../harness/server.mjs";

let server;
before(async () => {
  server = await Server.start({
    channels: [
      { match: "plain:*", subscribe: "anyone", publish: "anyone" },
      { match: "deaf:*", subscribe: "authenticated", publish: "nobody", history: { size: 10, ttl: "1h" } },
      OPEN_RULE,
    ],
  });
});
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (kind = "room") => `${kind}:${++next}`;

describe("subprotocols", () => {
  test("JSON is the default when none is asked for", async () => {
    const client = await Client.connect(server, { protocols: [] });
    await client.subscribe(fresh());
    assert.equal(client.socket.protocol, "");
  });

  test("the one asked for is selected", async () => {
    assert.equal((await Client.connect(server, { protocols: ["other", JSON_PROTOCOL] })).socket.protocol, JSON_PROTOCOL);
  });
});

describe("subscribe and unsubscribe", () => {
  test("with history the ack has channel, epoch and offset; recovered only when asked", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    const ack = await client.subscribe(channel);
    assert.equal(ack.channel, channel);
    assert.equal(typeof ack.epoch, "string");
    assert.equal(ack.offset, 0);
    assert.ok(!("recovered" in ack));
  });

  test("without history the ack has neither epoch nor offset", async () => {
    const channel = fresh("plain");
    const client = await Client.connect(server);
    const ack = await client.subscribe(channel);
    assert.equal(ack.channel, channel);
    assert.ok(!("epoch" in ack) && !("offset" in ack), JSON.stringify(ack));
    const published = await client.publish(channel, 1);
    assert.ok(!("epoch" in published) && !("offset" in published), JSON.stringify(published));
    const message = await client.message(channel);
    assert.ok(!("epoch" in message) && !("offset" in message), JSON.stringify(message));
  });

  test("twice is ALREADY_SUBSCRIBED, and the subscription stays", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    await client.subscribe(channel);
    const error = await client.fails({ type: "subscribe", channel }, "ALREADY_SUBSCRIBED");
    assert.equal(error.channel, channel);
    await client.publish(channel, "still here");
    await client.message(channel);
    assert.deepEqual(await client.settled(), []);
  });

  test("unsubscribe stops the messages; then it is NOT_SUBSCRIBED", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    await client.subscribe(channel);
    assert.equal((await client.ok({ type: "unsubscribe", channel })).channel, channel);
    await client.publish(channel, "unheard");
    assert.deepEqual(await client.settled(), []);
    await client.fails({ type: "unsubscribe", channel }, "NOT_SUBSCRIBED");
    await client.subscribe(channel);
    await client.publish(channel, "heard");
    assert.equal((await client.message(channel)).payload, "heard");
  });

  for (const [name, channel] of [
    ["empty", ""], ["256 bytes", "x".repeat(256)], ["256 bytes of UTF-8", "é".repeat(128)], ["a control character", "a\u0000b"],
    ["a newline", "a\nb"], ["DEL", "a\u007fb"], ["a C1 control character", "a\u0085b"],
  ]) {
    test(`INVALID_CHANNEL: ${name}`, async () => {
      const client = await Client.connect(server);
      for (const type of ["subscribe", "unsubscribe", "publish", "history"]) {
        const message = { type, channel, payload: 1 };
        await client.fails(message, "INVALID_CHANNEL");
      }
      await client.fails({ type: "presence", channel, action: "get" }, "INVALID_CHANNEL");
    });
  }

  for (const [name, channel] of [
    ["255 bytes", "x".repeat(255)], ["255 bytes of UTF-8", `${"é".repeat(127)}x`], ["spaces, quotes and slashes", "a b/\"c\"\\?#%"],
    ["emoji", "🐦🐦"], ["a Socket.IO namespace", "/chat#room"],
  ]) {
    test(`a good channel name: ${name}`, async () => {
      const client = await Client.connect(server);
      assert.equal((await client.subscribe(channel)).channel, channel);
      await client.publish(channel, 1);
      await client.message(channel);
      const answer = await server.api("GET", `/api/channels/${encodeURIComponent(channel)}`);
      assert.equal(answer.status, 200, answer.text);
      assert.equal(answer.body.channel, channel);
      assert.equal(answer.body.members, 1);
    });
  }

  test("names that begin with # are reserved", async () => {
    const client = await Client.user(server, "ann");
    for (const channel of ["#user:ann", "#user:bob", "#anything", "#"]) {
      // Of its own user's channel a connection is a member already.
      await client.fails({ type: "subscribe", channel }, "INVALID_CHANNEL", "FORBIDDEN", ...(channel === "#user:ann" ? ["ALREADY_SUBSCRIBED"] : []));
      await client.fails({ type: "publish", channel, payload: 1 }, "INVALID_CHANNEL", "FORBIDDEN");
      await client.fails({ type: "history", channel }, "INVALID_CHANNEL", "FORBIDDEN", "NO_HISTORY");
    }
  });
});

describe("publish", () => {
  test("a message has all its fields", async () => {
    const channel = fresh();
    const [ann, bob] = [await Client.user(server, "ann"), await Client.user(server, "bob")];
    const { epoch } = await bob.subscribe(channel);
    const before = Date.now();
    const ack = await ann.publish(channel, { a: [1, 2] }, { event: "score" });
    const message = await bob.message(channel);
    assert.deepEqual(Object.keys(message).sort(), ["channel", "epoch", "event", "id", "offset", "payload", "ts", "type", "userId"]);
    assert.equal(message.event, "score");
    assert.deepEqual(message.payload, { a: [1, 2] });
    assert.equal(message.userId, "ann");
    assert.deepEqual([message.epoch, message.offset], [epoch, 1]);
    assert.deepEqual([ack.messageId, ack.epoch, ack.offset], [message.id, epoch, 1]);
    assert.ok(Math.abs(message.ts - before) < 30_000, "ts is Unix milliseconds");
  });

  test("event is `message` by default; any JSON value is a payload", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    await client.subscribe(channel);
    for (const payload of [null, true, 0, -1.5, "", "text", [], {}, [[{ deep: null }]], "\u0000\u2028 🐦"]) {
      await client.publish(channel, payload);
      const message = await client.message(channel);
      assert.equal(message.event, "message");
      assert.deepEqual(message.payload, payload);
    }
  });

  test("offsets count from 1, without holes, for each channel", async () => {
    const client = await Client.connect(server);
    const channels = [fresh(), fresh()];
    for (const wanted of [1, 2, 3]) {
      for (const channel of channels) assert.equal((await client.publish(channel, 0)).offset, wanted);
    }
  });

  test("the sender gets its own message, unless echo is false", async () => {
    const channel = fresh();
    const [ann, bob] = [await Client.connect(server), await Client.connect(server)];
    await ann.subscribe(channel);
    await bob.subscribe(channel);
    await ann.publish(channel, "quiet", { echo: false });
    await ann.publish(channel, "loud", { echo: true });
    assert.equal((await bob.message(channel)).payload, "quiet");
    assert.equal((await bob.message(channel)).payload, "loud");
    assert.equal((await ann.message(channel)).payload, "loud");
    assert.deepEqual(await ann.settled(), []);
  });

  test("the same messageId again gives the same answer and is delivered once", async () => {
    const channel = fresh();
    const [ann, bob] = [await Client.connect(server), await Client.connect(server)];
    await bob.subscribe(channel);
    const first = await ann.publish(channel, "once", { messageId: "m-1" });
    assert.equal(first.messageId, "m-1");
    const again = await bob.publish(channel, "twice", { messageId: "m-1" });
    const http = await server.publish(channel, "thrice", { messageId: "m-1" });
    for (const answer of [again, http]) {
      assert.deepEqual([answer.messageId, answer.epoch, answer.offset], ["m-1", first.epoch, first.offset]);
    }
    const marker = await ann.publish(channel, "marker");
    assert.equal(marker.offset, first.offset + 1);
    const got = await bob.until({ type: "message", payload: "marker" });
    assert.deepEqual(got.filter(({ type }) => type === "message").map(({ payload, id }) => [payload, id]), [["once", "m-1"], ["marker", marker.messageId]]);
    // It is remembered per channel.
    assert.equal((await ann.publish(fresh(), "elsewhere", { messageId: "m-1" })).offset, 1);
  });

  test("messageIds are remembered also without history", async () => {
    const channel = fresh("plain");
    const client = await Client.connect(server);
    await client.subscribe(channel);
    await client.publish(channel, "once", { messageId: "m" });
    await client.publish(channel, "twice", { messageId: "m" });
    await client.publish(channel, "marker");
    assert.equal((await client.until({ type: "message", payload: "marker" })).filter(({ type }) => type === "message").length, 2);
  });

  test("two publishes at once with one messageId are one message", async () => {
    const channel = fresh();
    const clients = await Promise.all(Array.from({ length: 8 }, () => Client.connect(server)));
    const acks = await Promise.all(clients.map((client, at) => client.publish(channel, at, { messageId: "race" })));
    assert.deepEqual(new Set(acks.map(({ offset }) => offset)), new Set([1]));
    assert.equal((await clients[0].ok({ type: "history", channel })).messages.length, 1);
  });

  test("many publishes at once arrive in the order of one connection", async () => {
    const channel = fresh();
    const [ann, bob] = [await Client.connect(server), await Client.connect(server)];
    await bob.subscribe(channel);
    for (let at = 0; at < 500; at++) ann.send({ type: "publish", channel, payload: at });
    await ann.publish(channel, "end");
    const payloads = (await bob.until({ type: "message", payload: "end" })).map(({ payload }) => payload);
    assert.deepEqual(payloads, [...Array(500).keys(), "end"]);
    assert.deepEqual(await ann.settled(), [], "without id only errors are answered");
  });
});

describe("ids", () => {
  test("a string or a number comes back as it was", async () => {
    const client = await Client.connect(server);
    for (const id of ["1", '"8\u00e9\\"', '""', "0", "-7", "1.5", "9007199254740993", '"x"']) {
      const text = id.startsWith('"8') ? JSON.stringify('8é"') : id;
      client.raw(`{"type":"publish","channel":"ids","payload":1,"id":${text}}`);
      await client.next({ type: "ack" });
      assert.ok(client.raws.at(-1).includes(`"id":${text}`), `${text} in ${client.raws.at(-1)}`);
    }
  });

  test("exactly one answer for each id, whatever is asked", async () => {
    const client = await Client.connect(server);
    const channel = fresh();
    const asked = [
      { type: "subscribe", channel, presence: true, data: {} }, { type: "subscribe", channel }, { type: "publish", channel, payload: 1 },
      { type: "history", channel }, { type: "presence", channel, action: "get" }, { type: "presence", channel, action: "update", data: { a: 1 } },
      { type: "event", event: "e", payload: 1 }, { type: "nonsense" }, { type: "publish" }, { type: "presence", channel, action: "leave" },
      { type: "unsubscribe", channel }, { type: "unsubscribe", channel }, { type: "ping" }, {},
    ];
    asked.forEach((message, at) => client.send({ ...message, id: `q${at}` }));
    client.send({ type: "ping", id: "end" });
    const answers = (await client.until({ id: "end" })).filter(({ id, type }) => type !== "message" && /^q/.test(id ?? ""));
    assert.deepEqual(answers.map(({ id }) => id).sort(), asked.map((_, at) => `q${at}`).sort());
    for (const { type, id } of answers) assert.ok(id === "q12" ? type === "pong" : ["ack", "error"].includes(type), `${id}: ${type}`);
  });

  test("without id only errors are answered", async () => {
    const client = await Client.connect(server);
    const channel = fresh();
    client.send({ type: "subscribe", channel });
    client.send({ type: "publish", channel, payload: 1, echo: false });
    client.send({ type: "history", channel });
    client.send({ type: "unsubscribe", channel });
    client.send({ type: "unsubscribe", channel });
    const got = await client.settled();
    assert.deepEqual(got.map(({ type, code, channel: of }) => [type, code, of]), [["error", "NOT_SUBSCRIBED", channel]]);
    assert.ok(!("id" in got[0]));
  });

  for (const id of ["{}", "[]", "true"]) {
    test(`an id that is ${id} is INVALID_MESSAGE`, async () => {
      const client = await Client.connect(server);
      client.raw(`{"type":"subscribe","channel":"x","id":${id}}`);
      assert.equal((await client.next({ type: "error" })).code, "INVALID_MESSAGE");
      await client.settled();
    });
  }
});

describe("ping and event", () => {
  test("ping gets pong, with the id if it had one", async () => {
    const client = await Client.connect(server);
    client.send({ type: "ping" });
    assert.deepEqual(await client.next(), { type: "pong" });
    client.send({ type: "ping", id: 5 });
    assert.deepEqual(await client.next(), { type: "pong", id: 5 });
  });

  test("an event that nobody handles is UNKNOWN_TYPE", async () => {
    const client = await Client.connect(server);
    await client.fails({ type: "event", event: "move", payload: { x: 1 } }, "UNKNOWN_TYPE");
    await client.fails({ type: "event", event: "move", payload: 1, channel: fresh() }, "UNKNOWN_TYPE");
  });
});

describe("permissions that a rule gives", () => {
  test("NO_HISTORY and NO_PRESENCE where the rule has none", async () => {
    const client = await Client.user(server, "ann");
    const channel = fresh("plain");
    await client.subscribe(channel);
    await client.fails({ type: "history", channel }, "NO_HISTORY");
    for (const action of ["get", "enter", "update", "leave"]) {
      await client.fails({ type: "presence", channel, action, data: {} }, "NO_PRESENCE");
    }
  });

  test("AUTH_REQUIRED for nobody in particular, FORBIDDEN for a user", async () => {
    const [anonymous, ann] = [await Client.connect(server), await Client.user(server, "ann")];
    const channel = fresh("deaf");
    await anonymous.fails({ type: "subscribe", channel }, "AUTH_REQUIRED");
    await anonymous.fails({ type: "history", channel }, "AUTH_REQUIRED");
    await ann.subscribe(channel);
    const error = await ann.fails({ type: "publish", channel, payload: 1 }, "FORBIDDEN");
    assert.equal(error.channel, channel);
  });
});

describe("messages of the wrong shape", () => {
  const cases = [
    ["a number", "5", "INVALID_MESSAGE"], ["a string", '"subscribe"', "INVALID_MESSAGE"], ["null", "null", "INVALID_MESSAGE"],
    ["true", "true", "INVALID_MESSAGE"], ["an array", '[{"type":"ping"}]', "INVALID_MESSAGE"],
    ["an empty object", "{}", "MISSING_TYPE"], ["no type", '{"channel":"x"}', "MISSING_TYPE"],
    ["an unknown type", '{"type":"shout"}', "UNKNOWN_TYPE"], ["an empty type", '{"type":""}', "UNKNOWN_TYPE"],
    ["a type in capitals", '{"type":"PING"}', "UNKNOWN_TYPE"], ["a server's type", '{"type":"ack"}', "UNKNOWN_TYPE"],
    ["type: number", '{"type":5}', "INVALID_MESSAGE"], ["type: null", '{"type":null}', "INVALID_MESSAGE", "MISSING_TYPE"],
    ["type: object", '{"type":{}}', "INVALID_MESSAGE"],
    ["subscribe without channel", '{"type":"subscribe"}', "INVALID_MESSAGE"],
    ["channel: number", '{"type":"subscribe","channel":5}', "INVALID_MESSAGE"],
    ["channel: array", '{"type":"subscribe","channel":["x"]}', "INVALID_MESSAGE"],
    ["recover: true", '{"type":"subscribe","channel":"w","recover":true}', "INVALID_MESSAGE"],
    ["recover without offset", '{"type":"subscribe","channel":"w","recover":{"epoch":"e"}}', "INVALID_MESSAGE"],
    ["recover without epoch", '{"type":"subscribe","channel":"w","recover":{"offset":1}}', "INVALID_MESSAGE"],
    ["recover.offset: string", '{"type":"subscribe","channel":"w","recover":{"epoch":"e","offset":"1"}}', "INVALID_MESSAGE"],
    ["recover.offset: negative", '{"type":"subscribe","channel":"w","recover":{"epoch":"e","offset":-1}}', "INVALID_MESSAGE"],
    ["recover.offset: fraction", '{"type":"subscribe","channel":"w","recover":{"epoch":"e","offset":1.5}}', "INVALID_MESSAGE"],
    ["recover.offset: 2^64", '{"type":"subscribe","channel":"w","recover":{"epoch":"e","offset":18446744073709551616}}', "INVALID_MESSAGE"],
    ["recover.epoch: number", '{"type":"subscribe","channel":"w","recover":{"epoch":1,"offset":1}}', "INVALID_MESSAGE"],
    ["rewind: string", '{"type":"subscribe","channel":"w","rewind":"5"}', "INVALID_MESSAGE"],
    ["rewind: negative", '{"type":"subscribe","channel":"w","rewind":-5}', "INVALID_MESSAGE"],
    ["rewind: 1e400", '{"type":"subscribe","channel":"w","rewind":1e400}', "INVALID_MESSAGE"],
    ["presence: string", '{"type":"subscribe","channel":"w","presence":"yes"}', "INVALID_MESSAGE"],
    ["data: string", '{"type":"subscribe","channel":"w","data":"me"}', "INVALID_MESSAGE"],
    ["data: array", '{"type":"subscribe","channel":"w","data":[]}', "INVALID_MESSAGE"],
    ["publish without payload", '{"type":"publish","channel":"w"}', "INVALID_MESSAGE"],
    ["publish without channel", '{"type":"publish","payload":1}', "INVALID_MESSAGE"],
    ["event: number", '{"type":"publish","channel":"w","payload":1,"event":5}', "INVALID_MESSAGE"],
    ["messageId: number", '{"type":"publish","channel":"w","payload":1,"messageId":5}', "INVALID_MESSAGE"],
    ["key: object", '{"type":"publish","channel":"w","payload":1,"key":{}}', "INVALID_MESSAGE"],
    ["echo: string", '{"type":"publish","channel":"w","payload":1,"echo":"no"}', "INVALID_MESSAGE"],
    ["encoding: unknown", '{"type":"publish","channel":"w","payload":"AA==","encoding":"rot13"}', "INVALID_MESSAGE"],
    ["base64 that is none", '{"type":"publish","channel":"w","payload":"%%%","encoding":"base64"}', "INVALID_MESSAGE"],
    ["base64 that is a number", '{"type":"publish","channel":"w","payload":5,"encoding":"base64"}', "INVALID_MESSAGE"],
    ["limit: string", '{"type":"history","channel":"w","limit":"5"}', "INVALID_MESSAGE"],
    ["limit: negative", '{"type":"history","channel":"w","limit":-1}', "INVALID_MESSAGE"],
    ["before: string", '{"type":"history","channel":"w","before":"5"}', "INVALID_MESSAGE"],
    ["after: negative", '{"type":"history","channel":"w","after":-1}', "INVALID_MESSAGE"],
    ["action missing", '{"type":"presence","channel":"w"}', "INVALID_MESSAGE"],
    ["action unknown", '{"type":"presence","channel":"w","action":"hide"}', "INVALID_MESSAGE"],
    ["action: number", '{"type":"presence","channel":"w","action":1}', "INVALID_MESSAGE"],
    ["presence data: number", '{"type":"presence","channel":"w","action":"enter","data":1}', "INVALID_MESSAGE"],
    ["event without event", '{"type":"event","payload":1}', "INVALID_MESSAGE"],
    ["event.event: array", '{"type":"event","event":[],"payload":1}', "INVALID_MESSAGE"],
    ["auth.token: number", '{"type":"auth","token":5}', "INVALID_MESSAGE", "TOKEN_INVALID"],
  ];
  for (const [name, text, ...codes] of cases) {
    test(`${codes.join(" or ")}: ${name}`, async () => {
      const client = await Client.connect(server);
      client.raw(text);
      const error = await client.next();
      assert.equal(error.type, "error", JSON.stringify(error));
      assert.ok(codes.includes(error.code), JSON.stringify(error));
      assert.equal(typeof error.message, "string");
      assert.deepEqual(await client.settled(), [], "the connection stays");
    });
  }

  test("an id is answered also when the rest is wrong", async () => {
    const client = await Client.connect(server);
    for (const [text, code] of [['{"id":"a"}', "MISSING_TYPE"], ['{"id":"b","type":"shout"}', "UNKNOWN_TYPE"],
      ['{"type":"subscribe","channel":5,"id":"c"}', "INVALID_MESSAGE"], ['{"id":"d","type":"publish","channel":"x"}', "INVALID_MESSAGE"]]) {
      client.raw(text);
      const error = await client.next();
      assert.deepEqual([error.type, error.code, error.id], ["error", code, JSON.parse(text).id], JSON.stringify(error));
    }
  });

  test("fields that nobody knows are ignored", async () => {
    const client = await Client.connect(server);
    await client.subscribe(fresh(), { colour: "blue", nested: { a: [1] } });
  });

  for (const [name, text] of [["no JSON", "hello"], ["cut off", '{"type":"ping"'], ["nothing", ""], ["two values", '{"type":"ping"}{"type":"ping"}'],
    ["single quotes", "{'type':'ping'}"], ["a trailing comma", '{"type":"ping",}'], ["NaN", '{"type":"publish","channel":"x","payload":NaN}'],
    ["a raw control character", '{"type":"publish","channel":"x","payload":"a\nb"}'], ["a bad escape", '{"type":"publish","channel":"x","payload":"\\x"}'],
    ["a leading zero", '{"type":"publish","channel":"x","payload":01}'], ["a comment", '{"type":"ping"/**/}']]) {
    test(`invalid JSON closes with 1003: ${name}`, async () => {
      const client = await Client.connect(server);
      client.raw(text);
      await client.closes(1003);
    });
  }

  test("a binary frame to a JSON session closes with 1003", async () => {
    const client = await Client.connect(server);
    client.socket.send(Buffer.from('{"type":"ping"}'), { binary: true });
    await client.closes(1003);
  });

  for (const [name, text] of [
    ["arrays as payload", `{"type":"publish","channel":"deep","payload":${"[".repeat(10_000)}${"]".repeat(10_000)},"id":1}`],
    ["objects as payload", `{"type":"publish","channel":"deep","payload":${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)},"id":1}`],
    ["arrays at the top", `${"[".repeat(10_000)}${"]".repeat(10_000)}`],
    ["arrays never closed", "[".repeat(30_000)],
    ["objects in presence data", `{"type":"subscribe","channel":"deep","data":${'{"a":'.repeat(10_000)}1${"}".repeat(10_000)},"id":1}`],
    ["an unknown field", `{"type":"ping","x":${"[".repeat(10_000)}${"]".repeat(10_000)},"id":1}`],
  ]) {
    test(`10,000-deep nesting does no harm: ${name}`, async () => {
      const witness = await Client.connect(server);
      await witness.subscribe("deep");
      const client = await Client.connect(server);
      client.raw(text);
      const answered = client.next(({ type, code }) => (type === "error" ? code === "INVALID_MESSAGE" : ["ack", "pong"].includes(type)), "an answer");
      await Promise.race([answered.catch(() => {}), client.closed]);
      if (client.end) assert.equal(client.end.code, 1003);
      await witness.settled();
    });
  }
});

describe("history", () => {
  let client;
  const channel = "history:pages";
  before(async () => {
    client = await Client.connect(server);
    for (let at = 1; at <= 150; at++) client.send({ type: "publish", channel, payload: at });
    await client.settled();
  });
  const offsets = async (query, on = client) => {
    const answer = await on.ok({ type: "history", channel, ...query });
    assert.equal(typeof answer.epoch, "string");
    assert.equal(answer.offset, 150);
    for (const message of answer.messages) assert.equal(message.payload, message.offset);
    return answer.messages.map(({ offset }) => offset);
  };
  const range = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at);

  test("the newest 100 by default, oldest first", async () => assert.deepEqual(await offsets({}), range(51, 150)));
  test("limit without after means the newest", async () => assert.deepEqual(await offsets({ limit: 3 }), [148, 149, 150]));
  test("before", async () => assert.deepEqual(await offsets({ before: 10, limit: 3 }), [7, 8, 9]));
  test("before the first", async () => assert.deepEqual(await offsets({ before: 1 }), []));
  test("after", async () => assert.deepEqual(await offsets({ after: 10, limit: 3 }), [11, 12, 13]));
  test("after the last", async () => assert.deepEqual(await offsets({ after: 150 }), []));
  test("after and before", async () => assert.deepEqual(await offsets({ after: 10, before: 13 }), [11, 12]));
  test("paging backwards meets every message once", async () => {
    const all = [];
    for (let before; ;) {
      const page = await offsets({ limit: 40, ...(before === undefined ? {} : { before }) });
      if (page.length === 0) break;
      all.unshift(...page);
      [before] = page;
    }
    assert.deepEqual(all, range(1, 150));
  });
  test("paging forwards meets every message once", async () => {
    const all = [];
    for (let page = await offsets({ after: 0, limit: 40 }); page.length > 0; page = await offsets({ after: all.at(-1), limit: 40 })) all.push(...page);
    assert.deepEqual(all, range(1, 150));
  });
  test("a message of history has the fields of a live one", async () => {
    const { messages: [message], epoch } = await client.ok({ type: "history", channel, limit: 1 });
    assert.deepEqual([message.channel, message.event, message.payload, message.offset], [channel, "message", 150, 150]);
    assert.equal(typeof message.id, "string");
    assert.equal(typeof message.ts, "number");
    assert.ok(message.epoch === undefined || message.epoch === epoch);
  });
  test("an untouched channel has an empty history", async () => {
    const answer = await client.ok({ type: "history", channel: fresh() });
    assert.deepEqual([answer.messages, answer.offset], [[], 0]);
  });
});
