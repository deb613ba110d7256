// What an application does with the official client, over each transport.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll as closeNative } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { WAYS, arrives, ask, closeAll, collect, connect, connected } from "./socket.mjs";

let server;
before(async () => {
  server = await Server.start({
    // Hundreds of clients in one process take their time before they say anything.
    server: { handshake_timeout: "60s" },
    limits: { messages_per_second: 1_000_000, burst: 1_000_000 },
    channels: [{ match: "private:*", subscribe: "authenticated", publish: "members" }, OPEN_RULE],
  });
});
after(async () => {
  closeAll();
  closeNative();
  await server.stop();
});

let rooms = 0;
const room = () => `room-${(rooms += 1)}`;

for (const [way, transports] of WAYS) {
  describe(way, () => {
    test("connects, and the transport is the one that was asked for", async () => {
      const socket = connect(server, transports);
      const upgraded = way === "upgrade" ? new Promise((done) => socket.io.once("open", () => socket.io.engine.once("upgrade", done))) : undefined;
      await arrives(socket, "connect");
      assert.match(socket.id, /^[\w-]{10,}$/);
      await upgraded;
      assert.equal(socket.io.engine.transport.name, way === "polling" ? "polling" : "websocket");
    });

    test("rooms: what is published reaches their members and nobody else", async () => {
      const [a, b] = [room(), room()];
      const [first, second, third] = await Promise.all([1, 2, 3].map(() => connected(server, transports)));
      assert.equal((await ask(first, "subscribe", a)).ok, true);
      assert.equal((await ask(second, "subscribe", a)).ok, true);
      assert.equal((await ask(third, "subscribe", b)).ok, true);
      const seen = [first, second, third].map((socket) => collect(socket, "move"));
      const published = await ask(first, "publish", a, "move", { x: 1.5, name: "é" });
      assert.equal(published.ok, true);
      assert.equal(published.offset, 1);
      await ask(first, "publish", b, "move", "for b");
      for (const [index, payload, name] of [[0, { x: 1.5, name: "é" }, a], [1, { x: 1.5, name: "é" }, a], [2, "for b", b]]) {
        const [[got, meta, offset]] = await seen[index].of(1);
        assert.deepEqual(got, payload);
        assert.equal(meta.channel, name);
        assert.equal(meta.offset, 1);
        assert.equal(typeof meta.id, "string");
        assert.equal(typeof meta.ts, "number");
        assert.match(offset, /:1$/);
      }
      assert.equal(seen[2].length, 1);
    });

    test("leaving a room", async () => {
      const name = room();
      const socket = await connected(server, transports);
      await ask(socket, "subscribe", name);
      assert.deepEqual(await ask(socket, "unsubscribe", name), { ok: true, channel: name });
      const again = await ask(socket, "unsubscribe", name);
      assert.equal(again.error.code, "NOT_SUBSCRIBED");
      const seen = collect(socket, "message");
      await server.publish(name, 1);
      await ask(socket, "subscribe", name);
      await server.publish(name, 2);
      assert.deepEqual((await seen.of(1)).map(([payload]) => payload), [2]);
    });

    test("publish with options: no echo, the same id once", async () => {
      const name = room();
      const [first, second] = await Promise.all([connected(server, transports), connected(server, transports)]);
      await ask(first, "subscribe", name);
      await ask(second, "subscribe", name);
      const [one, two] = [collect(first, "e"), collect(second, "e")];
      const sent = await ask(first, "publish", name, "e", 1, { echo: false, messageId: "m1" });
      assert.deepEqual(await ask(first, "publish", name, "e", 1, { echo: false, messageId: "m1" }), sent);
      await ask(first, "publish", name, "e", 2);
      assert.deepEqual((await two.of(2)).map(([payload]) => payload), [1, 2]);
      assert.deepEqual((await one.of(1)).map(([payload]) => payload), [2]);
    });

    test("rewind and recovery by position", async () => {
      const name = room();
      for (const n of [1, 2, 3, 4, 5]) await server.publish(name, n);
      const socket = await connected(server, transports);
      const seen = collect(socket, "message");
      const { epoch, offset } = await ask(socket, "subscribe", name, { rewind: 2 });
      assert.equal(offset, 5);
      assert.deepEqual((await seen.of(2)).map(([payload]) => payload), [4, 5]);
      const other = await connected(server, transports);
      const missed = collect(other, "message");
      const answer = await ask(other, "subscribe", name, { recover: { epoch, offset: 3 } });
      assert.equal(answer.recovered, true);
      await server.publish(name, 6);
      assert.deepEqual((await missed.of(3)).map(([payload]) => payload), [4, 5, 6]);
    });

    test("binary both ways", async () => {
      const name = room();
      const [first, second] = await Promise.all([connected(server, transports), connected(server, transports)]);
      await ask(first, "subscribe", name);
      await ask(second, "subscribe", name);
      const seen = collect(second, "blob");
      const bytes = Buffer.from(Array.from({ length: 1000 }, (_, n) => n % 256));
      await ask(first, "publish", name, "blob", bytes);
      await ask(first, "publish", name, "blob", { deep: [{ bytes }], text: "x", empty: Buffer.alloc(0) });
      await ask(first, "publish", name, "blob", Buffer.alloc(0));
      const [[whole], [inside], [empty]] = await seen.of(3);
      assert.deepEqual(Buffer.from(whole), bytes);
      assert.deepEqual(Buffer.from(inside.deep[0].bytes), bytes);
      assert.equal(inside.text, "x");
      assert.equal(inside.empty.byteLength ?? inside.empty.length, 0);
      assert.equal(Buffer.from(empty).length, 0);
    });

    test("presence", async () => {
      const name = room();
      const socket = await connected(server, transports);
      const [states, diffs] = [collect(socket, "presence_state"), collect(socket, "presence_diff")];
      await ask(socket, "subscribe", name, { presence: true });
      assert.deepEqual(await states.of(1), [[{ channel: name, members: [] }]]);
      const other = await connected(server, { ...transports, auth: { token: mint({ sub: "ann" }) } });
      await ask(other, "subscribe", name, { data: { mood: "good" } });
      const [[joined]] = await diffs.of(1);
      assert.deepEqual(joined, { channel: name, joins: [{ userId: "ann", connectionId: other.id, data: { mood: "good" } }], leaves: [] });
      other.disconnect();
      const [, [left]] = await diffs.of(2);
      assert.equal(left.leaves[0].connectionId, joined.joins[0].connectionId);
    });

    test("many messages stay in order", async () => {
      const name = room();
      const [first, second] = await Promise.all([connected(server, transports), connected(server, transports)]);
      await ask(second, "subscribe", name);
      const seen = collect(second, "n");
      for (let n = 0; n < 300; n += 1) first.emit("publish", name, "n", n);
      assert.deepEqual((await seen.of(300)).map(([payload]) => payload), Array.from({ length: 300 }, (_, n) => n));
    });

    test("an event that nobody handles, and calls of the wrong shape", async () => {
      const socket = await connected(server, transports);
      assert.equal((await ask(socket, "hello", 1)).error.code, "UNKNOWN_TYPE");
      assert.equal((await ask(socket, "subscribe")).error.code, "INVALID_MESSAGE");
      assert.equal((await ask(socket, "subscribe", 7)).error.code, "INVALID_MESSAGE");
      assert.equal((await ask(socket, "subscribe", "")).error.code, "INVALID_CHANNEL");
      assert.equal((await ask(socket, "subscribe", "private:x")).error.code, "AUTH_REQUIRED");
      assert.equal((await ask(socket, "publish", "private:x", "e", 1)).error.code, "NOT_SUBSCRIBED");
      const name = room();
      await ask(socket, "subscribe", name);
      assert.equal((await ask(socket, "subscribe", name)).error.code, "ALREADY_SUBSCRIBED");
    });

    test("a large message, and one that is too large", async () => {
      const name = room();
      const socket = await connected(server, transports);
      const seen = collect(socket, "message");
      await ask(socket, "subscribe", name);
      await ask(socket, "publish", name, "message", "x".repeat(60_000));
      assert.equal((await seen.of(1))[0][0].length, 60_000);
      const gone = arrives(socket, "disconnect");
      socket.emit("publish", name, "message", "x".repeat(70_000));
      await gone;
    });
  });
}

describe("namespaces", () => {
  test("are apart, on one connection, and their rooms are channels with their name in front", async () => {
    const main = await connected(server, { forceNew: false, multiplex: true });
    const chat = main.io.socket("/chat");
    await arrives(chat, "connect");
    assert.notEqual(chat.id, main.id);
    const name = room();
    await ask(main, "subscribe", name);
    await ask(chat, "subscribe", name);
    const [inMain, inChat] = [collect(main, "message"), collect(chat, "message")];
    await server.publish(name, "for main");
    await server.publish(`/chat#${name}`, "for chat");
    assert.deepEqual((await inMain.of(1)).map(([payload, meta]) => [payload, meta.channel]), [["for main", name]]);
    assert.deepEqual((await inChat.of(1)).map(([payload, meta]) => [payload, meta.channel]), [["for chat", name]]);
    assert.equal((await ask(main, "subscribe", `/chat#${name}`)).error.code, "INVALID_CHANNEL");
    chat.disconnect();
    const channels = async () => (await server.api("GET", `/api/connections/${main.id}`)).body.channels;
    await eventually(async () => (await channels()).join() === name, "only the room of the main namespace");
    main.disconnect();
  });

  test("one that no rule speaks of is not there", async () => {
    const strict = await Server.start({ channels: [{ match: "room-*", subscribe: "anyone" }, { match: "/chat#*", subscribe: "anyone" }] });
    try {
      await connected(strict, {}, "/chat");
      const error = await arrives(connect(strict, {}, "/nowhere"), "connect").then(() => null, (error) => error);
      assert.equal(error.message, "Invalid namespace");
    } finally {
      closeAll();
      await strict.stop();
    }
  });
});

describe("who may come in", () => {
  let closed;
  before(async () => {
    closed = await Server.start({ auth: { anonymous: false, timeout: "5s" } });
  });
  after(() => closed.stop());
  const refused = (options, namespace) => arrives(connect(closed, options, namespace), "connect").then(() => assert.fail("it came in"), (error) => error);

  for (const [way, transports] of WAYS) {
    test(`${way}: the token is that of CONNECT`, async () => {
      assert.equal((await refused(transports)).data.code, "AUTH_REQUIRED");
      assert.equal((await refused({ ...transports, auth: { token: "no token" } })).data.code, "TOKEN_INVALID");
      assert.equal((await refused({ ...transports, auth: { token: mint({ sub: "a", exp: 1 }) } })).data.code, "TOKEN_EXPIRED");
      assert.equal((await refused({ ...transports, auth: { token: 7 } })).data.code, "AUTH_REQUIRED");
      const socket = await connected(closed, { ...transports, auth: { token: mint({ sub: "ann" }) } });
      const name = room();
      await ask(socket, "subscribe", name);
      const seen = collect(socket, "message");
      await ask(socket, "publish", name, "message", 1);
      const [[, meta]] = await seen.of(1);
      assert.equal(meta.userId, "ann");
      const info = await closed.api("GET", `/api/connections/${socket.id}`);
      assert.equal(info.body.userId, "ann");
      assert.equal(info.body.protocol, "socketio");
    });
  }

  test("one connection has one user", async () => {
    const main = await connected(closed, { auth: { token: mint({ sub: "ann" }) } });
    const same = main.io.socket("/same", { auth: { token: mint({ sub: "ann" }) } });
    await arrives(same, "connect");
    const other = main.io.socket("/other", { auth: { token: mint({ sub: "bob" }) } });
    const [error] = await arrives(other, "connect_error");
    assert.equal(error.data.code, "FORBIDDEN");
    assert.equal(main.connected, true);
    main.disconnect();
  });

  test("a second try on the same connection", async () => {
    const token = { token: "wrong" };
    const keeper = connect(closed, { auth: { token: mint({ sub: "ann" }) } });
    await arrives(keeper, "connect");
    const socket = keeper.io.socket("/again", { auth: (done) => done(token) });
    await arrives(socket, "connect_error");
    token.token = mint({ sub: "ann" });
    socket.connect();
    await arrives(socket, "connect");
  });

  test("messages for a user", async () => {
    const socket = await connected(closed, { auth: { token: mint({ sub: "carl" }) } });
    const seen = collect(socket, "note");
    const { status } = await closed.api("POST", "/api/users/carl/publish", { event: "note", payload: { n: 1 } });
    assert.equal(status, 200);
    assert.deepEqual((await seen.of(1))[0][0], { n: 1 });
  });

  for (const [way, transports] of WAYS) {
    test(`${way}: disconnected by the API, a client stays away`, async () => {
      const socket = await connected(closed, { ...transports, reconnection: true, auth: { token: mint({ sub: "dave" }) } });
      if (way === "upgrade") await eventually(() => socket.io.engine.transport.name === "websocket", "the upgrade");
      const gone = arrives(socket, "disconnect");
      await closed.api("POST", "/api/users/dave/disconnect");
      assert.deepEqual((await gone)[0], "io server disconnect");
      assert.equal(socket.active, false);
    });
  }

  test("an expired token is a disconnect", async () => {
    const socket = await connected(closed, { reconnection: true, auth: { token: mint({ sub: "eve", exp: Math.floor(Date.now() / 1000) + 5 }) } });
    assert.equal((await arrives(socket, "disconnect"))[0], "io server disconnect");
  });
});

describe("comings and goings", () => {
  for (const [way, transports] of WAYS) {
    test(`${way}: a client comes back after a restart`, async () => {
      const config = { server: { shutdown_grace: "2s" } };
      const first = await Server.start(config);
      const socket = await connected(first, { ...transports, reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
      // A drain in the middle of an upgrade may be lost with the transport that is left.
      if (way === "upgrade") await eventually(() => socket.io.engine.transport.name === "websocket", "the upgrade");
      const drained = collect(socket, "drain");
      const gone = arrives(socket, "disconnect");
      first.signal("SIGTERM");
      const [reason] = await gone;
      assert.notEqual(reason, "io server disconnect");
      assert.equal(typeof (await drained.of(1))[0][0].reconnectIn, "number");
      await first.exited;
      const back = arrives(socket, "connect", () => true, 40_000).catch((error) => error);
      const port = new URL(first.origin).port;
      const second = await Server.start(config, { args: ["--config", `${first.folder}/starling.toml`, "--listen", `127.0.0.1:${port}`] }).catch((error) => error);
      try {
        socket.io.off("reconnect_error");
        for (let result = await back; result instanceof Error; ) result = await arrives(socket, "connect", () => true, 40_000).catch((error) => error);
        assert.equal((await ask(socket, "subscribe", room())).ok, true);
      } finally {
        socket.io.reconnection(false);
        socket.disconnect();
        await second.stop?.();
        await first.stop();
      }
    });
  }

  test("500 clients at once", async () => {
    const name = room();
    const ways = [["websocket"], ["polling"], ["polling", "websocket"]];
    const sockets = await Promise.all(Array.from({ length: 500 }, (_, n) => connected(server, { transports: ways[n % ways.length], timeout: 60_000 })));
    await Promise.all(sockets.map((socket) => ask(socket, "subscribe", name)));
    const seen = sockets.map((socket) => collect(socket, "all"));
    for (let n = 0; n < 5; n += 1) await server.publish(name, n, { event: "all" });
    for (const list of seen) assert.deepEqual((await list.of(5)).map(([payload]) => payload), [0, 1, 2, 3, 4]);
    for (const socket of sockets) socket.disconnect();
  });

  test("one room with native members: each one's message reaches the other, intact", async () => {
    const name = room();
    const native = await Client.connect(server);
    const socket = await connected(server);
    await ask(socket, "subscribe", name);
    const seen = collect(socket, "m");
    await native.subscribe(name);
    await native.publish(name, { from: "native", big: 1 }, { event: "m" });
    await ask(socket, "publish", name, "m", { from: "socketio", b: Buffer.from([1, 2]) });
    await ask(socket, "publish", name, "m", Buffer.from([1, 2, 3]));
    assert.deepEqual((await seen.of(3))[0][0], { from: "native", big: 1 });
    const got = [];
    while (got.length < 3) got.push(await native.message(name));
    assert.deepEqual(got.map((message) => message.offset), [1, 2, 3]);
    assert.deepEqual(got[1].payload, { from: "socketio", b: { _placeholder: true, data: "AQI=" } });
    assert.deepEqual([got[2].payload, got[2].encoding], ["AQID", "base64"]);
    await native.close();
  });
});
