// Payloads pass through unchanged, as text and as bytes; the MessagePack subprotocol (contract 1, 5).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { encode } from "@msgpack/msgpack";

import { Client, closeAll, MSGPACK_PROTOCOL } from "../harness/client.mjs";
import { Server } from "../harness/server.mjs";

let server;
before(async () => { server = await Server.start(); });
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = () => `data:${++next}`;
const msgpack = (options = {}) => Client.connect(server, { protocols: [MSGPACK_PROTOCOL], ...options });

describe("JSON text", () => {
  const texts = [
    "9007199254740993", "-9223372036854775809", "123456789012345678901234567890", "1.0", "1.10", "0.1000000000000000055511151231257827", "1e400", "1E+2", "-0", "-0.0",
    '{"z":1,"a":2,"m":{"y":1,"b":2}}', '{"10":1,"9":2,"1":3}', '["\\u00e9","é","\\/","/"]', '"\\ud83d\\udc26 🐦"', '{"":""}', "[]", "{}", "null",
    '{"__proto__":{"a":1},"constructor":1}', '"\\u0000\\u001f\\u007f\\u2028"', '{"payload":{"type":"message","channel":"x"}}',
  ];
  for (const text of texts) {
    test(`unchanged: ${text}`, async () => {
      const channel = fresh();
      const [ann, bob] = [await Client.connect(server), await Client.connect(server)];
      await bob.subscribe(channel);
      ann.raw(`{"type":"publish","channel":"${channel}","payload":${text},"id":1}`);
      assert.equal((await ann.next({ id: 1 })).type, "ack");
      await bob.message(channel);
      assert.ok(bob.raws.at(-1).includes(`"payload":${text}`), bob.raws.at(-1));
      // The same from history, and over HTTP in and out.
      await ann.ok({ type: "history", channel });
      assert.ok(ann.raws.at(-1).includes(`"payload":${text}`), ann.raws.at(-1));
      const published = await server.api("POST", "/api/publish", `{"channel":"${channel}","payload":${text}}`);
      assert.equal(published.status, 200, published.text);
      await bob.message(channel);
      assert.ok(bob.raws.at(-1).includes(`"payload":${text}`), bob.raws.at(-1));
      const history = await server.api("GET", `/api/channels/${channel}/history`);
      assert.equal(history.text.split(`"payload":${text}`).length, 3, history.text);
    });
  }

  test("white space around and within the message does not matter", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    await client.subscribe(channel);
    client.raw(` \n{ "payload" : { "big" : 9007199254740993 } ,\t"type" : "publish",\r\n"channel":"${channel}" } `);
    await client.message(channel);
    assert.match(client.raws.at(-1), /"payload":\s*\{\s*"big"\s*:\s*9007199254740993\s*\}/);
  });

  test("escapes in names of fields and in the channel are understood", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    await client.subscribe(channel);
    client.raw(`{"\\u0074ype":"publ\\u0069sh","channel":"${channel.replace("d", "\\u0064")}","payload":1}`);
    await client.message(channel);
  });

  test("60,000 characters arrive whole", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    await client.subscribe(channel);
    const payload = "é🐦x".repeat(8000);
    await client.publish(channel, payload);
    assert.equal((await client.message(channel)).payload, payload);
  });
});

describe("half a surrogate pair, which JSON can write and UTF-8 cannot", () => {
  for (const [name, text] of [["in a payload", '"\\ud800"'], ["in the name of a member", '{"\\udc00":1}']]) {
    test(`${name}: refused or passed on, and harmless to every kind of client`, async () => {
      const channel = fresh();
      const [sender, json, binary] = [await Client.connect(server), await Client.connect(server), await msgpack()];
      await json.subscribe(channel);
      await binary.subscribe(channel);
      sender.raw(`{"type":"publish","channel":"${channel}","payload":${text},"id":1}`);
      const answer = await sender.next({ id: 1 });
      assert.ok(answer.type === "ack" || answer.code === "INVALID_MESSAGE", JSON.stringify(answer));
      await sender.publish(channel, "after");
      for (const client of [json, binary]) await client.message(channel, { payload: "after" });
      if (answer.type === "ack") assert.ok(json.raws.some((raw) => raw.includes(`"payload":${text}`)));
    });
  }

  test("in the name of a channel: an error", async () => {
    const client = await Client.connect(server);
    client.raw('{"type":"subscribe","channel":"\\ud800","id":1}');
    assert.ok(["INVALID_CHANNEL", "INVALID_MESSAGE"].includes((await client.next({ type: "error" })).code));
    await client.settled();
  });
});

describe("bytes and base64", () => {
  const bytes = Uint8Array.from({ length: 256 }, (_, at) => at);
  const base64 = Buffer.from(bytes).toString("base64");

  test("a MessagePack client's bytes reach a JSON client as base64, and back", async () => {
    const channel = fresh();
    const [binary, json] = [await msgpack(), await Client.connect(server)];
    await binary.subscribe(channel);
    await json.subscribe(channel);
    await binary.publish(channel, bytes);
    for (const from of [json, binary]) {
      const message = await from.message(channel);
      if (from === json) assert.deepEqual([message.payload, message.encoding], [base64, "base64"]);
      else assert.deepEqual([Buffer.from(message.payload), message.encoding], [Buffer.from(bytes), undefined]);
    }
    await json.publish(channel, base64, { encoding: "base64" });
    assert.deepEqual(Buffer.from((await binary.message(channel)).payload), Buffer.from(bytes));
    const echoed = await json.message(channel);
    assert.deepEqual([echoed.payload, echoed.encoding], [base64, "base64"]);
    const { messages } = await json.ok({ type: "history", channel });
    assert.deepEqual(messages.map(({ payload, encoding }) => [payload, encoding]), [[base64, "base64"], [base64, "base64"]]);
    assert.ok((await binary.ok({ type: "history", channel })).messages.every(({ payload }) => Buffer.from(bytes).equals(payload)));
  });

  test("bytes over HTTP", async () => {
    const channel = fresh();
    const [binary, json] = [await msgpack(), await Client.connect(server)];
    await binary.subscribe(channel);
    await json.subscribe(channel);
    await server.publish(channel, base64, { encoding: "base64" });
    assert.deepEqual(Buffer.from((await binary.message(channel)).payload), Buffer.from(bytes));
    assert.equal((await json.message(channel)).encoding, "base64");
  });

  test("a string that looks like base64 stays a string", async () => {
    const channel = fresh();
    const binary = await msgpack();
    await binary.subscribe(channel);
    await server.publish(channel, base64);
    assert.equal((await binary.message(channel)).payload, base64);
  });

  test("no bytes at all are bytes", async () => {
    const channel = fresh();
    const json = await Client.connect(server);
    await json.subscribe(channel);
    await (await msgpack()).publish(channel, new Uint8Array());
    const message = await json.message(channel);
    assert.deepEqual([message.payload, message.encoding], ["", "base64"]);
  });
});

describe("MessagePack", () => {
  test("the subprotocol is selected, and the same messages work", async () => {
    const channel = fresh();
    const client = await Client.user(server, "max", { protocols: [MSGPACK_PROTOCOL] });
    assert.equal(client.socket.protocol, MSGPACK_PROTOCOL);
    const ack = await client.subscribe(channel, { presence: true, data: { n: 1 } });
    assert.equal(ack.offset, 0);
    const { members } = await client.ok({ type: "presence", channel, action: "get" });
    assert.deepEqual(members, [{ userId: "max", connectionId: client.connectionId, data: { n: 1 } }]);
    const published = await client.publish(channel, { deep: [1, { a: null }], f: 1.5, neg: -7 });
    const message = await client.message(channel);
    assert.deepEqual(message.payload, { deep: [1, { a: null }], f: 1.5, neg: -7 });
    assert.equal(message.offset, published.offset);
    const { messages } = await client.ok({ type: "history", channel });
    assert.deepEqual(messages[0].payload, message.payload);
    await client.fails({ type: "shout" }, "UNKNOWN_TYPE");
    await client.fails({ type: "subscribe", channel: 5 }, "INVALID_MESSAGE");
    client.send({ type: "ping", id: "p" });
    assert.deepEqual(await client.next({ type: "pong" }), { type: "pong", id: "p" });
  });

  test("JSON and MessagePack clients share a channel", async () => {
    const channel = fresh();
    const [binary, json] = [await msgpack(), await Client.connect(server)];
    await binary.subscribe(channel);
    await json.subscribe(channel);
    const payload = { text: "é🐦", list: [1, -1, 1.5, true, null, 4_294_967_296], nested: { a: {} } };
    await json.publish(channel, payload);
    await binary.publish(channel, payload);
    for (const client of [binary, json]) {
      for (let at = 0; at < 2; at++) assert.deepEqual((await client.message(channel)).payload, payload);
    }
  });

  test("integers beyond 2^53 survive both ways", async () => {
    const channel = fresh();
    const [binary, json] = [await msgpack(), await Client.connect(server)];
    await json.subscribe(channel);
    binary.socket.send(encode({ type: "publish", channel, payload: { big: 9007199254740993n, low: -9223372036854775808n, high: 18446744073709551615n } }, { useBigInt64: true }));
    await json.message(channel);
    assert.match(json.raws.at(-1), /"payload":\{"big":9007199254740993,"low":-9223372036854775808,"high":18446744073709551615\}/);
  });

  for (const [name, bytes] of [["nothing", []], ["a reserved byte", [0xc1]], ["a map cut off", [0x82, 0xa1]], ["a length beyond the frame", [0xdb, 0xff, 0xff, 0xff, 0xff]],
    ["an array of four billion", [0xdd, 0xff, 0xff, 0xff, 0xff]], ["a map of four billion", [0xdf, 0xff, 0xff, 0xff, 0xff]], ["bytes after the end", [...encode({ type: "ping" }), 0xc0]]]) {
    test(`invalid MessagePack closes with 1003: ${name}`, async () => {
      const client = await msgpack();
      client.socket.send(Buffer.from(bytes), { binary: true });
      await client.closes(1003);
    });
  }

  test("valid MessagePack of the wrong shape is INVALID_MESSAGE", async () => {
    const client = await msgpack();
    for (const of of [5, "ping", null, [], [{ type: "ping" }]]) {
      client.send(of);
      assert.equal((await client.next({ type: "error" })).code, "INVALID_MESSAGE");
    }
    client.send({});
    assert.equal((await client.next({ type: "error" })).code, "MISSING_TYPE");
    await client.settled();
  });

  test("a text frame closes with 1003", async () => {
    const client = await msgpack();
    client.raw('{"type":"ping"}');
    await client.closes(1003);
  });

  test("10,000-deep nesting does no harm", async () => {
    const client = await msgpack();
    const head = Buffer.from(encode({ type: "publish", channel: fresh(), id: 1 }));
    head[0] += 1; // one more pair: the payload
    client.socket.send(Buffer.concat([head, Buffer.from(encode("payload")), Buffer.alloc(10_000, 0x91), Buffer.from([0x90])]), { binary: true });
    await Promise.race([client.next(({ id, type }) => id === 1 || type === "error").catch(() => {}), client.closed]);
    if (client.end) assert.equal(client.end.code, 1003);
    await (await Client.connect(server)).settled();
  });
});
