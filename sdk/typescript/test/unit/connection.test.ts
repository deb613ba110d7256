import { expect, test } from "vitest";
import { settle } from "../support/clock.js";
import { Rig } from "../support/rig.js";

test("nothing happens before it is used", () => {
  const rig = new Rig();
  expect([rig.state, rig.sockets.length, rig.clock.pending, rig.network.listeners]).toEqual(["idle", 0, 0, 0]);
});

test("connects, says who it is, and tells what the server said", async () => {
  const rig = new Rig({ token: "jwt" });
  rig.client.connect();
  await settle();
  expect(rig.socket.url).toBe("wss://example.test/ws");
  expect(rig.socket.protocols).toEqual(["starling.v1.json"]);
  expect(await rig.socket.welcome()).toEqual({ type: "auth", token: "jwt" });
  expect(rig.client.status).toEqual({ state: "connected", transport: "websocket", connectionId: "c1", userId: "ann" });
  expect(rig.statuses.map(({ state }) => state)).toEqual(["connecting", "connected"]);
});

test("delays double up to 30 s, each a random part of the whole", async () => {
  const rig = new Rig();
  rig.client.connect();
  await settle();
  const delays = [];
  for (let attempt = 0; attempt < 8; attempt++) {
    await rig.socket.end();
    delays.push((rig.client.status.retryAt ?? 0) - rig.clock.now());
    await rig.clock.advance(rig.clock.next ?? 0);
  }
  expect(delays).toEqual([500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
});

test("delays start small again only after a connection lasted", async () => {
  const rig = new Rig();
  const delay = () => (rig.client.status.retryAt ?? 0) - rig.clock.now();
  await rig.connected();
  await rig.socket.end();
  expect(delay()).toBe(500);
  await rig.reconnected();
  await rig.clock.advance(5000);
  await rig.socket.end();
  expect(delay()).toBe(1000);
  await rig.reconnected();
  await rig.clock.advance(7999);
  await rig.socket.say({ type: "pong" });
  await rig.clock.advance(2001);
  await rig.socket.end();
  expect(delay()).toBe(500);
});

test("a dead socket is found within seconds", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  await rig.clock.advance(8000);
  socket.take("ping");
  await rig.clock.advance(4999);
  expect(rig.state).toBe("connected");
  await rig.clock.advance(1);
  expect(rig.state).toBe("waiting");
  expect(rig.client.status.error?.code).toBe("CONNECTION_LOST");
  expect(socket.isClosed).toBe(true);
});

test("any sign of life counts", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  for (let round = 0; round < 10; round++) {
    await rig.clock.advance(7000);
    await socket.say({ type: "something", new: true });
  }
  expect(socket.sent).toEqual([]);
  await rig.clock.advance(8000);
  socket.take("ping");
  await socket.say({ type: "pong" });
  await rig.clock.advance(7000);
  expect([rig.state, socket.sent.length]).toEqual(["connected", 0]);
});

test("after sleep the connection is questioned at once", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  await rig.clock.sleep(3_600_000);
  socket.take("ping");
  await rig.clock.advance(5000);
  expect(rig.state).toBe("waiting");
});

test("the network's and the page's return are noticed", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  for (const [target, event] of [
    [rig.network, "offline"],
    [rig.network, "online"],
    [rig.page, "visibilitychange"],
    [rig.network, "pageshow"],
  ] as const) {
    await target.fire(event);
    socket.take("ping");
    await socket.say({ type: "pong" });
  }
  await rig.network.fire("offline");
  await rig.clock.advance(5000);
  expect(rig.client.status.retryAt).toBe(rig.clock.now() + 30_000);
  await rig.network.fire("online");
  await rig.clock.advance(250);
  expect(rig.sockets.length).toBe(2);
  await rig.socket.end();
  await rig.page.fire("visibilitychange");
  await rig.clock.advance(0);
  expect(rig.sockets.length).toBe(3);
});

test("drain: stays until told to move, then moves", async () => {
  const rig = new Rig();
  const drains: number[] = [];
  rig.client.on("drain", ({ reconnectIn }) => drains.push(reconnectIn));
  const socket = await rig.connected();
  await socket.say({ type: "drain", reconnectIn: 700 });
  expect([rig.state, drains]).toEqual(["connected", [700]]);
  await rig.clock.advance(699);
  expect(rig.sockets.length).toBe(1);
  await rig.clock.advance(1);
  expect([rig.sockets.length, socket.isClosed]).toEqual([2, true]);
});

test("drain: closed before, it still comes back at the time that was said", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  await socket.say({ type: "drain", reconnectIn: 3000 });
  await rig.clock.advance(1000);
  await socket.end(1012);
  await rig.page.fire("visibilitychange");
  await rig.clock.advance(1999);
  expect(rig.sockets.length).toBe(1);
  await rig.clock.advance(1);
  expect(rig.sockets.length).toBe(2);
});

test("1012 without a warning: clients come back spread over five seconds", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  await socket.end(1012);
  expect(rig.client.status.retryAt).toBe(rig.clock.now() + 2500);
});

test("4029: comes back after more than the first delay", async () => {
  const rig = new Rig();
  await (await rig.connected()).end(4029);
  expect(rig.client.status.retryAt).toBe(rig.clock.now() + 8000);
});

test("a connection that is never opened, or never agreed to, is given up", async () => {
  const rig = new Rig();
  rig.client.connect();
  await rig.clock.advance(9999);
  expect(rig.state).toBe("connecting");
  await rig.clock.advance(1);
  expect(rig.client.status.error?.code).toBe("TIMEOUT");
  await rig.clock.advance(500);
  await rig.socket.open();
  await rig.clock.advance(10_000);
  expect(rig.client.status.error?.code).toBe("TIMEOUT");
});

test("connect() while waiting tries at once", async () => {
  const rig = new Rig();
  await (await rig.connected()).end();
  rig.client.connect();
  await settle();
  expect(rig.sockets.length).toBe(2);
});

test("a WebSocket that cannot even be made is an attempt that failed", async () => {
  class Refusing {
    constructor() {
      throw new SyntaxError("blocked");
    }
  }
  const rig = new Rig({ environment: { WebSocket: Refusing as never } });
  rig.client.connect();
  await settle();
  expect(rig.client.status.error?.message).toMatch(/blocked/);
});

test("an address that is none is told at once", () => {
  expect(() => new Rig().client.channel("x")).not.toThrow();
  for (const url of ["nonsense", "ftp://example.test"]) {
    expect(() => new (Object.getPrototypeOf(Object.getPrototypeOf(new Rig().client)).constructor)(url)).toThrow(
      TypeError,
    );
  }
});

test("after close() no timer and no listener stays, whatever it was doing", async () => {
  const states: ((rig: Rig) => Promise<unknown>)[] = [
    async () => {},
    async (rig) => rig.client.connect(),
    async (rig) => {
      rig.client.connect();
      await settle();
    },
    (rig) => rig.connected({ expiresAt: rig.clock.now() + 60_000 }),
    async (rig) => {
      const socket = await rig.connected();
      const channel = rig.client.channel("a");
      channel.subscribe({ timeout: 5000, presence: true, signal: new AbortController().signal }).catch(() => {});
      channel.publish("x", 1).catch(() => {});
      rig.client.request("e", 1).catch(() => {});
      await socket.say({ type: "drain", reconnectIn: 10_000 });
      await rig.clock.advance(8000);
    },
    async (rig) => (await rig.connected()).end(),
  ];
  for (const prepare of states) {
    const rig = new Rig({ token: async () => "t" });
    await prepare(rig);
    rig.client.close();
    await settle();
    expect([rig.clock.pending, rig.network.listeners, rig.page.listeners]).toEqual([0, 0, 0]);
    expect(rig.sockets.every(({ isClosed }) => isClosed)).toBe(true);
    await rig.clock.advance(100_000);
    expect([rig.state, rig.sockets.filter(({ isClosed }) => !isClosed).length]).toEqual(["closed", 0]);
  }
});

test("closed, it can be connected again; its own close is a normal one", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  rig.client.close();
  expect(socket.closedWith).toBe(1000);
  rig.client.connect();
  await settle();
  await rig.socket.welcome();
  expect(rig.state).toBe("connected");
});

test("a listener that throws harms nobody else", async () => {
  const rig = new Rig();
  const errors: unknown[] = [];
  const uncaught = (error: unknown) => errors.push(error);
  process.prependOnceListener("uncaughtException", uncaught);
  const others = process.listeners("uncaughtException").filter((listener) => listener !== uncaught);
  for (const listener of others) process.off("uncaughtException", listener);
  rig.client.on("status", ({ state }) => {
    if (state === "connecting") throw new Error("thrown by a listener");
  });
  await rig.connected();
  await new Promise((resolve) => setImmediate(resolve));
  for (const listener of others) process.on("uncaughtException", listener);
  expect(rig.state).toBe("connected");
  expect(String(errors[0])).toMatch(/thrown by a listener/);
});

test("closed by who listens while it connects: whoever caused it is told", async () => {
  const rig = new Rig();
  rig.client.on("status", ({ state }) => state === "connecting" && rig.client.close());
  await expect(rig.client.channel("room").subscribe()).rejects.toMatchObject({ code: "CLOSED" });
  expect([rig.state, rig.clock.pending]).toEqual(["closed", 0]);
});
