import { getEventListeners } from "node:events";
import { expect, test } from "vitest";
import type { ClientOptions, ServerEvent } from "../../src/index.js";
import { settle } from "../support/clock.js";
import { type FakeSocket, message, Rig } from "../support/rig.js";

/** A rig with one channel subscribed at offset 0 of the epoch `e`, and what comes out of it. */
async function subscribed(options = {}) {
  const rig = new Rig();
  const socket = await rig.connected();
  const room = rig.client.channel<Record<string, unknown>>("room");
  const got: unknown[] = [];
  room.onMessage(({ payload }) => got.push(payload));
  for (const name of ["recovered", "gap", "unsubscribed"] as const)
    room.watch(name, (event) => got.push([name, event]));
  const promise = room.subscribe(options);
  const request = await socket.ack("subscribe", { channel: "room", epoch: "e", offset: 0 });
  return { rig, socket, room, got, request, result: await promise };
}

test("subscribes, and delivers by event", async () => {
  const { socket, room, result, request } = await subscribed();
  expect(request).toEqual({ type: "subscribe", channel: "room", id: 1 });
  expect(result).toEqual({ position: { epoch: "e", offset: 0 }, recovered: undefined });
  const chats: unknown[] = [];
  const off = room.on("chat", ({ payload }) => chats.push(payload));
  await socket.say(message("room", 1, { event: "chat" }));
  await socket.say(message("room", 2, { event: "other" }));
  off();
  await socket.say(message("room", 3, { event: "chat" }));
  expect(chats).toEqual([1]);
});

test("after a lost connection: recovers behind the last message, and says so", async () => {
  const { rig, socket, got } = await subscribed();
  await socket.say(message("room", 1));
  await socket.end();
  const next = await rig.reconnected();
  expect(await next.ack("subscribe", { epoch: "e", offset: 3, recovered: true })).toMatchObject({
    recover: { epoch: "e", offset: 1 },
  });
  for (const offset of [2, 3]) await next.say(message("room", offset));
  expect(got).toEqual([1, ["recovered", { recovered: true }], 2, 3]);
});

test("recovered: false is told, and delivery goes on from where the log stands", async () => {
  const { rig, socket, got } = await subscribed();
  await socket.say(message("room", 1));
  await socket.end();
  await (await rig.reconnected()).ack("subscribe", { epoch: "e", offset: 90, recovered: false });
  await rig.socket.say(message("room", 91));
  await rig.socket.end();
  const request = await (await rig.reconnected()).ack("subscribe", { epoch: "new", offset: 0, recovered: false });
  expect(request.recover).toEqual({ epoch: "e", offset: 91 });
  await rig.socket.say(message("room", 1, { epoch: "new" }));
  const lost = ["recovered", { recovered: false }];
  expect(got).toEqual([1, lost, 91, lost, 1]);
});

test("a channel without history cannot promise anything after a reconnect", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const room = rig.client.channel("plain");
  const got: unknown[] = [];
  room.watch("recovered", (event) => got.push(event));
  room.onMessage(({ id }) => got.push(id));
  const promise = room.subscribe();
  await socket.ack("subscribe", { channel: "plain" });
  expect(await promise).toEqual({ position: undefined, recovered: undefined });
  await socket.say(message("plain", undefined, { id: "a" }));
  await socket.say(message("plain", undefined, { id: "a" }));
  await socket.end();
  expect((await (await rig.reconnected()).ack("subscribe")).recover).toBeUndefined();
  expect(got).toEqual(["a", { recovered: false }]);
});

test("a message that comes twice is delivered once", async () => {
  const { socket, got } = await subscribed();
  for (const offset of [1, 2, 2, 1, 3]) await socket.say(message("room", offset));
  expect(got).toEqual([1, 2, 3]);
});

test("a skipped offset is told before the message behind it", async () => {
  const { socket, got } = await subscribed();
  await socket.say(message("room", 1));
  await socket.say(message("room", 5));
  await socket.say(message("room", 6));
  expect(got).toEqual([1, ["gap", { missed: 3, announced: false }], 5, 6]);
});

test("a gap that the server announces is told once", async () => {
  const { socket, got } = await subscribed();
  await socket.say(message("room", 1));
  await socket.say({ type: "gap", channel: "room", missed: 3 });
  await socket.say(message("room", 5));
  expect(got).toEqual([1, ["gap", { missed: 3, announced: true }], 5]);
});

test("a log that begins anew is read from its beginning", async () => {
  const { socket, got } = await subscribed();
  await socket.say(message("room", 1));
  await socket.say(message("room", 1, { epoch: "f", payload: "f1" }));
  await socket.say(message("room", 3, { epoch: "g", payload: "g3" }));
  expect(got).toEqual([1, "f1", ["gap", { missed: 2, announced: false }], "g3"]);
});

test("rewind: begins with the latest, however few there are; lost before they came, it asks for the same ones", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const room = rig.client.channel("room");
  const got: unknown[] = [];
  room.onMessage(({ offset }) => got.push(offset));
  room.watch("gap", (gap) => got.push(gap));
  room.subscribe({ rewind: 5 });
  expect((await socket.ack("subscribe", { epoch: "e", offset: 10 })).rewind).toBe(5);
  await socket.end();
  const request = await (await rig.reconnected()).ack("subscribe", { epoch: "e", offset: 10, recovered: true });
  expect([request.recover, request.rewind]).toEqual([{ epoch: "e", offset: 5 }, undefined]);
  for (const offset of [8, 9, 10]) await rig.socket.say(message("room", offset));
  expect(got).toEqual([8, 9, 10]);
});

test("a position of an earlier run", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const promise = rig.client.channel("room").subscribe({ recover: { epoch: "e", offset: 7 } });
  const request = await socket.ack("subscribe", { epoch: "e", offset: 9, recovered: true });
  expect(request.recover).toEqual({ epoch: "e", offset: 7 });
  expect(await promise).toEqual({ position: { epoch: "e", offset: 9 }, recovered: true });
});

test("a refused subscription rejects with the server's code, and is not asked for again", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const promise = rig.client.channel("room").subscribe();
  await socket.refuse("subscribe", "FORBIDDEN");
  await expect(promise).rejects.toMatchObject({ code: "FORBIDDEN" });
  await socket.end();
  expect((await rig.reconnected()).sent).toEqual([]);
});

test("a subscription that cannot be renewed is told; one that can later is asked for again", async () => {
  const { rig, socket, got } = await subscribed();
  await socket.end();
  await (await rig.reconnected()).refuse("subscribe", "ENGINE_UNAVAILABLE");
  await rig.clock.advance(1500);
  await rig.socket.refuse("subscribe", "FORBIDDEN");
  expect(got).toMatchObject([["unsubscribed", { code: "FORBIDDEN" }]]);
});

test("the server ends a subscription", async () => {
  const { rig, socket, got, room } = await subscribed();
  await socket.say({ type: "unsubscribed", channel: "room", code: "FORBIDDEN", message: "go" });
  expect(got).toMatchObject([["unsubscribed", { code: "FORBIDDEN" }]]);
  expect(room.isSubscribed).toBe(false);
  await socket.end();
  expect((await rig.reconnected()).sent).toEqual([]);
});

test("unsubscribe and subscribe at once: messages of the earlier subscription are not the later one's", async () => {
  const { socket, room, got } = await subscribed();
  const left = room.unsubscribe();
  const again = room.subscribe();
  await socket.say(message("room", 1));
  await socket.ack("unsubscribe");
  await left;
  await socket.say(message("room", 2));
  await socket.ack("subscribe", { epoch: "e", offset: 2 });
  await again;
  await socket.say(message("room", 3));
  expect(got).toEqual([3]);
});

test("subscribe twice is one subscription; offline it waits, bounded by timeout and signal", async () => {
  const rig = new Rig();
  const room = rig.client.channel("room");
  room.subscribe();
  room.subscribe();
  const controller = new AbortController();
  const other = rig.client.channel("other").subscribe({ signal: controller.signal });
  const third = rig.client.channel("third").subscribe({ timeout: 500 });
  third.catch(() => {});
  controller.abort("enough");
  await expect(other).rejects.toBe("enough");
  await rig.clock.advance(500);
  await expect(third).rejects.toMatchObject({ code: "TIMEOUT" });
  await rig.socket.welcome();
  expect(rig.socket.sent.map(({ channel }) => channel)).toEqual(["room"]);
  const late = rig.client.channel("other").subscribe({ signal: AbortSignal.abort("before") });
  late.catch(() => {});
  await rig.clock.advance(0);
  await expect(late).rejects.toBe("before");
});

test("many subscriptions after a reconnect are asked for a few at a time, before what is to be published", async () => {
  const rig = new Rig();
  for (let at = 0; at < 100; at++) rig.client.channel(`c${at}`).subscribe();
  rig.client.channel("c0").publish("x", 1);
  const socket = await rig.connected();
  expect(socket.sent.length).toBe(32);
  for (let at = 0; at < 100; at++) await socket.ack("subscribe");
  await socket.ack("publish", {});
});

test("RATE_LIMITED slows the client down, and loses nothing", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const room = rig.client.channel("room");
  const done: number[] = [];
  for (let at = 0; at < 40; at++) room.publish("x", at).then(() => done.push(at));
  await settle();
  expect(socket.sent.length).toBe(32);
  for (let at = 0; at < 31; at++) await socket.ack("publish");
  await socket.refuse("publish", "RATE_LIMITED");
  for (let at = 32; at < 40; at++) await socket.ack("publish");
  expect([done.length, socket.sent.length]).toEqual([39, 0]);
  await rig.clock.advance(500);
  expect((await socket.ack("publish")).payload).toBe(31);
  expect(done.length).toBe(40);
});

test("publishes wait while offline, go out in order, and keep their messageId when sent again", async () => {
  const rig = new Rig();
  const room = rig.client.channel("room");
  const acks = [1, 2, 3].map((payload) => room.publish("x", payload));
  const socket = await rig.connected();
  const first = await socket.ack("publish", { messageId: "mine", epoch: "e", offset: 1 });
  const second = socket.take("publish");
  await socket.end();
  const next = await rig.reconnected();
  const again = await next.ack("publish", { epoch: "e", offset: 2 });
  const third = await next.ack("publish", { epoch: "e", offset: 3 });
  expect([first, again, third].map(({ payload }) => payload)).toEqual([1, 2, 3]);
  expect(again.messageId).toBe(second.messageId);
  expect(await acks[0]).toEqual({ messageId: "mine", position: { epoch: "e", offset: 1 } });
  expect(await acks[1]).toEqual({ messageId: again.messageId, position: { epoch: "e", offset: 2 } });
});

test("the queue of publishes is bounded", async () => {
  const rig = new Rig({ queue: 2 });
  const room = rig.client.channel("room");
  const kept = [room.publish("x", 1), room.publish("x", 2)];
  await expect(room.publish("x", 3)).rejects.toMatchObject({ code: "QUEUE_FULL" });
  const socket = await rig.connected();
  for (const publish of kept) {
    await socket.ack("publish");
    await publish;
  }
  room.publish("x", 4);
  expect(socket.take("publish").payload).toBe(4);
});

test("a publish ends with its timeout or signal, and is then not sent any more", async () => {
  const rig = new Rig({ publishTimeout: 3000 });
  const room = rig.client.channel("room");
  const controller = new AbortController();
  const outcomes: unknown[] = [];
  const note = (error: { code?: string }) => outcomes.push(error.code ?? error);
  room.publish("x", 1).catch(note);
  room.publish("x", 2, { timeout: 1000 }).catch(note);
  room.publish("x", 3, { signal: controller.signal }).catch(note);
  await rig.clock.advance(1000);
  controller.abort("no more");
  await rig.clock.advance(2000);
  expect(outcomes).toEqual(["TIMEOUT", "no more", "TIMEOUT"]);
  await rig.socket.welcome();
  expect(rig.socket.sent).toEqual([]);
});

test("what the server could not read is not sent again", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const publish = rig.client.channel("room").publish("x", "huge");
  await settle();
  await socket.end(1009);
  await expect(publish).rejects.toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
  expect((await rig.reconnected()).sent).toMatchObject([]);
});

test("an answer to an id that nobody waits for is ignored", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  await socket.say({ type: "ack", id: 4711 });
  await socket.say({ type: "ack", id: "text" });
  await socket.say({ type: "error", id: 4711, code: "FORBIDDEN", message: "no" });
  expect(rig.state).toBe("connected");
});

test("own messages without echo leave no gap, and do not come back with a recovery", async () => {
  const { rig, socket, room, got } = await subscribed();
  room.publish("x", "mine", { echo: false });
  const { messageId } = await socket.ack("publish", { epoch: "e", offset: 1 });
  await socket.say(message("room", 2));
  await socket.end();
  await (await rig.reconnected()).ack("subscribe", { epoch: "e", offset: 4, recovered: true });
  await rig.socket.say(message("room", 3));
  await rig.socket.say(message("room", 4, { id: messageId }));
  await rig.socket.say(message("room", 5));
  expect(got).toEqual([2, ["recovered", { recovered: true }], 3, 5]);
});

test("history, requests to the application, and what is done about them when the connection is lost", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const history = rig.client.channel("room").history({ limit: 2, before: 9 });
  const reply = rig.client.request("sum", [1, 2]);
  await settle();
  expect(socket.take("history")).toMatchObject({ channel: "room", limit: 2, before: 9 });
  expect(socket.take("event")).toMatchObject({ event: "sum", payload: [1, 2] });
  reply.catch(() => {});
  await socket.end();
  await expect(reply).rejects.toMatchObject({ code: "CONNECTION_LOST" });
  await (await rig.reconnected()).ack("history", { messages: [message("room", 8)], epoch: "e", offset: 9 });
  expect(await history).toMatchObject({ messages: [{ offset: 8 }], position: { epoch: "e", offset: 9 } });
  const second = rig.client.request("sum", [1, 2], { channel: "room" });
  await settle();
  expect((await rig.socket.ack("event", { payload: 3 })).channel).toBe("room");
  expect(await second).toBe(3);
});

test("events of the application, and replies to those that want one", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const got: ServerEvent[] = [];
  rig.client.on("event", (event) => got.push(event));
  await socket.say({ type: "event", event: "note", payload: 1 });
  await socket.say({ type: "event", event: "really?", payload: { n: 2 }, channel: "room", ack: 7 });
  expect(got).toMatchObject([
    { event: "note", payload: 1 },
    { event: "really?", payload: { n: 2 }, channel: "room" },
  ]);
  expect(got[0]?.reply).toBeUndefined();
  got[1]?.reply?.(true);
  expect(socket.take("reply")).toEqual({ type: "reply", ack: 7, payload: true });
  got[1]?.reply?.();
  expect(socket.take("reply")).toEqual({ type: "reply", ack: 7, payload: null });
  await socket.end();
  got[1]?.reply?.("nobody waits any more");
  const next = await rig.reconnected({ connectionId: "c2" });
  got[1]?.reply?.("nor here");
  expect(next.sent).toEqual([]);
});

test("requests that share a signal leave nothing on it", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const { signal } = new AbortController();
  for (let n = 0; n < 100; n++) {
    const reply = rig.client.request("sum", n, { signal });
    await settle();
    await (n % 2 ? socket.ack("event") : socket.refuse("event", "FORBIDDEN"));
    await reply.catch(() => {});
  }
  expect(getEventListeners(signal, "abort")).toEqual([]);
});

test("requests time out, also while offline", async () => {
  const rig = new Rig({ timeout: 1000 });
  const history = rig.client.channel("room").history();
  history.catch(() => {});
  await rig.clock.advance(1000);
  await expect(history).rejects.toMatchObject({ code: "TIMEOUT" });
});

test("presence: a live set that survives a reconnect with one honest change", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const room = rig.client.channel("room");
  const changes: string[][] = [];
  room.presence.onChange(({ joins, leaves }) =>
    changes.push([...joins.map((m) => `+${m.connectionId}`), ...leaves.map((m) => `-${m.connectionId}`)]),
  );
  const member = (connectionId: string, data: unknown = {}) => ({ userId: "u", connectionId, data });
  room.subscribe({ presence: true, data: { name: "Ann" } });
  expect(await socket.ack("subscribe", {})).toMatchObject({ presence: true, data: { name: "Ann" } });
  const say = (to: FakeSocket, more: object) => to.say({ channel: "room", ...more });
  await say(socket, { type: "presence_state", members: [member("a"), member("b")] });
  await say(socket, { type: "presence_diff", joins: [member("c")], leaves: [member("a")] });
  await say(socket, { type: "presence_diff", joins: [member("b", { on: "phone" })], leaves: [member("b")] });
  expect([...room.presence.members.values()].map(({ connectionId, data }) => [connectionId, data])).toEqual([
    ["c", {}],
    ["b", { on: "phone" }],
  ]);
  expect(changes).toEqual([
    ["+a", "+b"],
    ["+c", "-a"],
    ["+b", "-b"],
  ]);
  const updated = room.presence.update({ name: "Anna" });
  await socket.ack("presence");
  await updated;
  await socket.end();
  expect([room.presence.isLive, room.presence.members.size]).toEqual([false, 2]);
  expect(await (await rig.reconnected()).ack("subscribe", {})).toMatchObject({ data: { name: "Anna" } });
  await say(rig.socket, { type: "presence_state", members: [member("b", { on: "phone" }), member("d")] });
  expect(changes.at(-1)).toEqual(["+d", "-c"]);
  const left = room.unsubscribe();
  await rig.socket.ack("unsubscribe");
  await left;
  expect(room.presence.members.size).toBe(0);
});

test("presence: enter, leave and get", async () => {
  const { rig, socket, room } = await subscribed();
  const entered = room.presence.enter();
  expect((await socket.ack("presence")).action).toBe("enter");
  await entered;
  const got = room.presence.get();
  await socket.ack("presence", { members: [{ userId: null, connectionId: "x", data: 1 }] });
  expect(await got).toEqual([{ userId: null, connectionId: "x", data: 1 }]);
  const left = room.presence.leave();
  await socket.ack("presence");
  await left;
  await socket.end();
  expect((await (await rig.reconnected()).ack("subscribe")).data).toBeUndefined();
});

test("async iterators: in order, by event, ended by break, signal, unsubscribe and close", async () => {
  const { rig, socket, room } = await subscribed();
  const all = room.messages();
  const chats = room.messages({ event: "chat" });
  const controller = new AbortController();
  const bounded = room.messages({ signal: controller.signal });
  await socket.say(message("room", 1));
  await socket.say(message("room", 2, { event: "chat" }));
  controller.abort();
  await socket.say(message("room", 3));
  const offsets = [];
  for await (const { offset } of bounded) offsets.push(offset);
  expect(offsets).toEqual([1, 2]);
  expect((await chats.next()).value.offset).toBe(2);
  const next = chats.next();
  await chats.return?.();
  expect(await next).toEqual({ done: true, value: undefined });
  for await (const { offset } of all) if (offset === 3) break;
  const waiting = room[Symbol.asyncIterator]().next();
  rig.client.close();
  expect((await waiting).done).toBe(true);
});

test("an iterator that nobody reads ends with OVERFLOW instead of growing", async () => {
  const { socket, room } = await subscribed();
  const messages = room.messages({ limit: 2 });
  for (const offset of [1, 2, 3]) await socket.say(message("room", offset));
  for (const offset of [1, 2, 3]) expect((await messages.next()).value.offset).toBe(offset);
  await expect(messages.next()).rejects.toMatchObject({ code: "OVERFLOW" });
  expect((await messages.next()).done).toBe(true);
});

test("bytes travel as base64 in JSON, both ways", async () => {
  const { socket, room, got } = await subscribed();
  room.publish("x", new Uint8Array([0, 255, 16]));
  expect(socket.take("publish")).toMatchObject({ payload: "AP8Q", encoding: "base64" });
  await socket.say(message("room", 1, { payload: "AP8Q", encoding: "base64" }));
  expect(got).toEqual([new Uint8Array([0, 255, 16])]);
});

test("messages to the user come without a subscription", async () => {
  const rig = new Rig();
  const socket = await rig.connected();
  const got: unknown[] = [];
  rig.client.on("message", ({ channel, payload }) => got.push([channel, payload]));
  await socket.say(message("#user:ann", undefined, { payload: 1 }));
  rig.client.channel("#user:ann").onMessage(({ payload }) => got.push(payload));
  await socket.say(message("#user:ann", undefined, { payload: 2 }));
  expect(got).toEqual([["#user:ann", 1], 2]);
});

test("after close() everyone who waits is told, and subscriptions come back with connect()", async () => {
  const { rig, socket, room, got } = await subscribed();
  const publish = room.publish("x", 1);
  publish.catch(() => {});
  await socket.say(message("room", 1));
  rig.client.close();
  await expect(publish).rejects.toMatchObject({ code: "CLOSED" });
  await expect(room.publish("x", 2)).rejects.toMatchObject({ code: "CLOSED" });
  await expect(rig.client.request("x", 2)).rejects.toMatchObject({ code: "CLOSED" });
  rig.client.connect();
  await settle();
  await rig.socket.welcome();
  const request = await rig.socket.ack("subscribe", { epoch: "e", offset: 2, recovered: true });
  expect(request.recover).toEqual({ epoch: "e", offset: 1 });
  await rig.socket.say(message("room", 2));
  expect(got).toEqual([1, ["recovered", { recovered: true }], 2]);
});

test("presence for somebody who comes later: the subscription is made once more, and nothing is missed", async () => {
  const { socket, room, got } = await subscribed();
  await socket.say(message("room", 1));
  const again = room.subscribe({ presence: true });
  await socket.say(message("room", 2));
  await socket.ack("unsubscribe");
  expect(await socket.ack("subscribe", { epoch: "e", offset: 2, recovered: true })).toMatchObject({
    presence: true,
    recover: { epoch: "e", offset: 1 },
  });
  await again;
  await socket.say(message("room", 2));
  room.subscribe({ presence: true, data: { name: "Ann" } });
  expect(await socket.ack("presence")).toMatchObject({ action: "enter", data: { name: "Ann" } });
  expect(got).toEqual([1, ["recovered", { recovered: true }], 2]);
});

test("what cannot be encoded is told, and harms nobody else", async () => {
  const rig = new Rig({ queue: 2 });
  const room = rig.client.channel("room");
  const bad = room.publish("x", 10n);
  const good = room.publish("x", 1);
  bad.catch(() => {});
  await rig.connected();
  await expect(bad).rejects.toThrow("BigInt");
  expect((await rig.socket.ack("publish")).payload).toBe(1);
  await good;
  expect(rig.state).toBe("connected");
  // Online, too; none of them takes up room.
  for (let n = 0; n < 3; n++) await expect(room.publish("x", 10n)).rejects.toThrow("BigInt");
  await expect(room.subscribe({ data: 10n })).rejects.toThrow("BigInt");
  expect(room.isSubscribed).toBe(false);
});

test("presence connects, and tells when the client was closed", async () => {
  const rig = new Rig();
  const { presence } = rig.client.channel("room");
  const members = presence.get();
  await settle();
  await rig.socket.welcome();
  await rig.socket.ack("presence", { members: [] });
  expect(await members).toEqual([]);
  rig.client.close();
  await expect(presence.get()).rejects.toMatchObject({ code: "CLOSED" });
});

test("options that are undefined have their defaults", async () => {
  const rig = new Rig({
    codec: undefined,
    backoff: undefined,
    heartbeat: undefined,
    connectTimeout: undefined,
    queue: undefined,
  } as unknown as ClientOptions);
  await rig.connected();
  expect(rig.state).toBe("connected");
  const published = Array.from({ length: 1001 }, () => rig.client.channel("room").publish("x", 1));
  await expect(published.pop()).rejects.toMatchObject({ code: "QUEUE_FULL" });
  for (const one of published) one.catch(() => {});
  rig.client.close();
});
