// Frame by frame: what is not a message, headers that lie, references of all kinds, and what is bounded.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { OPEN_RULE, Server } from "../harness/server.mjs";
import { Frames } from "./client.mjs";

let server;
before(async () => {
  server = await Server.start({ server: { max_payload: "64KiB" }, limits: { subscriptions: 50 }, channels: [{ match: "room:*", subscribe: "anyone", publish: "members" }, { ...OPEN_RULE, match: "log:*" }] });
});
after(async () => {
  closeAll();
  await server.stop();
});

const open = (options) => Frames.open(server, options);
const reply = (joinRef, ref, topic, status, response) => [joinRef, ref, topic, "phx_reply", { response, status }];
const hex = (text) => Buffer.from(text.replaceAll(" ", ""), "hex");

describe("what is no message closes with 1011", () => {
  for (const [name, frame] of [
    ["no JSON", "hello"], ["an empty frame", ""], ["an object", "{}"], ["a number", "5"], ["an empty array", "[]"], ["four elements", '["1","1","a","b"]'], ["an array that does not end", '["1","1","a","b",{}'],
    ["100,000 brackets", "[".repeat(60_000)],
    ["an empty binary frame", Buffer.alloc(0)], ["a header without names", hex("0001010101")], ["a header that is too short", hex("00ff")], ["lengths that lie", hex("00 ffffffff 6161")],
    ["a reply", hex("01 01010102 31 32 61 6f6b")], ["a broadcast", hex("02 0101 6161")], ["names that are not UTF-8", hex("00 00000101 fffe")],
  ]) {
    test(name, async () => {
      const frames = await open();
      frames.send(frame);
      assert.equal(await frames.closed, 1011);
    });
  }

  test("in serializer 1.0.0", async () => {
    for (const frame of ["[]", "{}", '{"topic":"a","event":"phx_join","payload":{}}', '["1","1","a","phx_join",{}]']) {
      const frames = await open({ query: "?vsn=1.0.0" });
      frames.send(frame);
      assert.equal(await frames.closed, 1011, frame);
    }
  });
});

describe("what cannot be done is answered", () => {
  for (const [name, frame, joinRef, ref, topic] of [
    ["a ref that is an object", ["1", {}, "room:a", "phx_join", {}], "1", null, "room:a"],
    ["a join_ref that is an array", [["1"], "1", "room:a", "phx_join", {}], null, "1", "room:a"],
    ["a huge ref", ["1", "x".repeat(10_000), "room:a", "phx_join", {}], "1", null, "room:a"],
    ["a topic that is a number", ["1", "1", 5, "phx_join", {}], "1", "1", "phoenix"],
    ["an event that is null", ["1", "1", "room:a", null, {}], "1", "1", "room:a"],
    ["an empty topic", ["1", "1", "", "phx_join", {}], "1", "1", ""],
    ["a rewind below zero", ["1", "1", "room:a", "phx_join", { rewind: -1 }], "1", "1", "room:a"],
  ]) {
    test(name, async () => {
      const frames = await open();
      frames.send(frame);
      const [gotJoinRef, gotRef, gotTopic, event, payload] = await frames.next();
      assert.deepEqual([gotJoinRef, gotRef, gotTopic, event, payload.status], [joinRef, ref, topic, "phx_reply", "error"]);
      assert.ok(["INVALID_MESSAGE", "INVALID_CHANNEL"].includes(payload.response.code), JSON.stringify(payload));
      frames.send([null, "9", "phoenix", "heartbeat", {}]);
      assert.deepEqual(await frames.next(), reply(null, "9", "phoenix", "ok", {}));
      frames.terminate();
    });
  }

  test("references that are numbers or nothing", async () => {
    const frames = await open();
    for (const ref of [7, -1.5, null, "", "ü", "\u0000"]) {
      frames.send([null, ref, "phoenix", "heartbeat", {}]);
      assert.deepEqual(await frames.next(), reply(null, ref, "phoenix", "ok", {}));
    }
    frames.terminate();
  });

  test("elements behind the fifth are ignored", async () => {
    const frames = await open();
    frames.send([null, "1", "phoenix", "heartbeat", {}, "more", []]);
    assert.deepEqual(await frames.next(), reply(null, "1", "phoenix", "ok", {}));
    frames.terminate();
  });

  test("a push to a topic that was not joined", async () => {
    const frames = await open();
    frames.send([null, "7", "room:zzz", "echo", {}]);
    assert.deepEqual(await frames.next(), reply(null, "7", "room:zzz", "error", { reason: "unmatched topic" }));
    frames.send(["8", "8", "room:zzz", "phx_leave", {}]);
    assert.deepEqual(await frames.next(), reply("8", "8", "room:zzz", "ok", {}));
    frames.terminate();
  });

  test("more joins than a connection may have", async () => {
    const frames = await open();
    for (let n = 0; n < 60; n += 1) frames.send([`${n}`, `${n}`, `room:${n}`, "phx_join", {}]);
    for (let n = 0; n < 60; n += 1) {
      const [, ref, , , { status, response }] = await frames.event("phx_reply");
      assert.equal(ref, `${n}`);
      assert.deepEqual([status, response.code], n < 50 ? ["ok", undefined] : ["error", "LIMIT_EXCEEDED"]);
    }
    frames.terminate();
  });

  test("twenty thousand joins and leaves cost nothing that stays", async () => {
    const frames = await open();
    const rounds = 20_000;
    for (let n = 0; n < rounds; n += 1) {
      frames.send(`["${n}","${n}","room:flood","phx_join",{}]`);
      frames.send(`["${n}","l${n}","room:flood","phx_leave",{}]`);
    }
    frames.send([null, "end", "phoenix", "heartbeat", {}]);
    for (;;) {
      const frame = await frames.next();
      if (frame[1] === "end") break;
    }
    const { body } = await server.api("GET", "/api/channels?prefix=room:flood");
    assert.deepEqual(body.channels, []);
    frames.terminate();
  });

  test("a message larger than max_payload closes with 1009", async () => {
    const frames = await open();
    frames.send(["1", "1", "room:a", "e", "x".repeat(70_000)]);
    assert.equal(await frames.closed, 1009);
  });

  test("a flood is refused, then closed", async () => {
    const strict = await Server.start({ limits: { messages_per_second: 5, burst: 5, strikes: 20 }, channels: [OPEN_RULE] });
    try {
      const frames = await Frames.open(strict);
      // So many that a row of 20 is refused, however long the server takes over them.
      for (let n = 0; n < 500; n += 1) frames.send([null, `${n}`, "phoenix", "heartbeat", {}]);
      let refused = 0;
      while (refused < 10) {
        const [, , , , { status, response }] = await frames.event("phx_reply");
        if (status === "error") {
          assert.equal(response.code, "RATE_LIMITED");
          refused += 1;
        }
      }
      assert.equal(await frames.closed, 1008);
    } finally {
      await strict.stop();
    }
  });
});

describe("joins", () => {
  test("the frames of a join, a push, a second join, a leave", async () => {
    const frames = await open();
    const topic = "room:frames";
    frames.send(["2", "2", topic, "phx_join", {}]);
    assert.deepEqual(await frames.next(), reply("2", "2", topic, "ok", {}));
    frames.send(["2", "5", topic, "shout", { x: 1 }]);
    assert.deepEqual(await frames.next(), [null, null, topic, "shout", { x: 1 }]);
    assert.deepEqual(await frames.next(), reply("2", "5", topic, "ok", {}));
    frames.send(["11", "11", topic, "phx_join", {}]);
    assert.deepEqual(await frames.next(), reply("11", "11", topic, "ok", {}));
    assert.deepEqual(await frames.next(), ["2", "2", topic, "phx_close", {}]);
    frames.send(["2", "12", topic, "stale", {}]);
    assert.deepEqual(await frames.next(), [null, null, topic, "stale", {}]);
    assert.deepEqual(await frames.next(), reply("11", "12", topic, "ok", {}));
    frames.send(["2", "13", topic, "phx_leave", {}]);
    frames.send(["11", "14", topic, "phx_leave", {}]);
    assert.deepEqual(await frames.next(), reply("11", "14", topic, "ok", {}));
    assert.deepEqual(await frames.next(), ["11", "11", topic, "phx_close", {}]);
    frames.terminate();
  });

  test("binary frames byte by byte", async () => {
    const frames = await open();
    frames.send(["18", "18", "room:a", "phx_join", {}]);
    await frames.next();
    frames.send(hex("000202060331383139726f6f6d3a6162696e0102"));
    assert.equal(await frames.next(), "bin 020603726f6f6d3a6162696e0102");
    assert.deepEqual(await frames.next(), reply("18", "19", "room:a", "ok", {}));
    frames.terminate();
  });

  test("serializer 1.0.0", async () => {
    const frames = await open({ query: "?vsn=1.0.0" });
    const topic = "room:v1";
    frames.send({ topic, event: "phx_join", payload: {}, ref: "1" });
    assert.deepEqual(await frames.next(), { topic, event: "phx_reply", ref: "1", payload: { response: {}, status: "ok" } });
    frames.send({ topic, event: "say", payload: { a: 1 }, ref: "2" });
    assert.deepEqual(await frames.next(), { topic, event: "say", ref: null, payload: { a: 1 } });
    await server.publish(topic, "AAE=", { event: "bytes", encoding: "base64" });
    assert.deepEqual((await frames.next()).event, "phx_reply");
    assert.deepEqual((await frames.next()).payload, { data: "AAE=", encoding: "base64" });
    frames.send({ topic, event: "phx_leave", payload: {}, ref: "3" });
    assert.equal((await frames.next()).event, "phx_reply");
    assert.equal((await frames.next()).event, "phx_close");
    frames.terminate();
  });

  test("numbers keep their digits", async () => {
    const frames = await open();
    frames.send(["1", "1", "room:digits", "phx_join", {}]);
    await frames.next();
    const texts = [];
    frames.socket.on("message", (data) => texts.push(data.toString()));
    frames.send('["1","2","room:digits","n",{"b":12345678901234567890.10,"a":1e400}]');
    await frames.event("phx_reply");
    assert.ok(texts.some((text) => text.includes('{"b":12345678901234567890.10,"a":1e400}')), texts.join());
    frames.terminate();
  });
});

describe("recovery", () => {
  const positions = async (channel) => {
    const native = await Client.connect(server);
    const { epoch, offset } = await native.subscribe(channel);
    native.lose();
    return { epoch, offset };
  };

  test("recover: what was missed, once, then what comes", async () => {
    const topic = "log:recover";
    for (let n = 1; n <= 3; n += 1) await server.publish(topic, { n });
    const { epoch } = await positions(topic);
    const frames = await open();
    frames.send(["1", "1", topic, "phx_join", { recover: { epoch, offset: 1 } }]);
    assert.deepEqual(await frames.next(), reply("1", "1", topic, "ok", { epoch, offset: 3, recovered: true }));
    await server.publish(topic, { n: 4 });
    for (const n of [2, 3, 4]) assert.deepEqual(await frames.event("message"), [null, null, topic, "message", { n }]);
    frames.terminate();
  });

  test("recover from a log that is not there any more says so", async () => {
    const topic = "log:other";
    await server.publish(topic, {});
    const frames = await open();
    frames.send(["1", "1", topic, "phx_join", { recover: { epoch: "another", offset: 1 } }]);
    const [, , , , { response, status }] = await frames.next();
    assert.deepEqual([status, response.recovered, response.offset], ["ok", false, 1]);
    frames.terminate();
  });

  test("rewind, with the place of each message when asked", async () => {
    const topic = "log:rewind";
    for (let n = 1; n <= 5; n += 1) await server.publish(topic, { n }, { messageId: `m${n}` });
    const frames = await open({ query: "?vsn=2.0.0&meta=1" });
    frames.send(["1", "1", topic, "phx_join", { rewind: 2 }]);
    const [, , , , { response: { epoch, offset, recovered } }] = await frames.next();
    assert.deepEqual([offset, recovered], [5, undefined]);
    for (const n of [4, 5]) {
      const [joinRef, ref, , event, payload, meta] = await frames.event("message");
      assert.deepEqual([joinRef, ref, event, payload], [null, null, "message", { n }]);
      assert.equal(typeof meta.ts, "number");
      assert.deepEqual({ ...meta, ts: 0 }, { id: `m${n}`, ts: 0, offset: n, epoch });
    }
    frames.terminate();
  });

  test("a join that does not ask is not told", async () => {
    const frames = await open();
    frames.send(["1", "1", "log:quiet", "phx_join", {}]);
    assert.deepEqual(await frames.next(), reply("1", "1", "log:quiet", "ok", {}));
    frames.terminate();
  });
});
