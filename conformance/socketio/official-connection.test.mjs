// What the official client's own tests ask of a server, II: coming, going and coming back; refusals; volatile events and
// retries. Over each transport, against the example server `socketio-suite`.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";

import { Manager } from "socket.io-client";

import { WAYS, arrives, closeAll, collect, connect, connected } from "./socket.mjs";
import { Suite } from "./suite.mjs";

let suite;
/** Takes connections and says nothing: the real one may be quicker than the shortest of timeouts. */
let silent;
before(async () => {
  suite = await Suite.start("client");
  const taken = new Set();
  const listener = createServer((socket) => {
    taken.add(socket);
    socket.on("error", () => {}).once("close", () => taken.delete(socket));
  });
  await new Promise((done) => listener.listen(0, "127.0.0.1", done));
  silent = { origin: `http://127.0.0.1:${listener.address().port}`, stop: () => { listener.close(); taken.forEach((socket) => socket.destroy()); } };
});
after(async () => {
  closeAll();
  silent.stop();
  await suite.stop();
});

const QUICK = { reconnection: true, reconnectionDelay: 10, reconnectionDelayMax: 50 };
const answer = (socket, ...args) => new Promise((done) => socket.emit(...args, (...values) => done(values)));

/** What the client sends (`packetCreate`) or gets (`packet`), once it has an engine. */
function packets(manager, kind) {
  const seen = [];
  manager.engine.on(kind, ({ type, data }) => {
    if (type === "message") seen.push(data);
  });
  return seen;
}

for (const [way, transports] of WAYS) {
  describe(way, () => {
    const quick = { ...transports, ...QUICK };
    const managers = [];
    const manager = (options = {}, server = suite) => {
      const made = new Manager(server.origin, { ...transports, ...options });
      managers.push(made);
      return made;
    };
    after(() => managers.forEach((made) => {
      made.reconnection(false);
      made._close();
    }));

    describe("coming back", () => {
      test("by itself, when the transport was lost; with another id where nothing proves that all arrived", async () => {
        const socket = await connected(suite, { ...quick, auth: { pid: undefined } });
        const back = arrives(socket.io, "reconnect");
        socket.io.engine.close();
        await back;
        await (socket.connected || arrives(socket, "connect"));
      });

      test("as the same, once it has got an event: the session is gone on with", async () => {
        const socket = await connected(suite, quick);
        assert.equal(socket.recovered, false);
        const hi = arrives(socket, "hi");
        socket.emit("hi");
        await hi;
        for (let round = 1; round <= 3; round += 1) {
          const { id } = socket;
          const back = arrives(socket, "connect");
          socket.io.engine.close();
          await back;
          assert.deepEqual([socket.recovered, socket.id], [true, id], `round ${round}`);
        }
        const again = arrives(socket, "hi");
        socket.emit("hi");
        await again;
      });

      test("as another, when an event did not reach it", async () => {
        const socket = await connected(suite, quick);
        const { id } = socket;
        const back = arrives(socket, "connect");
        // The engine hands nothing more to the client, as if the network had swallowed it.
        socket.io.engine.off("data");
        socket.io.engine.removeAllListeners("packet");
        socket.emit("hi");
        await answer(await connected(suite, transports), "echo", 1);
        socket.io.engine.close();
        await back;
        if (socket.recovered) {
          // The server had not looked at the event before the transport was lost.
          assert.equal(socket.id, id);
        } else {
          assert.notEqual(socket.id, id);
        }
      });

      test("by hand, and then by itself", async () => {
        const socket = await connected(suite, quick);
        let [gone, back] = [arrives(socket, "disconnect"), undefined];
        socket.disconnect();
        await gone;
        back = arrives(socket, "connect");
        socket.connect();
        await back;
        back = arrives(socket.io, "reconnect");
        socket.io.engine.close();
        await back;
      });

      test("disconnect and connect in one breath", async () => {
        const socket = await connected(suite, quick);
        const gone = collect(socket, "disconnect");
        const back = arrives(socket, "connect");
        socket.disconnect().connect();
        await back;
        assert.equal(gone.length, 1);
      });

      test("a socket that was closed stays away while another comes back", async () => {
        const both = manager(QUICK);
        const [main, other] = [both.socket("/"), both.socket("/asd")];
        await Promise.all([arrives(main, "connect"), arrives(other, "connect")]);
        const again = collect(main, "connect");
        both.once("reconnect_attempt", () => main.disconnect());
        const back = arrives(other, "connect");
        both.engine.close();
        await back;
        const further = both.socket("/valid");
        await arrives(further, "connect");
        assert.equal(again.length, 0, "it was closed");
        await assert.doesNotReject(answerIn(other));
      });

      test("what is no packet closes the engine, and another one is opened", async () => {
        const own = manager(QUICK);
        const socket = own.socket("/");
        await arrives(socket, "connect");
        const { engine } = own;
        const back = arrives(own, "reconnect");
        engine.emit("data", "bad");
        await back;
        assert.notEqual(own.engine, engine);
        assert.equal(engine.readyState, "closed");
      });

      test("a timer that was asleep loses nothing", async () => {
        const socket = await connected(suite, quick);
        let reconnected = false;
        socket.io.once("reconnect", () => { reconnected = true; });
        socket.io.engine._pingTimeoutTime = Date.now() - 1;
        assert.deepEqual(await answer(socket, "echo", "123"), ["123"]);
        assert.equal(reconnected, true);
      });

      test("nobody tries again where the first try succeeds", async () => {
        const own = manager(QUICK);
        own.on("reconnect_attempt", () => assert.fail("there is no need"));
        own.on("error", (error) => assert.fail(error));
        await arrives(own.socket("/valid"), "connect");
      });
    });

    describe("attempts", () => {
      test("to a server that does not answer in time: they are counted and given up, and begun again by hand", async () => {
        const own = manager({ reconnection: true, timeout: 20, reconnectionAttempts: 2, reconnectionDelay: 10 }, silent);
        const socket = own.socket("/timeout_socket");
        const attempts = collect(own, "reconnect_attempt");
        await arrives(own, "reconnect_failed");
        assert.deepEqual(attempts.splice(0).map(([number]) => number), [1, 2]);
        const failed = arrives(own, "reconnect_failed");
        socket.connect();
        await failed;
        assert.deepEqual(attempts.map(([number]) => number), [1, 2]);
        socket.close();
      });

      test("the time between them grows", async () => {
        const own = manager({ reconnection: true, timeout: 20, reconnectionAttempts: 3, reconnectionDelay: 100, randomizationFactor: 0.2 }, silent);
        own.socket("/timeout_socket");
        const pauses = [];
        let failed;
        own.on("error", () => { failed = Date.now(); });
        own.on("reconnect_attempt", () => pauses.push(Date.now() - failed));
        await arrives(own, "reconnect_failed");
        assert.equal(pauses.length, 3);
        // 100, 200 and 400 ms, a fifth more or less; timers may be early by a fraction, and late by anything.
        assert.ok(pauses[0] >= 75 && pauses[1] >= 155 && pauses[2] >= 315, String(pauses));
      });

      test("closing the socket ends them, opening it again begins them", async () => {
        const own = connect(silent, { ...quick, timeout: 20 }, "/invalid");
        await arrives(own.io, "reconnect_attempt");
        own.disconnect();
        const again = arrives(own.io, "reconnect_attempt");
        own.connect();
        await again;
        own.disconnect();
        own.io.on("reconnect_attempt", () => assert.fail("it was closed"));
      });

      test("a connection that does not open in time is an error", async () => {
        const socket = connect(silent, { ...transports, timeout: 20 });
        const [error] = await new Promise((done) => socket.once("connect_error", (...args) => done(args)));
        assert.equal(error.message, "timeout");
      });
    });

    describe("namespaces", () => {
      test("a further one, after the connection was opened and after it was closed", async () => {
        const own = manager();
        const main = own.socket("/");
        await arrives(main, "connect");
        const further = own.socket("/foo");
        await arrives(further, "connect");
        const closed = new Promise((done) => own.once("close", done));
        further.close();
        main.disconnect();
        await closed;
        const anew = own.socket("/asd");
        await arrives(anew, "connect");
      });

      test("one that goes leaves the others where they are", async () => {
        const own = manager();
        const first = own.socket("/foo");
        await arrives(first, "connect");
        const second = own.socket("/asd");
        first.disconnect();
        await arrives(second, "connect");
        const gone = collect(second, "disconnect");
        const third = own.socket("/valid");
        await arrives(third, "connect");
        third.disconnect();
        await assert.doesNotReject(answerIn(second));
        assert.equal(gone.length, 0);
        const closed = new Promise((done) => own.once("close", done));
        second.disconnect();
        await closed;
      });

      test("a socket that was left can be opened again; one that is open is not opened twice", async () => {
        const own = manager();
        await new Promise((done) => own.once("open", done));
        const sent = packets(own, "packetCreate");
        const [one, same, foo] = [own.socket("/"), own.socket("/"), own.socket("/foo")];
        assert.equal(one, same);
        await Promise.all([arrives(one, "connect"), arrives(foo, "connect")]);
        one.disconnect();
        assert.deepEqual(sent, ["0", "0/foo,", "1"]);
        const again = own.socket("/");
        assert.equal(again, one);
        assert.equal(again.active, true);
        await arrives(again, "connect");
        assert.equal(sent.length, 4);
        assert.match(sent[3], /^0(\{"pid":"[^"]+"\})?$/);
      });

      test("who is refused is told why, once", async () => {
        const own = manager(QUICK);
        const main = own.socket("/");
        const socket = own.socket("/no");
        const refused = collect(socket, "connect_error");
        const [[error]] = await refused.of(1);
        assert.ok(error instanceof Error);
        assert.equal(error.message, "Auth failed (custom namespace)");
        assert.throws(() => socket.emit("disconnecting", "goodbye"), /reserved/);
        await (main.connected || arrives(main, "connect"));
        // A new transport does not make it try again.
        const anew = arrives(main, "connect");
        own.engine.close();
        await anew;
        await answer(main, "echo", 1);
        assert.equal(refused.length, 1);
        const failing = connect(suite, { ...transports, query: { fail: true } });
        const [[reason]] = await collect(failing, "connect_error").of(1);
        assert.equal(reason.message, "Auth failed (main namespace)");
      });
    });

    describe("what need not arrive, and what must", () => {
      test("volatile events: not before the connection, and not while the pipe is full", async () => {
        const socket = connect(suite, { ...transports, autoConnect: false });
        const never = () => assert.fail("it was volatile");
        socket.volatile.emit("getId", never);
        socket.on("connect", () => {
          socket.emit("echo", 1);
          socket.volatile.emit("getId", never);
        });
        const connecting = arrives(socket, "connect");
        socket.connect();
        await connecting;
        await answer(socket, "echo", 2);
        for (let sent = false; !sent; ) {
          sent = await Promise.race([
            new Promise((done) => socket.volatile.emit("echo", 3, () => done(true))),
            new Promise((done) => setTimeout(done, 200, false)),
          ]);
        }
      });

      test("retries keep the order", async () => {
        const socket = connect(suite, { ...transports, retries: 1, ackTimeout: 15_000 });
        const sent = packets(socket.io, "packetCreate");
        const left = [];
        const last = new Promise((done) => [1, 2, 3].forEach((n) => socket.emit("echo", n, (error, value) => {
          assert.deepEqual([error, value], [null, n]);
          left.push(socket._queue.length);
          if (n === 3) done();
        })));
        assert.equal(socket._queue.length, 3);
        await last;
        assert.deepEqual(left, [2, 1, 0]);
        assert.deepEqual(sent, ["0", '20["echo",1]', '21["echo",2]', '22["echo",3]']);
      });

      test("an event that is not answered is sent again, as often as was said", async () => {
        const socket = connect(suite, { ...transports, retries: 3, ackTimeout: 250 });
        const sent = packets(socket.io, "packetCreate");
        const got = collect(socket, "ack");
        await new Promise((done) => socket.emit("ack", done));
        await got.of(4);
        assert.deepEqual(sent, ["0", '20["ack"]', '21["ack"]', '22["ack"]', '23["ack"]']);
      });

      test("nothing is tried before the connection, and nothing twice with it", async () => {
        const socket = connect(suite, { ...transports, autoConnect: false, retries: 3, ackTimeout: 15_000 });
        const early = answer(socket, "echo", 1);
        socket.connect();
        assert.deepEqual(await early, [null, 1]);
        const eager = connect(suite, { ...transports, retries: 3 });
        const [sent, received] = [packets(eager.io, "packetCreate"), packets(eager.io, "packet")];
        await arrives(eager, "connect");
        await answer(eager, "echo", null);
        assert.deepEqual(sent, ["0", '20["echo",null]']);
        assert.match(received[0], /^0\{"sid":"[^"]+","pid":"[^"]+"\}$/);
        assert.equal(received[1], "30[null]");
      });
    });
  });
}

/** That a socket of `/asd`, where nobody answers, still reaches the server: another namespace of its connection is asked. */
async function answerIn(socket) {
  const foo = socket.io.socket("/foo");
  if (!foo.connected) {
    const there = arrives(foo, "connect");
    if (!foo.active) foo.connect();
    await there;
  }
  assert.equal((await answer(foo, "getId")).length, 1);
  foo.disconnect();
}
