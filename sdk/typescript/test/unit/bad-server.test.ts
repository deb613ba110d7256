import { expect, test } from "vitest";
import { Rig } from "../support/rig.js";

/** How many connections are attempted within an hour. */
async function attempts(rig: Rig, behave: (rig: Rig) => Promise<void>): Promise<number> {
  rig.client.connect();
  let served = rig.sockets.length;
  const end = rig.clock.now() + 3_600_000;
  while (rig.clock.now() < end) {
    await rig.clock.advance(0);
    while (served < rig.sockets.length) {
      served++;
      await behave(rig);
    }
    await rig.clock.advance(Math.min(rig.clock.next ?? 60_000, 60_000));
  }
  if (served < rig.sockets.length) await behave(rig);
  return rig.sockets.length;
}

for (const [name, garbage] of [
  ["no JSON", "hello"],
  ["an array", "[]"],
  ["null", "null"],
  ["no type", "{}"],
  ["a message without a channel", '{"type":"message","event":"x","payload":1,"id":"1","ts":1}'],
  [
    "an offset below zero",
    '{"type":"message","channel":"a","event":"x","payload":1,"id":"1","ts":1,"offset":-1,"epoch":"e"}',
  ],
  ["members that are none", '{"type":"presence_state","channel":"a","members":[1]}'],
  ["the prototype's names as a type", '{"type":"auth_ack"}'],
] as const) {
  test(`garbage (${name}): the connection is given up, and tried again with backoff`, async () => {
    const rig = new Rig();
    const socket = await rig.connected();
    await socket.say(garbage);
    expect([rig.state, rig.client.status.error?.code, socket.isClosed]).toEqual(["waiting", "PROTOCOL", true]);
    const count = await attempts(rig, async ({ socket: next }) => {
      await next.welcome();
      await next.say(garbage);
    });
    expect(count).toBeLessThan(300);
  });
}

test("a type that this client does not know is let pass", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  for (const type of ["invented_later", "constructor", "__proto__"]) await socket.say({ type });
  expect(rig.state).toBe("connected");
});

test("a server that closes at once is left alone more and more", async () => {
  for (const close of [
    async (rig: Rig) => rig.socket.end(),
    async (rig: Rig) => {
      await rig.socket.welcome();
      await rig.socket.end(1011);
    },
  ]) {
    const rig = new Rig();
    expect(await attempts(rig, close)).toBeLessThan(260);
    expect(rig.state).toBe("waiting");
  }
});

test("a refused token: once more with a fresh one, then no more", async () => {
  const tokens: string[] = [];
  const rig = new Rig({
    token: () => {
      tokens.push(`t${tokens.length}`);
      return tokens.at(-1);
    },
  });
  const promise = rig.client.channel("room").subscribe();
  promise.catch(() => {});
  const count = await attempts(rig, async ({ socket }) => {
    await socket.open();
    await socket.say({ type: "error", code: "TOKEN_INVALID", message: "bad signature" });
    await socket.end(4003);
  });
  expect([count, tokens.length]).toEqual([2, 2]);
  expect(rig.client.status).toMatchObject({ state: "failed", error: { code: "TOKEN_INVALID" } });
  await expect(promise).rejects.toMatchObject({ code: "TOKEN_INVALID" });
  await expect(rig.client.channel("room").publish("x", 1)).rejects.toMatchObject({ code: "TOKEN_INVALID" });
  expect([rig.clock.pending, rig.network.listeners]).toEqual([0, 0]);
});

test("a token that is a string is refused for good", async () => {
  const rig = new Rig({ token: "bad" });
  const count = await attempts(rig, async ({ socket }) => {
    await socket.open();
    await socket.end(4003);
  });
  expect([count, rig.state]).toEqual([1, "failed"]);
  rig.client.connect();
  expect(rig.state).toBe("connecting");
});

test("a server that lets the connection live without the user it is meant for", async () => {
  const rig = new Rig({ token: "bad" });
  rig.client.connect();
  await rig.clock.advance(0);
  await rig.socket.open();
  await rig.socket.say({ type: "error", code: "TOKEN_INVALID", message: "no" });
  expect([rig.state, rig.socket.isClosed]).toEqual(["failed", true]);
});

test("disconnected by the application: stays away", async () => {
  const rig = new Rig({ token: () => "good" });
  const socket = await rig.connected();
  await socket.say({ type: "error", code: "FORBIDDEN", message: "disconnected" });
  await socket.end(4003);
  await rig.clock.advance(3_600_000);
  expect([rig.state, rig.sockets.length]).toEqual(["failed", 1]);
});

test("a token that expired: a fresh one, and on it goes", async () => {
  let count = 0;
  const rig = new Rig({ token: async () => `t${count++}` });
  const socket = await rig.connected();
  await socket.say({ type: "error", code: "TOKEN_EXPIRED", message: "expired" });
  await socket.end(4002);
  await rig.clock.advance(500);
  expect((await rig.socket.welcome()).token).toBe("t1");
  expect(rig.state).toBe("connected");
});

test("a token is kept over reconnects, and renewed before it expires", async () => {
  let count = 0;
  const rig = new Rig({ token: async () => `t${count++}` });
  const socket = await rig.connected({ expiresAt: rig.clock.now() + 600_000 });
  await socket.end();
  const next = await rig.reconnected({ expiresAt: rig.clock.now() + 600_000 });
  expect(count).toBe(1);
  // The server is there all the time.
  const live = async (milliseconds: number) => {
    for (let passed = 0; passed < milliseconds; passed += 1000) {
      await rig.clock.advance(1000);
      await next.say({ type: "pong" });
    }
  };
  await live(569_000);
  expect(count).toBe(1);
  await live(1000);
  expect(next.take("auth")).toEqual({ type: "auth", token: "t1" });
  await next.say({ type: "auth_ack", userId: "ann", connectionId: "c1", expiresAt: rig.clock.now() + 10_000 });
  await live(8000);
  expect(next.take("auth")).toEqual({ type: "auth", token: "t2" });
});

test("a token function that fails is asked again, and its failure told", async () => {
  let count = 0;
  const rig = new Rig({
    token: async () => {
      if (count++ === 0) throw new Error("500 from the application");
      return "good";
    },
  });
  rig.client.connect();
  await rig.clock.advance(0);
  expect(rig.client.status).toMatchObject({ state: "waiting", error: { code: "TOKEN_SOURCE" } });
  await rig.clock.advance(500);
  expect((await rig.socket.welcome()).token).toBe("good");
});

test("a renewal that fails is told and tried again while the connection lives", async () => {
  const errors: unknown[] = [];
  let count = 0;
  const rig = new Rig({
    token: async () => {
      if (++count === 2) throw new Error("away");
      return `t${count}`;
    },
  });
  rig.client.on("error", ({ code }) => errors.push(code));
  const socket = await rig.connected({ expiresAt: rig.clock.now() + 5000 });
  await rig.clock.advance(4000);
  expect([errors, rig.state]).toEqual([["TOKEN_SOURCE"], "connected"]);
  await rig.clock.advance(3000);
  expect(socket.take("auth").token).toBe("t3");
  await socket.say({ type: "error", code: "FORBIDDEN", message: "other user" });
  expect([errors, rig.state]).toEqual([["TOKEN_SOURCE", "FORBIDDEN"], "connected"]);
});

test("a clock that is wrong does not renew in circles", async () => {
  let count = 0;
  const rig = new Rig({ token: async () => `t${count++}` });
  const socket = await rig.connected({ expiresAt: rig.clock.now() - 600_000 });
  for (let second = 0; second < 60; second++) {
    await rig.clock.advance(1000);
    await socket.say({ type: "pong" });
  }
  expect(count).toBe(1);
});

test("a slow token function is bounded by the time to connect", async () => {
  const rig = new Rig({ token: () => new Promise(() => {}) });
  rig.client.connect();
  await rig.clock.advance(10_000);
  expect(rig.client.status.error?.code).toBe("TIMEOUT");
});

test("a token function that did not answer is asked again", async () => {
  let count = 0;
  const rig = new Rig({ token: () => (count++ === 0 ? new Promise(() => {}) : "good") });
  rig.client.connect();
  await rig.clock.advance(10_500);
  expect((await rig.socket.welcome()).token).toBe("good");
  expect([rig.state, count]).toEqual(["connected", 2]);
});

test("a slow consumer comes back and recovers", async () => {
  const rig = new Rig();
  await (await rig.connected()).end(4008);
  expect(rig.client.status).toMatchObject({ state: "waiting", error: { code: "SLOW_CONSUMER" } });
});
