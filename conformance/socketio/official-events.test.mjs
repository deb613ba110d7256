// What the official client's own tests ask of a server, I: events, acks, binary, who one is. Over each transport, against
// the example server `socketio-suite`.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { WAYS, arrives, closeAll, collect, connect, connected } from "./socket.mjs";
import { Suite } from "./suite.mjs";

let suite;
before(async () => { suite = await Suite.start("client"); });
after(async () => {
  closeAll();
  await suite.stop();
});

/** The answer to an event whose ack has no error in front. */
const answer = (socket, ...args) => new Promise((done) => socket.emit(...args, (...values) => done(values)));

for (const [way, transports] of WAYS) {
  describe(way, () => {
    const open = (options, namespace) => connect(suite, { ...transports, ...options }, namespace);

    describe("what handlers emit", () => {
      for (const [request, event, sent, expected] of [
        ["hi", "hi", [], []],
        ["false", "false", [], [false]],
        ["doge", "doge", [], [Buffer.from("asdfasdf")]],
        ["getbin", "takebin", [], [Buffer.from("asdfasdf")]],
        ["buffa", "buffack", [Uint8Array.of(1, 2, 3)], []],
        ["buffa", "buffack", [Uint8Array.of(1, 2, 3).buffer], []],
        ["jsonbuff", "jsonbuff-ack", [{ hello: "lol", message: Buffer.from([9]), goodbye: "gotcha" }], []],
        ["blob", "back", [Buffer.from("hello world")], []],
        ["jsonblob", "jsonblob-ack", [{ hello: "lol", message: Buffer.alloc(9), goodbye: "gotcha" }], []],
      ]) {
        test(`${request} → ${event}`, async () => {
          const socket = open();
          const got = arrives(socket, event);
          socket.emit(request, ...sent);
          // With connection state recovery, the position of the event comes last.
          const arguments_ = await got;
          assert.equal(typeof arguments_.pop(), "string");
          assert.deepEqual(arguments_, expected);
        });
      }

      test("the kind of buffer that the client asks for", async () => {
        const socket = open({ transports: ["websocket"] });
        socket.io.engine.binaryType = "arraybuffer";
        const got = arrives(socket, "doge");
        socket.emit("doge");
        assert.ok((await got)[0] instanceof ArrayBuffer);
      });

      test("texts beyond ASCII, in order", async () => {
        const socket = open();
        const seen = collect(socket, "takeUtf8");
        socket.emit("getUtf8");
        const texts = (await seen.of(5)).map(([text]) => text);
        assert.deepEqual(texts, ["てすと", "Я Б Г Д Ж Й", "Ä ä Ü ü ß", "utf8 — string", "utf8 — string"]);
      });

      test("dates are texts, alone, in an object, and in an ack", async () => {
        const socket = open();
        const [alone, inside] = [arrives(socket, "takeDate"), arrives(socket, "takeDateObj")];
        socket.emit("getDate");
        socket.emit("getDateObj");
        const dates = [(await alone)[0], (await inside)[0].date, (await answer(socket, "getAckDate", { test: true }))[0]];
        for (const date of dates) assert.ok(Math.abs(new Date(date) - Date.now()) < 60_000, date);
      });

      test("binary events keep their order", async () => {
        const socket = open();
        const got = arrives(socket, "abuff2-ack");
        socket.emit("abuff1", Buffer.from("first"));
        socket.emit("abuff2", "please arrive second");
        await got;
        const last = arrives(socket, "blob3-ack");
        socket.emit("blob1", Buffer.from("1"));
        socket.emit("blob2", "second");
        socket.emit("blob3", Buffer.from("3"));
        await last;
      });

      test("an event that asks for an ack, and what follows it", async () => {
        const socket = open();
        const got = arrives(socket, "got it");
        socket.on("ack", (...args) => args.at(-1)(5, { test: true }));
        socket.emit("ack");
        await got;
      });
    });

    describe("acks", () => {
      test("a value and a promise of it; false and null are values", async () => {
        const socket = await connected(suite, transports);
        for (const value of [123, "a", false, null, { a: [1] }]) {
          assert.deepEqual(await answer(socket, "echo", value), [value]);
          assert.deepEqual(await socket.emitWithAck("echo", value), value);
        }
      });

      test("in the order of the events, also of those from before the connection", async () => {
        const socket = open({ autoConnect: false });
        const order = [];
        const first = answer(socket, "echo", "first").then(() => order.push(1));
        const connecting = arrives(socket, "connect").then(() => answer(socket, "echo", "second")).then(() => order.push(2));
        socket.connect();
        await Promise.all([first, connecting]);
        assert.deepEqual(order, [1, 2]);
      });

      test("a handler that does not answer leaves the client to its timeout", async () => {
        const socket = await connected(suite, transports);
        const late = (error) => /timed out/.test(error.message);
        assert.ok(late(await new Promise((done) => socket.timeout(50).emit("unknown", done))));
        await assert.rejects(socket.timeout(50).emitWithAck("unknown"), late);
        const hasty = await connected(suite, { ...transports, ackTimeout: 50 });
        assert.ok(late(await new Promise((done) => hasty.emit("unknown", done))));
        assert.deepEqual(await socket.timeout(15_000).emitWithAck("echo", 42), 42, "the connection goes on");
      });

      test("an event whose time is over is an error, once", async () => {
        const socket = open();
        const outcomes = [];
        // Over before the connection is there: a server that answers quickly would still be in time after that.
        socket.timeout(0).emit("echo", 42, (error) => outcomes.push(error));
        assert.deepEqual(await answer(socket, "echo", 1), [1]);
        assert.equal(outcomes.length, 1);
        assert.ok(outcomes[0] instanceof Error);
      });

      test("a connection that ends takes its acks along, errors where the client wants them", async () => {
        const ended = async (ask, options = {}) => {
          const socket = await connected(suite, { ...transports, ...options });
          const outcome = ask(socket);
          socket.disconnect();
          return outcome;
        };
        assert.ok((await ended((socket) => new Promise((done) => socket.timeout(10_000).emit("echo", "a", done)))) instanceof Error);
        assert.ok((await ended((socket) => new Promise((done) => socket.emit("echo", "a", done)), { ackTimeout: 10_000 })) instanceof Error);
        await assert.rejects(ended((socket) => socket.emitWithAck("echo", "a")));
        await assert.rejects(ended((socket) => socket.timeout(10_000).emitWithAck("echo", "a")));
        const socket = await connected(suite, transports);
        socket.emit("echo", "a", () => assert.fail("a callback without an error has nothing to say"));
        socket.disconnect();
        assert.deepEqual(socket.acks, {});
      });

      test("what was not sent yet is sent after the next connection", async () => {
        const socket = await connected(suite, transports);
        socket.disconnect();
        const value = answer(socket, "echo", "a");
        socket.connect();
        assert.deepEqual(await value, ["a"]);
      });
    });

    describe("who one is", () => {
      for (const namespace of ["/", "/foo"]) {
        test(`the server knows the socket of ${namespace} by the same id`, async () => {
          const socket = await connected(suite, transports, namespace);
          const [id] = await answer(socket, "getId");
          assert.equal(socket.id, id);
          assert.notEqual(socket.id, socket.io.engine.id);
          const gone = arrives(socket, "disconnect");
          socket.disconnect();
          await gone;
          assert.equal(socket.id, undefined);
        });
      }

      for (const [what, namespace, options, query] of [
        ["an object", "/", { query: { e: "f" } }, { e: "f" }],
        ["a query string", "/?c=d", {}, { c: "d" }],
        ["an object in a namespace", "/abc", { query: { a: "b" } }, { a: "b" }],
        ["a query string in a namespace", "/abc?b=c&d=e", {}, { b: "c", d: "e" }],
        ["characters that must be escaped", "/abc", { query: { "&a": "&=?a" } }, { "&a": "&=?a" }],
      ]) {
        test(`its query, as ${what}`, async () => {
          const socket = open(options, namespace);
          const [handshake] = namespace.startsWith("/abc") ? await arrives(socket, "handshake") : await answer(socket, "getHandshake");
          assert.deepEqual(handshake.query, query, "and nothing of the protocol's own");
        });
      }

      for (const [what, auth, sent] of [
        ["an object", { a: "b", c: "d" }, { a: "b", c: "d" }],
        ["a function", (give) => give({ e: "f" }), { e: "f" }],
      ]) {
        test(`its auth, as ${what}`, async () => {
          const socket = open({ auth }, "/abc");
          const [handshake] = await arrives(socket, "handshake");
          assert.deepEqual(handshake.auth, sent);
          assert.deepEqual(handshake.query, {});
        });
      }

      test("listeners for any event hear those of the server", async () => {
        const socket = open({}, "/abc");
        const order = [];
        const heard = new Promise((done) => socket.onAny((event, handshake) => {
          order.push(event);
          done(handshake);
        }));
        socket.prependAny(() => order.push("before"));
        assert.equal(typeof await heard, "object");
        assert.deepEqual(order, ["before", "handshake"]);
      });
    });
  });
}
