// Presence through the official class: three clients, several connections of one user, updates, leaves, other protocols.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll, Members } from "../harness/client.mjs";
import { OPEN_RULE, Server } from "../harness/server.mjs";
import { CLIENTS, connect, disconnectAll, Frames, join, keeping, ok, synced, VARIANTS } from "./client.mjs";

let server;
before(async () => {
  server = await Server.start({ channels: [{ match: "plain:*", subscribe: "anyone", publish: "anyone" }, OPEN_RULE] });
});
after(async () => {
  disconnectAll();
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = () => `lobby:${++next}`;

/** A member of `topic` and its Presence. */
async function member(topic, user, options) {
  const socket = connect(server, { user, ...options });
  const channel = keeping(socket.channel(topic));
  const presence = new socket.lib.Presence(channel);
  await ok(channel.join());
  return { socket, channel, presence };
}

const users = (state) => Object.keys(state).sort().join();

for (const { name, ...variant } of VARIANTS) {
  describe(name, () => {
    test("three clients see each other come and go", async () => {
      const topic = fresh();
      const members = [];
      for (const user of ["ann", "bob", "cid"]) members.push(await member(topic, user, { ...variant, claims: { info: { name: user.toUpperCase() } } }));
      for (const { presence } of members) {
        const state = await synced(presence, (state) => users(state) === "ann,bob,cid");
        assert.deepEqual(Object.values(state).map(({ metas }) => metas.length), [1, 1, 1]);
        assert.equal(state.bob.metas[0].name, "BOB");
        assert.equal(typeof state.bob.metas[0].phx_ref, "string");
      }
      const refs = members.map(({ presence }) => presence.state.ann.metas[0].phx_ref);
      assert.equal(new Set(refs).size, 1, "all know the same state");
      await ok(members[2].channel.leave());
      for (const { presence } of members.slice(0, 2)) await synced(presence, (state) => users(state) === "ann,bob");
      members[0].socket.disconnect();
      if (!variant.longpoll) await synced(members[1].presence, (state) => users(state) === "bob");
    });

    test("several connections of a user are several metas", async () => {
      const topic = fresh();
      const first = await member(topic, "ann", variant);
      const second = await member(topic, "ann", variant);
      for (const { presence } of [first, second]) await synced(presence, (state) => state.ann?.metas.length === 2);
      await ok(second.channel.leave());
      const { ann } = await synced(first.presence, (state) => state.ann?.metas.length === 1);
      assert.equal(ann.metas.length, 1);
    });

    test("an update has phx_ref_prev, and replaces the meta", async () => {
      const topic = fresh();
      const watcher = await member(topic, "ann", variant);
      const native = await Client.connect(server, { user: "bob" });
      await native.subscribe(topic, { data: { mood: "idle" } });
      const before = await synced(watcher.presence, (state) => state.bob?.metas[0].mood === "idle");
      const { phx_ref } = before.bob.metas[0];
      const joins = [];
      watcher.presence.onJoin((key, current, joined) => joins.push([key, current !== undefined, joined.metas[0]]));
      for (const mood of ["busy", "away"]) await native.ok({ type: "presence", channel: topic, action: "update", data: { mood } });
      const after = await synced(watcher.presence, (state) => state.bob?.metas[0].mood === "away");
      assert.equal(after.bob.metas.length, 1, "no meta is left behind");
      assert.notEqual(after.bob.metas[0].phx_ref, phx_ref);
      assert.ok(joins.every(([key, known]) => key === "bob" && known));
      assert.equal(joins[0][2].phx_ref_prev, phx_ref);
      await native.ok({ type: "presence", channel: topic, action: "leave" });
      await synced(watcher.presence, (state) => users(state) === "ann");
    });

    test("a second join of the same topic leaves one meta", async () => {
      const topic = fresh();
      const watcher = await member(topic, "ann", variant);
      const bob = await member(topic, "bob", variant);
      await synced(watcher.presence, (state) => users(state) === "ann,bob");
      const again = bob.socket.channel(topic);
      const presence = new variant.lib.Presence(keeping(again));
      await ok(again.join());
      await synced(presence, (state) => users(state) === "ann,bob");
      // The leave and the join of the same connection may come in one difference.
      await ok(bob.socket.channel(fresh()).join());
      const cid = await member(topic, "cid", variant);
      const state = await synced(watcher.presence, (state) => users(state) === "ann,bob,cid");
      assert.equal(state.bob.metas.length, 1, JSON.stringify(state.bob));
      cid.socket.disconnect();
    });

    test("anonymous members are known by their connections", async () => {
      const topic = fresh();
      const members = [await member(topic, undefined, variant), await member(topic, undefined, variant)];
      for (const { presence } of members) await synced(presence, (state) => Object.keys(state).length === 2);
    });
  });
}

test("Phoenix members are present for native clients and the HTTP API", async () => {
  const topic = fresh();
  const native = await Client.connect(server, { user: "nat" });
  await native.subscribe(topic, { presence: true });
  const members = await new Members(native, topic).start();
  const ann = await member(topic, "ann", { claims: { info: { x: 1 } } });
  await members.when((now) => now.some(({ userId, data }) => userId === "ann" && data.x === 1));
  const { body } = await server.api("GET", `/api/channels/${encodeURIComponent(topic)}/presence`);
  assert.deepEqual(body.members.map(({ userId }) => userId), ["ann"]);
  ann.socket.disconnect();
  await members.when((now) => now.length === 0);
});

test("a channel without presence tells nobody", async () => {
  const channel = await join(connect(server), `plain:${++next}`);
  await ok(channel.push("ping", {}));
  await channel.next("ping");
  assert.ok(!channel.kept.some(({ event }) => event.startsWith("presence_")));
});

test("a user whose name means something to JavaScript", async () => {
  const topic = fresh();
  // 1.7 keeps presences in plain objects; what it makes of such a name is its own affair.
  const { presence } = await member(topic, "ann", { lib: CLIENTS[1][1] });
  await member(topic, "constructor");
  await synced(presence, (state) => Object.hasOwn(state, "constructor"));
});

test("the first state is without the member itself, which then joins: as a real server does", async () => {
  const topic = fresh();
  const frames = await Frames.open(server);
  frames.send(["1", "1", topic, "phx_join", {}]);
  assert.deepEqual(await frames.next(), ["1", "1", topic, "phx_reply", { response: {}, status: "ok" }]);
  assert.deepEqual(await frames.next(), ["1", null, topic, "presence_state", {}]);
  const [joinRef, ref, , event, { joins, leaves }] = await frames.next();
  assert.deepEqual([joinRef, ref, event, leaves], [null, null, "presence_diff", {}]);
  const [[, { metas }]] = Object.entries(joins);
  assert.deepEqual(Object.keys(metas[0]), ["phx_ref"]);
  frames.terminate();
});
