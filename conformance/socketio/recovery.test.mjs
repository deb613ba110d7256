// Connection state recovery with the official client: it is told `recovered` exactly when nothing is missing.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { mint } from "../harness/jwt.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { WAYS, arrives, ask, closeAll, collect, connected } from "./socket.mjs";

let server;
before(async () => {
  server = await Server.start({
    auth: { anonymous: true },
    channels: [{ match: "plain:*", subscribe: "anyone", publish: "anyone" }, OPEN_RULE],
  });
});
after(async () => {
  closeAll();
  await server.stop();
});

let rooms = 0;
const room = () => `lost-${(rooms += 1)}`;
const payloads = (list) => list.map(([payload]) => payload);

/** Loses the transport, does something when the server knows of that, and waits until the client is back. */
async function lose(socket, meanwhile = async () => {}, from = server) {
  const { id } = socket;
  const gone = arrives(socket, "disconnect");
  // It comes back when it is told to, and not before everything is done.
  socket.io.reconnection(false);
  socket.io.engine.close();
  await gone;
  await eventually(async () => (await from.api("GET", `/api/connections/${id}`)).status === 404, "the end of the connection");
  await meanwhile();
  const back = arrives(socket, "connect");
  socket.connect();
  await back;
}

for (const [way, transports] of WAYS) {
  describe(way, () => {
    test("what was missed in several rooms comes once and in order, again and again", async () => {
      const [a, b] = [room(), room()];
      const socket = await connected(server, transports);
      assert.equal(socket.recovered, false);
      const seen = collect(socket, "n");
      await ask(socket, "subscribe", a);
      await ask(socket, "subscribe", b);
      const publish = (name, n) => server.publish(name, n, { event: "n" });
      await publish(a, 1);
      await publish(b, 2);
      await seen.of(2);
      const { id } = socket;
      for (let round = 1; round <= 3; round += 1) {
        await lose(socket, async () => {
          await publish(a, round * 10);
          await publish(b, round * 10 + 1);
        });
        assert.equal(socket.recovered, true, `round ${round}`);
        assert.equal(socket.id, id);
        await seen.of(2 + 3 * round - 1);
        await publish(a, round * 10 + 2);
        await seen.of(2 + 3 * round);
      }
      const got = payloads(await seen.of(11));
      assert.equal(new Set(got).size, 11, String(got));
      const inB = (n) => n === 2 || [11, 21, 31].includes(n);
      assert.deepEqual(got.filter((n) => !inB(n)), [1, 10, 12, 20, 22, 30, 32], "room a, in order");
      assert.deepEqual(got.filter(inB), [2, 11, 21, 31], "room b, in order");
    });

    test("before the first event", async () => {
      const name = room();
      const socket = await connected(server, transports);
      const seen = collect(socket, "message");
      await ask(socket, "subscribe", name);
      await lose(socket, () => server.publish(name, 1));
      assert.equal(socket.recovered, true);
      await server.publish(name, 2);
      assert.deepEqual(payloads(await seen.of(2)), [1, 2]);
    });

    test("a namespace", async () => {
      const name = room();
      const socket = await connected(server, transports, "/chat");
      const seen = collect(socket, "message");
      await ask(socket, "subscribe", name);
      await server.publish(`/chat#${name}`, 1);
      await seen.of(1);
      await lose(socket, () => server.publish(`/chat#${name}`, 2));
      assert.equal(socket.recovered, true);
      assert.deepEqual(payloads(await seen.of(2)), [1, 2]);
    });
  });
}

describe("no recovery without proof", () => {
  test("a room without history", async () => {
    const socket = await connected(server);
    await ask(socket, "subscribe", "plain:1");
    const { id } = socket;
    await lose(socket);
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
    assert.equal((await ask(socket, "subscribe", "plain:1")).ok, true, "it is in no room");
  });

  test("a log that was cleared, and one that no longer has what is missing", async () => {
    const small = await Server.start({ channels: [{ ...OPEN_RULE, history: { size: 2, ttl: "1h" } }] });
    try {
      for (const meanwhile of [
        (name) => small.api("DELETE", `/api/channels/${name}/history`),
        async (name) => { for (let n = 0; n < 5; n += 1) await small.publish(name, n); },
      ]) {
        const name = room();
        const socket = await connected(small);
        await ask(socket, "subscribe", name);
        const first = arrives(socket, "message");
        await small.publish(name, "first");
        await first;
        await lose(socket, () => meanwhile(name), small);
        assert.equal(socket.recovered, false);
      }
    } finally {
      closeAll();
      await small.stop();
    }
  });

  test("a pid serves only its user", async () => {
    let token = mint({ sub: "ann" });
    const socket = await connected(server, { auth: (give) => give({ token }) });
    await ask(socket, "subscribe", room());
    await lose(socket);
    assert.equal(socket.recovered, true);
    token = mint({ sub: "bob" });
    await lose(socket);
    assert.equal(socket.recovered, false);
  });

  test("a message for the user that came meanwhile, which no log has", async () => {
    const socket = await connected(server, { auth: { token: mint({ sub: "carl" }) } });
    await ask(socket, "subscribe", room());
    await lose(socket, () => server.api("POST", "/api/users/carl/publish", { event: "note", payload: 1 }));
    assert.equal(socket.recovered, false);
  });

  test("a subscription that the server ended meanwhile", async () => {
    const name = room();
    const socket = await connected(server, { auth: { token: mint({ sub: "dora" }) } });
    await ask(socket, "subscribe", name);
    await lose(socket, () => server.api("POST", "/api/users/dora/unsubscribe", { channel: name }));
    assert.equal(socket.recovered, false);
  });

  test("a disconnect by the client itself", async () => {
    const socket = await connected(server);
    await ask(socket, "subscribe", room());
    socket.disconnect();
    const back = arrives(socket, "connect");
    socket.connect();
    await back;
    assert.equal(socket.recovered, false);
  });
});
