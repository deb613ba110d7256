// No sticky sessions: every request of a client that polls lands on another node, and the session's owner answers it.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { Balancer } from "../harness/balancer.mjs";
import { Broker } from "../harness/broker.mjs";
import { mint } from "../harness/jwt.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { CLIENTS, connect as phoenix, disconnectAll, join, ok, synced } from "../phoenix/client.mjs";
import { arrives, ask, closeAll, collect, connect, connected } from "../socketio/socket.mjs";
import { count, describeOn } from "./suites.mjs";

const NODES = 3;

export function suite(kind) {
  describeOn(kind, "polling through a balancer without a memory", () => {
    let broker, nodes, balancer;
    const config = () => ({
      engine: { url: broker.url },
      recovery: { window: "1m" },
      channels: [{ ...OPEN_RULE, presence: { grace: "1s" }, history: { size: 5000, ttl: "1h" } }],
    });
    before(async () => {
      broker = await Broker.start(kind);
      nodes = await Promise.all(count(NODES).map(() => Server.start(config())));
      balancer = await Balancer.start(nodes.map(({ port }) => port));
    });
    after(async () => {
      await balancer?.stop();
      await Promise.all((nodes ?? []).map((node) => node.stop()));
      await broker?.stop();
    });
    afterEach(() => {
      closeAll();
      disconnectAll();
    });
    /** Publishes on one node after the other; a client hears all of it, whoever has its session. */
    const publishAround = async (channel, numbers) => {
      for (const n of numbers) await nodes[n % NODES].publish(channel, n);
    };

    test("socket.io-client: events, acks and bytes in both directions", async () => {
      const [one, two] = await Promise.all(["ann", "bob"].map((sub) => connected(balancer, { transports: ["polling"], auth: { token: mint({ sub }) } })));
      for (const socket of [one, two]) assert.equal((await ask(socket, "subscribe", "sio:1")).ok, true);
      const heard = [one, two].map((socket) => collect(socket, "message"));
      await publishAround("sio:1", count(30));
      for (const list of heard) assert.deepEqual((await list.of(30)).map(([payload]) => payload), count(30));
      for (const n of count(10)) assert.equal((await ask(one, "publish", "sio:1", "said", { n })).ok, true);
      const bytes = arrives(two, "bytes");
      assert.equal((await ask(one, "publish", "sio:1", "bytes", Buffer.from([1, 2, 3]))).ok, true);
      assert.deepEqual([...(await bytes)[0]], [1, 2, 3]);
      for (const socket of [one, two]) assert.equal(socket.connected, true);
    });

    test("socket.io-client: an upgrade that lands on another node costs nothing", async () => {
      // The probe of the WebSocket reaches the session's owner in one of three cases. In the others the client stays with polling.
      const sockets = await Promise.all(count(6).map(() => connected(balancer, { transports: ["polling", "websocket"] })));
      const heard = sockets.map((socket) => collect(socket, "message"));
      for (const socket of sockets) assert.equal((await ask(socket, "subscribe", "sio:2")).ok, true);
      await publishAround("sio:2", count(60));
      for (const list of heard) assert.deepEqual((await list.of(60)).map(([payload]) => payload), count(60));
      assert.ok(sockets.every((socket) => socket.connected), "nobody was disconnected");
    });

    test("socket.io-client: the owner dies, the client comes back on another node and misses nothing", { timeout: 300_000 }, async () => {
      const victim = await Server.start(config());
      // Its session is on the victim, which the balancer then forgets: from here on every request is relayed.
      const start = await Balancer.start([victim.port]);
      try {
        const socket = connect(start, { transports: ["polling"], reconnection: true, reconnectionDelay: 50, reconnectionDelayMax: 200 });
        await arrives(socket, "connect");
        assert.equal((await ask(socket, "subscribe", "sio:3")).ok, true);
        const heard = [];
        let position;
        socket.on("message", (payload, meta, at) => {
          heard.push(payload);
          position = { epoch: at.slice(0, at.lastIndexOf(":")), offset: Number(at.slice(at.lastIndexOf(":") + 1)) };
        });
        const again = new Promise((done) => socket.on("connect", async () => {
          if (!socket.recovered) assert.equal((await ask(socket, "subscribe", "sio:3", { recover: position })).recovered, true);
          done();
        }));
        start.ports = nodes.map(({ port }) => port);
        await publishAround("sio:3", count(10));
        await eventually(() => heard.length === 10, "ten messages through other nodes");
        victim.signal("SIGKILL");
        await victim.exited;
        await publishAround("sio:3", count(10, 11));
        await again;
        await publishAround("sio:3", count(10, 21));
        await eventually(() => heard.length >= 30, "everything");
        assert.deepEqual(heard, count(30));
      } finally {
        closeAll();
        await start.stop();
        await victim.stop();
      }
    });

    for (const [name, lib] of CLIENTS) {
      test(`${name}, LongPoll: joins, pushes, presence`, async () => {
        const topic = `phx:${lib === CLIENTS[0][1] ? 1 : 2}`;
        const socket = phoenix(balancer, { lib, longpoll: true, user: "ann" });
        const channel = await join(socket, topic);
        const presence = new lib.Presence(channel);
        await synced(presence, (state) => state.ann !== undefined);
        await publishAround(topic, count(30));
        const heard = [];
        while (heard.length < 30) heard.push(await channel.next("message"));
        assert.deepEqual(heard, count(30));
        for (const n of count(5)) await ok(channel.push("said", { n }));
        for (const n of count(5)) assert.deepEqual(await channel.next("said"), { n });
        const other = phoenix(nodes[0], { lib, user: "bob" });
        await join(other, topic);
        await synced(presence, (state) => state.bob !== undefined);
        other.disconnect();
        await synced(presence, (state) => state.bob === undefined);
      });

      test(`${name}, LongPoll: the owner dies, the client joins again on another node and misses nothing`, { timeout: 300_000 }, async () => {
        const topic = `phx:${lib === CLIENTS[0][1] ? 3 : 4}`;
        const victim = await Server.start(config());
        const start = await Balancer.start([victim.port]);
        try {
          const socket = phoenix(start, { lib, longpoll: true, params: { meta: "1" } });
          socket.decode = (raw, done) => {
            const [join_ref, ref, of, event, payload, meta] = JSON.parse(raw);
            done({ join_ref, ref, topic: of, event, payload: meta ? { payload, ...meta } : payload });
          };
          const heard = [];
          const joins = [];
          const channel = socket.channel(topic, () => ({ recover: heard.at(-1) && { epoch: heard.at(-1).epoch, offset: heard.at(-1).offset } }));
          channel.on("message", (message) => heard.push(message));
          await ok(channel.join().receive("ok", (answer) => joins.push(answer)));
          start.ports = nodes.map(({ port }) => port);
          await publishAround(topic, count(10));
          await eventually(() => heard.length === 10, "ten messages through other nodes");
          victim.signal("SIGKILL");
          await victim.exited;
          await publishAround(topic, count(10, 11));
          await eventually(() => heard.length >= 20, "what was missed", 30_000);
          await publishAround(topic, count(10, 21));
          await eventually(() => heard.length >= 30, "everything", 30_000);
          assert.deepEqual(heard.map(({ payload }) => payload), count(30));
          assert.equal(joins.at(-1).recovered, true);
        } finally {
          disconnectAll();
          await start.stop();
          await victim.stop();
        }
      });
    }

    test("native polls and what they send, each on another node", async () => {
      const headers = { authorization: `Bearer ${mint({ sub: "pat" })}` };
      const poll = async (cursor) => {
        const query = `channel=np&presence=true${cursor ? `&cursor=${encodeURIComponent(cursor)}` : ""}`;
        const answer = await fetch(`${balancer.origin}/poll?${query}`, { headers });
        assert.equal(answer.status, 200);
        return answer.json();
      };
      let { cursor, connectionId } = await poll();
      const first = connectionId;
      const heard = [];
      for (const n of count(12)) {
        const sent = await fetch(`${balancer.origin}/send?connectionId=${connectionId}`, {
          method: "POST", headers, body: JSON.stringify({ type: "publish", channel: "np", payload: n }),
        });
        assert.equal(sent.status, 200);
        const answer = await poll(cursor);
        assert.deepEqual([answer.recovered, answer.connectionId], [true, first]);
        heard.push(...answer.messages.map(({ payload }) => payload));
        cursor = answer.cursor;
      }
      assert.deepEqual(heard, count(12));
    });

    test("a poll that waits on a node that dies is answered long before its time is over", { timeout: 300_000 }, async () => {
      const victim = await Server.start(config());
      const first = await (await fetch(`${victim.origin}/poll?channel=waits`)).json();
      const begin = Date.now();
      const waiting = fetch(`${nodes[0].origin}/poll?channel=waits&timeout=60&cursor=${encodeURIComponent(first.cursor)}`);
      // It waits at the owner: a message that is published now is not what this is about.
      await eventually(async () => (await victim.api("GET", "/api/channels/waits")).body.members === 1, "its session");
      victim.signal("SIGKILL");
      await victim.exited;
      await nodes[1].publish("waits", "after");
      const answer = await (await waiting).json();
      assert.deepEqual([answer.recovered, answer.messages.map(({ payload }) => payload)], [true, ["after"]]);
      assert.ok(Date.now() - begin < 45_000, "the owner's end was noticed");
      await victim.stop();
    });
  });
}
