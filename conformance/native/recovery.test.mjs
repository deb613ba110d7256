// Subscribing with `recover` and `rewind`: no gap, no repeat, and an honest answer (contract 1, 5, 11).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { eventually, OPEN_RULE, Server } from "../harness/server.mjs";

let server;
before(async () => {
  server = await Server.start({
    channels: [
      { match: "short:*", subscribe: "anyone", publish: "anyone", history: { size: 5, ttl: "1h" } },
      { match: "brief:*", subscribe: "anyone", publish: "anyone", history: { size: 100, ttl: "1s" } },
      { match: "plain:*", subscribe: "anyone", publish: "anyone" },
      { ...OPEN_RULE, history: { size: 100_000, ttl: "1h" } },
    ],
  });
});
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (kind = "log") => `${kind}:${++next}`;
const range = (from, to) => Array.from({ length: to - from + 1 }, (_, at) => from + at);

/** Publishes `count` messages, each with its offset as payload (on a fresh channel). */
async function fill(channel, count, from = 1) {
  const client = await Client.connect(server);
  for (let at = from; at < from + count; at++) client.send({ type: "publish", channel, payload: at });
  await client.settled();
  const { epoch, offset } = await client.ok({ type: "history", channel, limit: 1 });
  await client.close();
  return { epoch, offset };
}

/** What a client was sent on `channel`, as offsets, up to a marker published now. */
async function received(client, channel) {
  const { messageId } = await server.publish(channel, "marker");
  const got = await client.until({ type: "message", id: messageId });
  return got.filter(({ type }) => type === "message").slice(0, -1).map(({ offset }) => offset);
}

describe("recover", () => {
  test("the missed messages follow the ack, oldest first, then live ones", async () => {
    const channel = fresh();
    const { epoch } = await fill(channel, 10);
    const client = await Client.connect(server);
    const ack = await client.subscribe(channel, { recover: { epoch, offset: 4 } });
    assert.deepEqual([ack.recovered, ack.epoch, ack.offset], [true, epoch, 10]);
    for (const offset of range(5, 10)) {
      const message = await client.next();
      assert.deepEqual([message.type, message.offset, message.payload], ["message", offset, offset]);
    }
    await server.publish(channel, 11);
    assert.equal((await client.next()).offset, 11);
  });

  test("from the newest position: recovered, and nothing was missed", async () => {
    const channel = fresh();
    const position = await fill(channel, 3);
    const client = await Client.connect(server);
    assert.equal((await client.subscribe(channel, { recover: position })).recovered, true);
    assert.deepEqual(await received(client, channel), []);
  });

  test("with rewind: what was missed, or the last messages where that cannot be had", async () => {
    const channel = fresh("short");
    const { epoch } = await fill(channel, 10);
    for (const [recover, recovered, expected] of [
      [{ epoch, offset: 8 }, true, [9, 10]],
      [{ epoch, offset: 10 }, true, []],
      [{ epoch, offset: 2 }, false, [8, 9, 10]],
      [{ epoch, offset: 99 }, false, [8, 9, 10]],
      [{ epoch: "another", offset: 8 }, false, [8, 9, 10]],
      [{ epoch: "another", offset: 0 }, false, [8, 9, 10]],
    ]) {
      const client = await Client.connect(server);
      const ack = await client.subscribe(channel, { recover, rewind: 3 });
      assert.deepEqual([ack.recovered, ack.offset], [recovered, 10], JSON.stringify(recover));
      for (const offset of expected) assert.equal((await client.message(channel)).offset, offset, JSON.stringify(recover));
      assert.deepEqual(await client.settled(), []);
    }
    // More than there is, and more than is read at once.
    const long = fresh();
    await fill(long, 600);
    for (const [name, rewind, from] of [[channel, 100, 6], [long, 500, 101]]) {
      const client = await Client.connect(server);
      const ack = await client.subscribe(name, { recover: { epoch: "another", offset: 7 }, rewind });
      assert.equal(ack.recovered, false);
      assert.deepEqual(await received(client, name), range(from, ack.offset));
      await client.close();
    }
  });

  test("from offset 0: everything", async () => {
    const channel = fresh();
    const client = await Client.connect(server);
    const { epoch, offset } = await client.subscribe(channel);
    await client.ok({ type: "unsubscribe", channel });
    await fill(channel, 3);
    assert.equal((await client.subscribe(channel, { recover: { epoch, offset } })).recovered, true);
    assert.deepEqual(await received(client, channel), [1, 2, 3]);
  });

  for (const [name, recover] of [
    ["another epoch", ({ offset }) => ({ epoch: "not-this-one", offset })],
    ["an empty epoch", ({ offset }) => ({ epoch: "", offset })],
    ["a position that never was", ({ epoch, offset }) => ({ epoch, offset: offset + 1 })],
    ["a position far beyond", ({ epoch }) => ({ epoch, offset: 9_000_000_000_000 })],
  ]) {
    test(`recovered: false from ${name}; live messages follow`, async () => {
      const channel = fresh();
      const position = await fill(channel, 5);
      const client = await Client.connect(server);
      const ack = await client.subscribe(channel, { recover: recover(position) });
      assert.deepEqual([ack.recovered, ack.epoch, ack.offset], [false, position.epoch, 5]);
      assert.deepEqual(await received(client, channel), []);
      await server.publish(channel, "live");
      assert.equal((await client.message(channel)).offset, 7);
    });
  }

  test("recovered: false once the history no longer reaches back; at its edge it does", async () => {
    const channel = fresh("short");
    const { epoch } = await fill(channel, 10);
    const late = await Client.connect(server);
    assert.equal((await late.subscribe(channel, { recover: { epoch, offset: 4 } })).recovered, false);
    const edge = await Client.connect(server);
    assert.equal((await edge.subscribe(channel, { recover: { epoch, offset: 5 } })).recovered, true);
    assert.deepEqual(await received(edge, channel), range(6, 10));
  });

  test("history keeps at most `size` messages", async () => {
    const channel = fresh("short");
    await fill(channel, 10);
    const { messages, offset } = await (await Client.connect(server)).ok({ type: "history", channel });
    assert.deepEqual(messages.map(({ offset: of }) => of), range(6, 10));
    assert.equal(offset, 10);
  });

  test("history keeps messages for `ttl`; then what was missed cannot be recovered", async () => {
    const channel = fresh("brief");
    const { epoch } = await fill(channel, 3);
    const client = await Client.connect(server);
    await eventually(async () => (await client.ok({ type: "history", channel })).messages.length === 0, "the end of the ttl");
    assert.equal((await client.subscribe(channel, { recover: { epoch, offset: 1 } })).recovered, false);
  });

  test("recovered: false on a channel without history", async () => {
    const client = await Client.connect(server);
    const ack = await client.subscribe(fresh("plain"), { recover: { epoch: "e", offset: 0 } });
    assert.equal(ack.recovered, false);
  });

  test("DELETE of the history is a new epoch, from which nothing older can be recovered", async () => {
    const channel = fresh();
    const { epoch } = await fill(channel, 3);
    const witness = await Client.connect(server);
    await witness.subscribe(channel);
    assert.equal((await server.api("DELETE", `/api/channels/${channel}/history`)).status, 204);
    const client = await Client.connect(server);
    const ack = await client.subscribe(channel, { recover: { epoch, offset: 1 } });
    assert.equal(ack.recovered, false);
    assert.notEqual(ack.epoch, epoch);
    const { epoch: published, offset } = await server.publish(channel, "anew");
    assert.equal(published, ack.epoch);
    const message = await witness.message(channel);
    assert.deepEqual([message.epoch, message.offset], [published, offset]);
  });

  test("a recovered message is the same as a live one", async () => {
    const channel = fresh();
    const live = await Client.connect(server);
    const { epoch } = await live.subscribe(channel);
    const ann = await Client.user(server, "ann");
    await ann.publish(channel, { n: 1 }, { event: "e", messageId: "same" });
    const late = await Client.connect(server);
    await late.subscribe(channel, { recover: { epoch, offset: 0 } });
    assert.deepEqual(await late.message(channel), await live.message(channel));
  });
});

test("a history too large for one answer is still met whole, page by page", async () => {
  const channel = fresh();
  for (let round = 0; round < 10; round++) {
    const messages = Array.from({ length: 30 }, (_, at) => ({ channel, payload: `${round * 30 + at + 1} ${"x".repeat(30_000)}` }));
    assert.equal((await server.api("POST", "/api/batch", { messages })).status, 200);
  }
  const client = await Client.connect(server);
  const forwards = [];
  for (let after = 0; ;) {
    const { messages } = await client.ok({ type: "history", channel, after, limit: 1000 });
    if (messages.length === 0) break;
    forwards.push(...messages.map(({ offset }) => offset));
    after = forwards.at(-1);
  }
  assert.deepEqual(forwards, range(1, 300));
  const backwards = [];
  for (let before; ;) {
    const { messages } = await client.ok({ type: "history", channel, limit: 1000, ...(before && { before }) });
    if (messages.length === 0) break;
    backwards.unshift(...messages.map(({ offset }) => offset));
    [before] = backwards;
  }
  assert.deepEqual(backwards, range(1, 300));
});

describe("rewind", () => {
  test("the last N messages, then live ones", async () => {
    const channel = fresh();
    await fill(channel, 10);
    const client = await Client.connect(server);
    const ack = await client.subscribe(channel, { rewind: 3 });
    assert.equal(ack.offset, 10);
    assert.ok(!("recovered" in ack));
    assert.deepEqual(await received(client, channel), [8, 9, 10]);
  });

  test("more than there are: all of them; zero: none", async () => {
    const channel = fresh();
    await fill(channel, 4);
    const all = await Client.connect(server);
    await all.subscribe(channel, { rewind: 100 });
    assert.deepEqual(await received(all, channel), range(1, 4));
    const none = await Client.connect(server);
    await none.subscribe(channel, { rewind: 0 });
    assert.deepEqual(await received(none, channel), []);
  });

  test("beyond what history may keep: at most its size", async () => {
    const channel = fresh("short");
    await fill(channel, 9);
    const client = await Client.connect(server);
    await client.subscribe(channel, { rewind: 1_000_000_000 });
    assert.deepEqual(await received(client, channel), range(5, 9));
  });

  test("on a channel without history it gives nothing, and does no harm", async () => {
    const client = await Client.connect(server);
    const channel = fresh("plain");
    await server.publish(channel, "before");
    client.send({ type: "subscribe", channel, rewind: 5, id: 1 });
    const answer = await client.next({ id: 1 });
    assert.ok(answer.type === "ack" || answer.code === "NO_HISTORY", JSON.stringify(answer));
    assert.deepEqual(await client.settled(), []);
  });
});

describe("while others publish without a pause", () => {
  /** Publishes until stopped; resolves with how many there were. */
  function storm(clients, channel) {
    let going = true;
    const sent = clients.map(async (client) => {
      let count = 0;
      while (going) {
        for (let at = 0; at < 20; at++) client.send({ type: "publish", channel, payload: "storm" });
        count += 20;
        await client.settled();
      }
      return count;
    });
    return async () => {
      going = false;
      return (await Promise.all(sent)).reduce((sum, count) => sum + count, 0);
    };
  }

  test("a client that is lost again and again recovers every message once", async () => {
    const channel = fresh();
    const publishers = await Promise.all([0, 1, 2].map(() => Client.connect(server)));
    const stop = storm(publishers, channel);
    let position;
    const seen = [];
    for (let round = 0; round < 25; round++) {
      const client = await Client.connect(server);
      const ack = await client.subscribe(channel, position && { recover: position });
      if (position) assert.equal(ack.recovered, true);
      position ??= { epoch: ack.epoch, offset: ack.offset };
      const first = position.offset + 1;
      // At least one message beyond what the ack promised, then the connection is lost in mid-stream.
      const got = await client.until(({ type, offset }) => type === "message" && offset > ack.offset + 5);
      const offsets = got.filter(({ type }) => type === "message").map(({ offset }) => offset);
      assert.deepEqual(offsets, range(first, offsets.at(-1)), `round ${round}`);
      seen.push(...offsets);
      position = { epoch: ack.epoch, offset: offsets.at(-1) };
      client.lose();
    }
    const total = await stop();
    const { offset } = await publishers[0].ok({ type: "history", channel, limit: 1 });
    assert.equal(offset, total, "everything published has an offset of its own");
    assert.deepEqual(seen, range(seen[0], seen.at(-1)));
  });

  test("rewind joins history and live messages without a seam", async () => {
    const channel = fresh();
    await fill(channel, 50);
    const publishers = await Promise.all([0, 1].map(() => Client.connect(server)));
    const stop = storm(publishers, channel);
    for (let round = 0; round < 15; round++) {
      const client = await Client.connect(server);
      const ack = await client.subscribe(channel, { rewind: 30 });
      const got = await client.until(({ type, offset }) => type === "message" && offset > ack.offset + 50);
      const offsets = got.filter(({ type }) => type === "message").map(({ offset }) => offset);
      assert.equal(offsets[0], ack.offset - 29);
      assert.deepEqual(offsets, range(offsets[0], offsets.at(-1)), `round ${round}`);
      client.lose();
    }
    await stop();
  });

  test("many subscribers see one order", async () => {
    const channel = fresh();
    const members = await Promise.all(Array.from({ length: 20 }, () => Client.connect(server)));
    for (const member of members) await member.subscribe(channel);
    const publishers = await Promise.all([0, 1, 2, 3].map(() => Client.connect(server)));
    await Promise.all(publishers.map(async (publisher, who) => {
      for (let at = 0; at < 200; at++) publisher.send({ type: "publish", channel, payload: `${who}:${at}` });
      await publisher.settled();
    }));
    const { messageId } = await server.publish(channel, "end");
    const orders = await Promise.all(members.map(async (member) => (await member.until({ type: "message", id: messageId }))
      .filter(({ type }) => type === "message").map(({ offset, payload }) => [offset, payload])));
    assert.deepEqual(orders[0].map(([offset]) => offset), range(1, 801));
    for (const order of orders) assert.deepEqual(order, orders[0]);
    for (const who of [0, 1, 2, 3]) {
      assert.deepEqual(orders[0].map(([, payload]) => payload).filter((payload) => payload.startsWith(`${who}:`)), range(0, 199).map((at) => `${who}:${at}`));
    }
  });
});
