// Slow clients: what happens past the queue, for each delivery policy, with exact accounting (contract 6, 11).

import assert from "node:assert/strict";
import { after, before, beforeEach, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { frame, OPCODE, RawSocket } from "../harness/raw.mjs";
import { eventually, Server } from "../harness/server.mjs";

const PADDING = "x".repeat(30_000);
const history = { size: 10, ttl: "1h" };
const rule = (delivery) => ({ match: `${delivery}:*`, subscribe: "anyone", publish: "anyone", delivery, history });

let server;
before(async () => {
  server = await Server.start({
    // One worker: when the witness has a message, the same turn has decided what becomes of it for those who stall.
    server: { workers: 1 },
    heartbeat: { interval: "60s", timeout: "60s" },
    backpressure: { high_water: "64KiB", queue_messages: 100, queue_bytes: "1MiB" },
    channels: [rule("reliable"), rule("drop"), rule("latest")],
  });
});
after(async () => {
  closeAll();
  await server.stop();
});

let channel;
let count = 0;
beforeEach(() => { channel = undefined; });

/** A client that subscribes and then stops reading. */
async function stalled() {
  const raw = await RawSocket.upgrade(server);
  raw.write(frame(OPCODE.text, JSON.stringify({ type: "subscribe", channel, id: 1 })));
  assert.equal(JSON.parse((await raw.frame()).payload).type, "ack");
  raw.socket.pause();
  return raw;
}

const BATCH = 20; // 600 kB: less than a queue holds, so that a client that reads is never a slow one

/** Publishes `size` messages, padded, numbered from `from`, in one request; with a witness, waits until it has all of them in order. */
async function publish(from, { key, witness, size = BATCH } = {}) {
  const messages = Array.from({ length: size }, (_, at) => ({ channel, payload: { n: from + at, PADDING }, ...(key ? { key: key(from + at) } : {}) }));
  const { status, text } = await server.api("POST", "/api/batch", { messages });
  assert.equal(status, 200, text.slice(0, 300));
  for (let at = from; witness && at < from + size; at++) assert.equal((await witness.message(channel)).payload.n, at);
  return from + size;
}

/** Reads `message`s and `gap`s until the message whose payload is "end". */
async function readToEnd(raw) {
  raw.socket.resume();
  const seen = [];
  for (;;) {
    const { opcode, payload } = await raw.frame();
    if (opcode === OPCODE.ping) {
      raw.write(frame(OPCODE.pong, payload));
      continue;
    }
    assert.equal(opcode, OPCODE.text, `opcode ${opcode}: ${payload.toString("latin1").slice(0, 100)}`);
    const message = JSON.parse(payload);
    if (message.payload === "end") return seen;
    seen.push(message);
  }
}

test("reliable: close 4008 for the slow one, everything for the others", async () => {
  channel = `reliable:${++count}`;
  const raw = await stalled();
  const witness = await Client.connect(server);
  await witness.subscribe(channel);
  const before = await server.metric("starling_connections_closed_total", { reason: "slow_consumer" });
  // Who is too slow is no member any more, and has 5 s to hear why.
  const members = async () => (await server.api("GET", `/api/channels/${channel}`)).body.members;
  for (let published = 0; (await members()) === 2;) {
    published = await publish(published, { witness, size: 5 });
    assert.ok(published < 4000, "it was never too slow");
  }
  raw.socket.resume();
  assert.equal(await raw.closeCode(), 4008);
  raw.write(frame(OPCODE.close, Buffer.from([0x0f, 0xa8])));
  await raw.end();
  await eventually(async () => (await server.metric("starling_connections_closed_total", { reason: "slow_consumer" })) > before, "the count of the close");
  const offsets = raw.seen.filter(({ opcode }) => opcode === OPCODE.text).map(({ text }) => JSON.parse(text)).filter(({ type }) => type === "message").map(({ payload }) => payload.n);
  assert.deepEqual(offsets, offsets.map((_, at) => at), "what it got before is without a gap");
  await witness.settled();
});

test("reliable: a client that never reads again is cut off all the same", async () => {
  channel = `reliable:${++count}`;
  const raw = await stalled();
  const witness = await Client.connect(server);
  await witness.subscribe(channel);
  const before = await server.metric("starling_connections", { app: "1" });
  let published = 0;
  await eventually(async () => {
    published = await publish(published, { witness });
    return (await server.metric("starling_connections", { app: "1" })) < before;
  }, "the end of the stalled connection", 30_000);
  raw.destroy();
  await witness.settled();
});

test("drop: one gap says exactly how many were missed", async () => {
  channel = `drop:${++count}`;
  const raw = await stalled();
  const witness = await Client.connect(server);
  await witness.subscribe(channel);
  const before = await server.metric("starling_messages_dropped_total", { app: "1" });
  let published = 0;
  const dropped = async () => (await server.metric("starling_messages_dropped_total", { app: "1" })) - before;
  while ((await dropped()) < 100) {
    published = await publish(published, { witness });
    assert.ok(published < 4000, "nothing was ever dropped");
  }
  assert.deepEqual((await witness.settled()).filter(({ type }) => type === "gap"), []);
  const missing = await dropped();
  // The gap comes when the socket drains; the end is published once it has been seen.
  const seen = [];
  raw.socket.resume();
  while (seen.at(-1)?.type !== "gap") {
    const { opcode, payload } = await raw.frame();
    if (opcode === OPCODE.text) seen.push(JSON.parse(payload));
  }
  await server.publish(channel, "end");
  assert.deepEqual(await readToEnd(raw), [], "nothing but the end follows the gap");
  const gap = seen.pop();
  assert.deepEqual([gap.type, gap.channel, gap.missed], ["gap", channel, missing]);
  const got = seen.map(({ payload }) => payload.n);
  assert.deepEqual(got, got.map((_, at) => at), "those before the gap are in order, without a hole");
  assert.equal(got.length + gap.missed, published);
  raw.destroy();
});

test("latest: a slow client sees the newest state of each key", async () => {
  channel = `latest:${++count}`;
  const raw = await stalled();
  const witness = await Client.connect(server);
  await witness.subscribe(channel);
  const before = await server.metric("starling_messages_conflated_total", { app: "1" });
  const conflated = async () => (await server.metric("starling_messages_conflated_total", { app: "1" })) - before;
  let published = 0;
  while ((await conflated()) < 100) {
    published = await publish(published, { witness, key: (n) => `key-${n % 10}` });
    assert.ok(published < 4000, "nothing was ever conflated");
  }
  const replaced = await conflated();
  await server.publish(channel, "end");
  const seen = await readToEnd(raw);
  // The channel keeps history, and a hole in its offsets is never silent: what was replaced is announced.
  const gaps = seen.filter(({ type }) => type === "gap");
  const numbers = seen.filter(({ type }) => type === "message").map(({ payload }) => payload.n);
  assert.equal(gaps.reduce((sum, { missed }) => sum + missed, 0), replaced);
  assert.equal(numbers.length + replaced, published);
  const newest = new Map(numbers.map((n) => [n % 10, n]));
  for (let key = 0; key < 10; key++) assert.equal(newest.get(key), published - 10 + key, `the newest of key ${key}`);
  for (const key of newest.keys()) {
    const of = numbers.filter((n) => n % 10 === key);
    assert.deepEqual(of, [...of].sort((a, b) => a - b), "never backwards");
  }
  raw.destroy();
});

test("recovered messages are paced by the socket and are no queue", async () => {
  const paced = await Server.start({
    backpressure: { high_water: "16KiB", queue_messages: 10, queue_bytes: "64KiB" },
    channels: [{ match: "*", subscribe: "anyone", publish: "anyone", history: { size: 1000, ttl: "1h" } }],
  });
  try {
    for (let round = 0; round < 5; round++) {
      const messages = Array.from({ length: 200 }, (_, at) => ({ channel: "long", payload: { n: round * 200 + at, PADDING } }));
      assert.equal((await paced.api("POST", "/api/batch", { messages })).status, 200);
    }
    const raw = await RawSocket.upgrade(paced);
    raw.write(frame(OPCODE.text, JSON.stringify({ type: "subscribe", channel: "long", rewind: 1000, id: 1 })));
    // 30 MB of history, to a client that takes its time over the first bytes.
    assert.equal(JSON.parse((await raw.frame()).payload).type, "ack");
    raw.socket.pause();
    await paced.publish("long", "end");
    raw.socket.resume();
    const seen = await readToEnd(raw);
    assert.deepEqual(seen.map(({ offset }) => offset), Array.from({ length: 1000 }, (_, at) => at + 1));
    raw.destroy();
  } finally {
    await paced.stop();
  }
});

test("a stalled member delays nobody", async () => {
  channel = `drop:${++count}`;
  const raw = await stalled();
  const [witness, publisher] = [await Client.connect(server), await Client.connect(server)];
  await witness.subscribe(channel);
  for (let published = 0; published < 1000;) published = await publish(published, { witness });
  await publisher.publish(channel, "end");
  await witness.until({ type: "message", payload: "end" });
  raw.destroy();
});
