import { expect, test } from "vitest";
import { websocket } from "../../src/index.js";
import { settle } from "../support/clock.js";
import { message, Rig } from "../support/rig.js";

/** A client with three transports, all of them played by sockets. */
function rigOfThree(): Rig {
  const named = (name: string) => ({ ...websocket(), name });
  return new Rig({ transports: [named("first"), named("second"), named("third")] });
}

const transport = (rig: Rig) => rig.client.status.transport;

/** Time in which the server answers every ping. */
async function live(rig: Rig, milliseconds: number): Promise<void> {
  for (let passed = 0; passed < milliseconds; passed += 1000) {
    await rig.clock.advance(1000);
    for (const socket of rig.sockets) {
      if (!socket.isClosed && socket.sent[0]?.type === "ping") {
        socket.take("ping");
        await socket.say({ type: "pong" });
      }
    }
  }
}

test("what cannot be opened is followed by the next transport, the last one by the first", async () => {
  const rig = rigOfThree();
  rig.client.connect();
  await settle();
  await rig.socket.end();
  expect(transport(await rig.reconnected().then(() => rig))).toBe("second");
  const other = rigOfThree();
  other.client.connect();
  for (let attempt = 0; attempt < 3; attempt++) {
    await settle();
    await other.socket.end();
    await other.clock.advance(other.clock.next ?? 0);
  }
  await other.socket.welcome();
  expect(transport(other)).toBe("first");
});

test("a proxy that opens the connection and then kills it", async () => {
  const rig = rigOfThree();
  await (await rig.connected()).end();
  await (await rig.reconnected()).end();
  await rig.reconnected();
  expect(transport(rig)).toBe("second");
});

test("a proxy that opens the connection and lets nothing through", async () => {
  const rig = rigOfThree();
  rig.client.connect();
  await settle();
  await rig.socket.open();
  await rig.clock.advance(10_000);
  await rig.reconnected();
  expect(transport(rig)).toBe("second");
});

test("a server that says why it closes is no reason to use another transport", async () => {
  const rig = rigOfThree();
  await rig.connected();
  for (const code of [1012, 4008, 4029, 1009, 4008]) {
    await rig.socket.end(code);
    await rig.reconnected();
  }
  expect(transport(rig)).toBe("first");
});

test("what has proved itself is tried more often before it is given up", async () => {
  const rig = rigOfThree();
  await rig.connected();
  await live(rig, 10_000);
  await rig.socket.end();
  for (const _ of [1, 2]) {
    await rig.clock.advance(rig.clock.next ?? 0);
    await rig.socket.end();
  }
  await rig.reconnected();
  expect(transport(rig)).toBe("first");
});

test("the way back: the better transport is tried beside, and taken when it lasts", async () => {
  const rig = rigOfThree();
  const got: unknown[] = [];
  const room = rig.client.channel("room");
  room.onMessage(({ payload }) => got.push(payload));
  room.subscribe();
  await settle();
  await rig.socket.end();
  const fallback = await rig.reconnected();
  await fallback.ack("subscribe", { epoch: "e", offset: 0 });
  await live(rig, 15_000);
  const better = rig.socket;
  expect(better).not.toBe(fallback);
  await better.welcome({ connectionId: "c2" });
  await fallback.say(message("room", 1));
  await live(rig, 9000);
  expect([transport(rig), better.sent]).toEqual(["second", []]);
  const publish = room.publish("x", 1);
  const sent = fallback.take("publish");
  await live(rig, 1000);
  expect(rig.client.status).toMatchObject({ state: "connected", transport: "first", connectionId: "c2" });
  expect(fallback.isClosed).toBe(true);
  expect(await better.ack("subscribe", { epoch: "e", offset: 2, recovered: true })).toMatchObject({
    recover: { offset: 1 },
  });
  expect((await better.ack("publish")).messageId).toBe(sent.messageId);
  await publish;
  await better.say(message("room", 2));
  expect(got).toEqual([1, 2]);
  expect(rig.statuses.filter(({ state }) => state === "waiting").length).toBe(1);
  await better.end();
  await rig.reconnected();
  expect(transport(rig)).toBe("first");
});

test("the way back is tried ever more rarely while it stays closed", async () => {
  const rig = rigOfThree();
  rig.client.connect();
  await settle();
  await rig.socket.end();
  const fallback = await rig.reconnected();
  const tries: number[] = [];
  const start = rig.clock.now();
  for (let second = 0; second < 3600; second++) {
    const before = rig.sockets.length;
    await live(rig, 1000);
    for (const socket of rig.sockets.slice(before)) {
      tries.push(Math.round((rig.clock.now() - start) / 1000));
      // Opened and killed, or never opened.
      if (tries.length % 2) await socket.welcome();
      await socket.end();
    }
  }
  expect(rig.client.status.transport).toBe("second");
  expect(fallback.isClosed).toBe(false);
  expect(tries).toEqual([15, 45, 105, 225, 465, 945, 1545, 2145, 2745, 3345]);
});

test("when the fallback dies while the better one is being tried, that one is taken", async () => {
  const rig = rigOfThree();
  rig.client.connect();
  await settle();
  await rig.socket.end();
  const fallback = await rig.reconnected();
  await live(rig, 15_000);
  await rig.socket.welcome();
  await fallback.end();
  expect(rig.client.status).toMatchObject({ state: "connected", transport: "first" });
  rig.client.close();
  expect(rig.clock.pending).toBe(0);
});

test("close() while a better transport is being tried leaves nothing behind", async () => {
  const rig = rigOfThree();
  rig.client.connect();
  await settle();
  await rig.socket.end();
  await rig.reconnected();
  await live(rig, 15_000);
  await rig.socket.open();
  rig.client.close();
  expect([rig.clock.pending, rig.sockets.filter(({ isClosed }) => !isClosed).length]).toEqual([0, 0]);
});

test("without a platform's WebSocket the next transport is the first", async () => {
  const rig = new Rig({ environment: { WebSocket: undefined } });
  expect(() => rig.client.connect()).toThrow(/no transport/);
});
