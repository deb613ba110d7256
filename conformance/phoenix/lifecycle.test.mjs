// Connections that are lost, servers that restart, crowds, and topics with members of every protocol.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { eventually, OPEN_RULE, Server } from "../harness/server.mjs";
import { CLIENTS, closed, connect, disconnectAll, join, keeping, ok, opened, patiently, VARIANTS } from "./client.mjs";

let server;
before(async () => {
  server = await Server.start({ channels: [OPEN_RULE] });
});
after(async () => {
  disconnectAll();
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = () => `life:${++next}`;

for (const { name, ...variant } of VARIANTS) {
  test(`${name}: channels are joined again after a server restart`, async () => {
    const first = await Server.start({ channels: [OPEN_RULE] });
    const { port } = first;
    const socket = connect(first, { ...variant, user: "ann", longpollerTimeout: 2_000 });
    const channel = await join(socket, "room:1");
    const lost = closed(socket);
    await first.stop();
    await lost;
    const second = await Server.start({ channels: [OPEN_RULE] }, { port });
    try {
      const joined = new Promise((done) => channel.joinPush.receive("ok", done));
      await patiently(joined, "the second join");
      await eventually(async () => {
        const { body } = await second.api("GET", "/api/channels/room:1");
        return body?.members === 1;
      }, "its membership");
      await ok(channel.push("again", { n: 1 }));
      assert.deepEqual(await channel.next("again"), { n: 1 });
    } finally {
      socket.disconnect();
      await second.stop();
    }
  });

  test(`${name}: a drain sends it away, and it comes back`, async () => {
    const first = await Server.start({ channels: [OPEN_RULE] });
    const { port } = first;
    const socket = connect(first, variant);
    const channel = await join(socket, "room:1");
    const lost = closed(socket);
    first.signal("SIGTERM");
    const { code } = await lost;
    if (!variant.longpoll) assert.equal(code, 1012);
    assert.equal((await first.exited).code, 0);
    const second = await Server.start({ channels: [OPEN_RULE] }, { port });
    try {
      await patiently(new Promise((done) => channel.joinPush.receive("ok", done)), "the second join");
    } finally {
      socket.disconnect();
      await first.stop();
      await second.stop();
    }
  });
}

describe("a topic with members of several protocols", () => {
  test("Phoenix over both transports, native and SSE see the same messages in the same order", async () => {
    const topic = fresh();
    const members = [];
    for (const { name, ...variant } of VARIANTS) members.push([name, await join(connect(server, variant), topic)]);
    const native = await Client.connect(server);
    await native.subscribe(topic);
    const abort = new AbortController();
    const stream = await fetch(`${server.origin}/sse?channel=${encodeURIComponent(topic)}`, { signal: abort.signal });
    const sent = Array.from({ length: 20 }, (_, n) => ({ n }));
    for (const { n } of sent) {
      if (n % 3 === 0) await ok(members[n % members.length][1].push("tick", { n }));
      else if (n % 3 === 1) await native.publish(topic, { n }, { event: "tick" });
      else await server.publish(topic, { n }, { event: "tick" });
    }
    for (const [name, channel] of members) for (const payload of sent) assert.deepEqual(await channel.next("tick"), payload, name);
    for (const payload of sent) assert.deepEqual((await native.message(topic)).payload, payload);
    let text = "";
    for await (const part of stream.body) {
      text += Buffer.from(part).toString();
      if (text.includes('{"n":19}')) break;
    }
    abort.abort();
    const seen = [...text.matchAll(/"payload":\{"n":(\d+)\}/g)].map(([, n]) => Number(n));
    assert.deepEqual(seen, sent.map(({ n }) => n));
  });

  test("the metrics count Phoenix connections", async () => {
    await join(connect(server), fresh());
    assert.ok((await server.metric("starling_connections", { protocol: "phoenix" })) >= 1);
  });
});

test("500 clients: each hears each of 20 messages once and in order", async () => {
  const topic = fresh();
  const lib = CLIENTS[1][1];
  const counts = [];
  const done = [];
  for (let group = 0; group < 10; group += 1) {
    await Promise.all(Array.from({ length: 50 }, async () => {
      const socket = connect(server, { lib });
      const channel = socket.channel(topic);
      const heard = [];
      counts.push(heard);
      // Presence of a crowd is another matter: 500 states of 500 members.
      done.push(new Promise((all) => channel.on("tick", ({ n }) => {
        heard.push(n);
        if (heard.length === 20) all();
      })));
      await ok(channel.join(20_000));
    }));
  }
  const speaker = await join(connect(server, { lib, timeout: 20_000 }), topic);
  for (let n = 0; n < 20; n += 1) await ok(speaker.push("tick", { n }));
  await patiently(Promise.all(done), "all messages");
  const expected = Array.from({ length: 20 }, (_, n) => n);
  for (const heard of counts) assert.deepEqual(heard, expected);
});

test("a client that lost its socket joins again and recovers what it missed", async () => {
  const topic = fresh();
  let position;
  const socket = connect(server, { params: { meta: "1" } });
  const channel = keeping(socket.channel(topic, () => (position === undefined ? { rewind: 10 } : { recover: position })));
  const response = await ok(channel.join());
  position = { epoch: response.epoch, offset: response.offset };
  const heard = [];
  channel.on("tick", ({ n }) => heard.push(n));
  await server.publish(topic, { n: 1 }, { event: "tick" });
  await eventually(() => heard.length === 1, "the first message");
  position.offset += 1;
  const lost = closed(socket);
  socket.conn.terminate();
  await lost;
  await server.publish(topic, { n: 2 }, { event: "tick" });
  await opened(socket);
  await eventually(() => heard.length === 2, "the message that was missed");
  await server.publish(topic, { n: 3 }, { event: "tick" });
  await eventually(() => heard.length === 3, "the message after it");
  assert.deepEqual(heard, [1, 2, 3]);
});
