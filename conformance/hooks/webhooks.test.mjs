// Webhooks: what the backend is told afterwards. Contract sections 9 and 11.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Backend } from "../harness/backend.mjs";
import { Client, closeAll, MSGPACK_PROTOCOL } from "../harness/client.mjs";
import { eventually, OPEN_RULE, Server } from "../harness/server.mjs";

let backend;
let server;
before(async () => {
  backend = await Backend.start();
  server = await Server.start({ webhooks: [{ url: backend.webhooks }] });
});
after(async () => {
  closeAll();
  await server.stop();
  await backend.stop();
});
afterEach(() => backend.reset());

let next = 0;
const fresh = (kind = "room") => `${kind}:${++next}`;
const isRecent = (ts) => assert.ok(Math.abs(Date.now() - ts) < 60_000, `${ts} is about now`);

describe("what is told", () => {
  test("connected and disconnected", async () => {
    const ann = await Client.user(server, "ann", { claims: { info: { name: "Ann" } } });
    const { ts, ...connected } = await backend.event({ type: "connected", connectionId: ann.connectionId });
    isRecent(ts);
    assert.deepEqual(connected, { type: "connected", connectionId: ann.connectionId, userId: "ann", protocol: "native", info: { name: "Ann" }, path: "/webhooks" });
    await ann.close();
    const gone = await backend.event({ type: "disconnected", connectionId: ann.connectionId });
    assert.deepEqual([gone.userId, gone.protocol, gone.reason], ["ann", "native", "normal"]);
    assert.ok(gone.duration >= 0 && gone.duration < 60_000, `${gone.duration} ms`);
  });

  test("why a connection ended", async () => {
    const [lost, kicked] = [await Client.user(server, "lost"), await Client.user(server, "kicked")];
    lost.lose();
    await server.api("POST", "/api/users/kicked/disconnect");
    assert.equal((await backend.event({ type: "disconnected", connectionId: lost.connectionId })).reason, "lost");
    assert.equal((await backend.event({ type: "disconnected", connectionId: kicked.connectionId })).reason, "forbidden");
  });

  test("channel_occupied, subscription_count, channel_vacated", async () => {
    const room = fresh();
    const [ann, bob] = [await Client.user(server, "ann"), await Client.user(server, "bob")];
    await ann.subscribe(room);
    const occupied = await backend.event({ type: "channel_occupied", channel: room });
    assert.deepEqual(Object.keys(occupied).sort(), ["channel", "path", "ts", "type"]);
    await bob.subscribe(room);
    await backend.event({ type: "subscription_count", channel: room, count: 2 });
    await ann.ok({ type: "unsubscribe", channel: room });
    await backend.event({ type: "subscription_count", channel: room, count: 1 });
    bob.lose();
    await backend.event({ type: "channel_vacated", channel: room });
    await backend.event({ type: "subscription_count", channel: room, count: 0 });
    assert.deepEqual(backend.untaken.filter((event) => event.channel === room && event.type.startsWith("channel")), []);
  });

  test("member_added and member_removed, once per user", async () => {
    const room = fresh();
    const [first, second] = [await Client.user(server, "ann"), await Client.user(server, "ann")];
    await first.subscribe(room, { data: { seat: 1 } });
    await second.subscribe(room, { data: { seat: 2 } });
    await first.close();
    await second.close();
    const { ts, ...added } = await backend.event({ type: "member_added", channel: room });
    isRecent(ts);
    assert.deepEqual(added, { type: "member_added", channel: room, userId: "ann", connectionId: first.connectionId, data: { seat: 1 }, path: "/webhooks" });
    const removed = await backend.event({ type: "member_removed", channel: room });
    assert.deepEqual([removed.userId, removed.connectionId, removed.data], ["ann", second.connectionId, { seat: 2 }]);
    await backend.event({ type: "channel_vacated", channel: room });
    assert.deepEqual(backend.untaken.filter((event) => event.channel === room && event.type.startsWith("member")), []);
  });

  test("client_event tells every publish by a client, and none by the server", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann", { protocols: [MSGPACK_PROTOCOL] });
    await ann.publish(room, { n: 1.5 }, { event: "say", messageId: "m1" });
    await ann.publish(room, new Uint8Array([1, 2, 255]));
    await server.publish(room, "server");
    await ann.publish(room, "last");
    const { ts, ...said } = await backend.event({ type: "client_event", channel: room });
    isRecent(ts);
    assert.deepEqual(said, {
      type: "client_event", channel: room, event: "say", payload: { n: 1.5 }, messageId: "m1",
      connectionId: ann.connectionId, userId: "ann", protocol: "native", path: "/webhooks",
    });
    const bytes = await backend.event({ type: "client_event", channel: room });
    assert.deepEqual([bytes.payload, bytes.encoding, bytes.event], ["AQL/", "base64", "message"]);
    assert.equal((await backend.event({ type: "client_event", channel: room })).payload, "last");
  });

  test("cache_miss", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    await ann.subscribe(room, { rewind: 1 });
    await backend.event({ type: "cache_miss", channel: room });
    await server.publish(room, 1);
    const bob = await Client.user(server, "bob");
    await bob.subscribe(room, { rewind: 1 });
    await bob.message(room);
    await backend.event({ type: "subscription_count", channel: room, count: 2 });
    assert.deepEqual(backend.untaken.filter((event) => event.channel === room && event.type === "cache_miss"), []);
  });
});

describe("delivery", () => {
  test("batches: id, ts, app, events", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    for (let n = 0; n < 250; n += 1) ann.send({ type: "publish", channel: room, payload: n });
    for (let n = 0; n < 250; n += 1) assert.equal((await backend.event({ type: "client_event", channel: room })).payload, n);
    const ids = new Set(backend.deliveries.map((delivery) => delivery.id));
    assert.equal(ids.size, backend.deliveries.length, "each delivery has an id of its own");
    assert.ok(backend.deliveries.length < 60, `${backend.deliveries.length} deliveries are batches`);
    for (const { id, ts, app, events } of backend.deliveries) {
      assert.equal(typeof id, "string");
      isRecent(ts);
      assert.equal(app, "1");
      assert.ok(events.length >= 1 && events.length <= 100, `${events.length} events`);
    }
  });

  test("again until it is taken: the same id, the same body, a valid signature", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    await backend.event({ type: "connected", connectionId: ann.connectionId });
    const refusals = [500, 0, 302, 404];
    // Only what is of this room: deliveries of what earlier tests left may come meanwhile.
    const isOfRoom = ({ events }) => events.some((event) => event.channel === room);
    backend.takes = (delivery) => (isOfRoom(delivery) ? refusals.shift() ?? 200 : 200);
    backend.deliveries.length = 0;
    await ann.publish(room, 1);
    await backend.event({ type: "client_event", channel: room });
    const tries = backend.deliveries.filter(isOfRoom);
    assert.deepEqual(tries.map(({ status }) => status), [500, 0, 302, 404, 200]);
    assert.equal(new Set(tries.map(({ id }) => id)).size, 1);
    assert.equal(new Set(tries.map(({ raw }) => raw.toString())).size, 1);
    assert.ok(await server.metric("starling_webhook_events_total", { app: "1", result: "retried" }) >= 4);
    assert.ok(await server.metric("starling_webhook_events_total", { app: "1", result: "delivered" }) >= 1);
  });

  test("in order per channel, also while deliveries fail", async () => {
    const rooms = Array.from({ length: 5 }, () => fresh());
    const ann = await Client.user(server, "ann");
    let count = 0;
    backend.takes = () => (count++ % 3 === 0 ? 503 : 200);
    for (let n = 0; n < 60; n += 1) for (const room of rooms) ann.send({ type: "publish", channel: room, payload: n });
    for (const room of rooms) {
      for (let n = 0; n < 60; n += 1) assert.equal((await backend.event({ type: "client_event", channel: room })).payload, n, room);
    }
  });

  test("a receiver that is away gets what it missed", async () => {
    const away = await Backend.start();
    await away.stop();
    const patient = await Server.start({ webhooks: [{ url: away.webhooks, events: ["client_event", "connected", "disconnected"] }] });
    let back;
    try {
      const ann = await Client.user(patient, "ann");
      await ann.publish("room", 1);
      await eventually(async () => await patient.metric("starling_webhook_events_total", { result: "retried" }) > 0, "a try that failed");
      await ann.publish("room", 2);
      await ann.close();
      back = await Backend.start({ port: away.port });
      await back.event({ type: "client_event", payload: 1 });
      await back.event({ type: "client_event", payload: 2 });
      await back.event({ type: "connected", connectionId: ann.connectionId });
      await back.event({ type: "disconnected", connectionId: ann.connectionId });
      await eventually(() => /takes no events: they wait[^]*takes events again/.test(patient.log), "the log lines");
    } finally {
      await patient.stop();
      await back?.stop();
    }
  });

  test("bounded: what has no room is dropped and counted, a disconnected is not", async () => {
    const narrow = await Server.start({ webhooks: [{ url: backend.webhooks, events: ["client_event", "connected", "disconnected"], max_queue: 5 }] });
    try {
      backend.takes = 503;
      const ann = await Client.user(narrow, "ann");
      await backend.until(() => backend.deliveries.length > 0, "the first delivery");
      for (let n = 0; n < 20; n += 1) await ann.publish("room", n);
      const late = await Client.user(narrow, "late");
      await late.close();
      await ann.close();
      await eventually(async () => await narrow.metric("starling_webhook_events_total", { result: "dropped" }) === 16 + 2, "what is dropped");
      backend.takes = 200;
      await backend.event({ type: "connected", connectionId: ann.connectionId });
      await backend.event({ type: "disconnected", connectionId: ann.connectionId });
      for (let n = 0; n < 4; n += 1) await backend.event({ type: "client_event", payload: n });
      assert.deepEqual(backend.untaken.filter((event) => event.connectionId === late.connectionId), []);
    } finally {
      await narrow.stop();
    }
  });

  test("given up after the configured time, and counted", async () => {
    const hasty = await Server.start({ webhooks: [{ url: backend.webhooks, events: ["client_event"], give_up_after: "1s" }] });
    try {
      backend.takes = 503;
      const ann = await Client.user(hasty, "ann");
      await ann.publish("room", 1);
      await eventually(async () => await hasty.metric("starling_webhook_events_total", { result: "dropped" }) === 1, "the drop");
    } finally {
      await hasty.stop();
    }
  });

  test("several receivers, each with its events", async () => {
    const several = await Server.start({ webhooks: [
      { url: `${backend.origin}/a`, events: ["connected"] },
      { url: `${backend.origin}/b`, events: ["client_event", "connected"] },
    ] });
    try {
      const ann = await Client.user(several, "ann");
      await ann.publish("room", 1);
      await backend.event({ type: "connected", path: "/a" });
      await backend.event({ type: "connected", path: "/b" });
      await backend.event({ type: "client_event", path: "/b" });
      assert.deepEqual(backend.untaken, []);
    } finally {
      await several.stop();
    }
  });
});

describe("the end of the server", () => {
  test("a drain tells of every connection, and is flushed", async () => {
    const ending = await Server.start({ server: { shutdown_grace: "8s" }, webhooks: [{ url: backend.webhooks }] });
    const clients = await Promise.all(Array.from({ length: 20 }, (_, n) => Client.user(ending, `u${n}`)));
    for (const client of clients) await client.subscribe("hall");
    let refusals = 2;
    backend.takes = ({ events }) => (events.some((event) => event.type === "disconnected") && refusals-- > 0 ? 503 : 200);
    ending.signal("SIGTERM");
    for (const client of clients) {
      const gone = await backend.event({ type: "disconnected", connectionId: client.connectionId });
      assert.ok(["drain", "normal"].includes(gone.reason), gone.reason);
    }
    await backend.event({ type: "channel_vacated", channel: "hall" });
    assert.deepEqual(await ending.exited, { code: 0, signal: null });
    await ending.stop();
  });

  test("a receiver that is away does not hold the end up", async () => {
    const ending = await Server.start({ server: { shutdown_grace: "2s" }, webhooks: [{ url: backend.webhooks }] });
    backend.takes = 503;
    const ann = await Client.user(ending, "ann");
    await ann.subscribe("hall");
    const start = Date.now();
    ending.signal("SIGTERM");
    assert.deepEqual(await ending.exited, { code: 0, signal: null });
    assert.ok(Date.now() - start < 20_000, `${Date.now() - start} ms`);
    assert.match(ending.log, /could not be delivered before the server ended/);
    await ending.stop();
  });

  test("a reload says what needs a restart", async () => {
    const config = { webhooks: [{ url: backend.webhooks, events: ["connected"] }], channels: [OPEN_RULE] };
    const reloaded = await Server.start(config);
    try {
      reloaded.configure({ ...config, webhooks: [{ url: `${backend.origin}/other`, events: ["connected"] }] });
      reloaded.signal("SIGHUP");
      await eventually(() => /webhooks.*needs a restart|needs a restart.*webhooks/.test(reloaded.log), "the warning");
      const ann = await Client.user(reloaded, "ann");
      assert.equal((await backend.event({ type: "connected", connectionId: ann.connectionId })).path, "/webhooks");
    } finally {
      await reloaded.stop();
    }
  });
});
