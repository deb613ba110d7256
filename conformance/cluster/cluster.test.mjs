// Three nodes on one broker act as one server. Whatever a client is told by one node holds on the others.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Broker, isInstalled, kinds } from "../harness/broker.mjs";
import { Client, closeAll } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";

const count = (n, from = 1) => Array.from({ length: n }, (_, at) => at + from);
const bearer = (sub) => ({ authorization: `Bearer ${mint({ sub })}` });

for (const kind of kinds) {
  const skip = !isInstalled(kind) && !process.env.CI ? `${kind} is not installed: THESE TESTS WERE SKIPPED` : false;

  describe(`three nodes on ${kind}`, { skip }, () => {
    let broker;
    let nodes = [];
    const config = () => ({
      engine: { url: broker.url },
      recovery: { window: "1m" },
      channels: [{ match: "plain:*", subscribe: "anyone", publish: "anyone", presence: true }, { ...OPEN_RULE, history: { size: 5000, ttl: "1h" } }],
    });
    before(async () => {
      assert.ok(isInstalled(kind), `CI needs ${kind}`);
      broker = await Broker.start(kind);
      nodes = await Promise.all(count(3).map(() => Server.start(config())));
    });
    after(async () => {
      await Promise.all(nodes.map((node) => node.stop()));
      await broker?.stop();
    });
    afterEach(closeAll);

    test("a message reaches the members on every node, once and in order", async () => {
      const clients = await Promise.all(nodes.map((node) => Client.connect(node)));
      for (const client of clients) await client.subscribe("all");
      for (const n of count(60)) await nodes[n % 3].publish("all", n);
      for (const client of clients) {
        const heard = [];
        while (heard.length < 60) heard.push(await client.message("all"));
        assert.deepEqual(heard.map(({ payload }) => payload), count(60));
        assert.deepEqual(heard.map(({ offset }) => offset), count(60));
      }
    });

    test("a channel without history", async () => {
      const clients = await Promise.all(nodes.map((node) => Client.connect(node)));
      for (const client of clients) await client.subscribe("plain:1");
      await clients[0].publish("plain:1", "x");
      for (const client of clients) assert.equal((await client.message("plain:1")).payload, "x");
    });

    test("recovery on another node", async () => {
      const first = await Client.connect(nodes[0]);
      await first.subscribe("rec");
      await nodes[1].publish("rec", 1);
      const { epoch, offset } = await first.message("rec");
      first.socket.terminate();
      for (const n of count(20, 2)) await nodes[n % 3].publish("rec", n);
      const second = await Client.connect(nodes[2]);
      const ack = await second.request({ type: "subscribe", channel: "rec", recover: { epoch, offset } });
      assert.deepEqual([ack.type, ack.recovered, ack.offset], ["ack", true, 21]);
      const heard = [];
      while (heard.length < 20) heard.push((await second.message("rec")).payload);
      assert.deepEqual(heard, count(20, 2));
    });

    test("a messageId is published once, whichever node it is sent to", async () => {
      const client = await Client.connect(nodes[2]);
      await client.subscribe("dedup");
      const results = [];
      for (const node of [...nodes, ...nodes]) results.push(await node.publish("dedup", "x", { messageId: "once" }));
      assert.deepEqual(new Set(results.map(({ offset }) => offset)), new Set([1]));
      await nodes[0].publish("dedup", "last");
      assert.equal((await client.message("dedup")).payload, "x");
      assert.equal((await client.message("dedup")).payload, "last");
    });

    test("history is the same everywhere, and clearing it is known everywhere", async () => {
      for (const n of count(3)) await nodes[n % 3].publish("log", n);
      const pages = await Promise.all(nodes.map(async (node) => (await node.api("GET", "/api/channels/log/history")).body));
      for (const page of pages) assert.deepEqual(page, pages[0]);
      assert.deepEqual(pages[0].messages.map(({ payload }) => payload), [1, 2, 3]);
      assert.equal((await nodes[0].api("DELETE", "/api/channels/log/history")).status, 204);
      const cleared = (await nodes[1].api("GET", "/api/channels/log/history")).body;
      assert.deepEqual([cleared.messages, cleared.offset, cleared.epoch === pages[0].epoch], [[], 0, false]);
    });

    test("presence is one set", async () => {
      const [ann, bob] = [await Client.user(nodes[0], "ann"), await Client.user(nodes[1], "bob")];
      await ann.request({ type: "subscribe", channel: "here", presence: true, data: { at: 1 } });
      await ann.next({ type: "presence_state" });
      await bob.request({ type: "subscribe", channel: "here", presence: true, data: { at: 2 } });
      // Who enters sees itself in the state, or in the first difference behind it.
      const state = await bob.next({ type: "presence_state" });
      const seen = new Set(state.members.map(({ userId }) => userId));
      while (!seen.has("ann") || !seen.has("bob")) {
        for (const { userId } of (await bob.next({ type: "presence_diff" })).joins) seen.add(userId);
      }
      assert.equal((await ann.next((it) => it.type === "presence_diff" && it.joins.some(({ userId }) => userId === "bob"))).channel, "here");
      await eventually(async () => (await nodes[2].api("GET", "/api/channels/here/presence")).body.members.length === 2, "both on the third node");
      bob.socket.terminate();
      await ann.next((it) => it.type === "presence_diff" && it.leaves.some(({ userId }) => userId === "bob"));
    });

    test("acts on users reach them wherever they are", async () => {
      const ann = await Client.user(nodes[0], "acted");
      assert.equal((await nodes[1].api("POST", "/api/users/acted/subscribe", { channel: "put" })).status, 204);
      assert.equal((await ann.next({ type: "subscribed" })).channel, "put");
      await nodes[2].publish("put", 1);
      assert.equal((await ann.message("put")).payload, 1);
      await nodes[2].api("POST", "/api/users/acted/publish", { payload: "mine" });
      assert.equal((await ann.message("#user:acted")).payload, "mine");
      await nodes[1].api("POST", "/api/users/acted/unsubscribe", { channel: "put" });
      assert.equal((await ann.next({ type: "unsubscribed" })).channel, "put");
      await nodes[2].api("POST", "/api/users/acted/disconnect");
      assert.equal((await ann.closed).code, 4003);
    });

    test("connections, channels and numbers are those of all nodes", async () => {
      const [one, two] = [await Client.user(nodes[0], "c1"), await Client.user(nodes[1], "c2")];
      for (const client of [one, two]) await client.subscribe("count");
      const { body: channel } = await nodes[2].api("GET", "/api/channels/count");
      assert.deepEqual([channel.members, channel.users], [2, 2]);
      const list = (await nodes[2].api("GET", "/api/channels?prefix=count")).body.channels;
      assert.deepEqual(list.map(({ members }) => members), [2]);
      const members = (await nodes[2].api("GET", "/api/stats")).body;
      assert.ok(members.connections >= 2);
    });

    test("a revocation holds on every node, also on one that starts later; a ticket is used once", async () => {
      const token = mint({ sub: "rev", iat: Math.floor(Date.now() / 1000) - 60 });
      const client = await Client.connect(nodes[0], { token });
      assert.equal((await nodes[1].api("POST", "/api/users/rev/revoke")).status, 204);
      assert.equal((await client.closed).code, 4003);
      await eventually(() => Client.refused(nodes[2], 401, { token }).then(() => true, () => false), "the refusal by another node");
      const later = await Server.start(config());
      try {
        await eventually(() => Client.refused(later, 401, { token }).then(() => true, () => false), "the refusal by a new node");
      } finally {
        await later.stop();
      }
      const { ticket } = await (await fetch(`${nodes[0].origin}/ticket`, { method: "POST", headers: bearer("tick") })).json();
      assert.equal((await fetch(`${nodes[1].origin}/poll?channel=a&ticket=${ticket}`)).status, 200);
      assert.equal((await fetch(`${nodes[2].origin}/poll?channel=a&ticket=${ticket}`)).status, 401);
    });

    test("polls and sends may land on any node", async () => {
      const ask = async (node, query) => (await fetch(`${node.origin}/poll?${query}`, { headers: bearer("pat") })).json();
      let { cursor, connectionId } = await ask(nodes[0], "channel=sticky");
      const heard = [];
      for (const n of count(9)) {
        const sent = await fetch(`${nodes[(n + 1) % 3].origin}/send?connectionId=${connectionId}`, {
          method: "POST", headers: bearer("pat"), body: JSON.stringify({ type: "publish", channel: "sticky", payload: n }),
        });
        assert.equal(sent.status, 200);
        const answer = await ask(nodes[n % 3], `channel=sticky&cursor=${cursor}`);
        assert.deepEqual([answer.recovered, answer.connectionId], [true, connectionId]);
        heard.push(...answer.messages.map(({ payload }) => payload));
        cursor = answer.cursor;
      }
      assert.deepEqual(heard, count(9));
    });

    test("a node that dies without a word: its members are gone within 30 s, and its pollers go on elsewhere", { timeout: 300_000 }, async () => {
      const victim = await Server.start(config());
      const watcher = await Client.connect(nodes[0]);
      await watcher.request({ type: "subscribe", channel: "mortal", presence: true });
      await watcher.next({ type: "presence_state" });
      const doomed = await Client.user(victim, "doomed");
      await doomed.request({ type: "subscribe", channel: "mortal", data: {} });
      await watcher.next((it) => it.type === "presence_diff" && it.joins.length > 0);
      const first = await (await fetch(`${victim.origin}/poll?channel=mortal`)).json();
      await victim.publish("mortal", "before");
      victim.signal("SIGKILL");
      await victim.exited;
      await nodes[1].publish("mortal", "after");
      const next = await (await fetch(`${nodes[2].origin}/poll?channel=mortal&cursor=${first.cursor}`)).json();
      assert.deepEqual([next.recovered, next.messages.map(({ payload }) => payload)], [true, ["before", "after"]]);
      await eventually(async () => (await nodes[1].api("GET", "/api/channels/mortal/presence")).body.members.length === 0, "the end of its lease", 35_000);
      await watcher.next((it) => it.type === "presence_diff" && it.leaves.some(({ userId }) => userId === "doomed"));
      await victim.stop();
    });

    test("the broker goes away and comes back: publishes are refused meanwhile, and nothing accepted is lost", { timeout: 300_000 }, async () => {
      const clients = await Promise.all(nodes.map((node) => Client.connect(node)));
      for (const client of clients) await client.subscribe("storm");
      const accepted = [];
      const say = async (n) => {
        const { status } = await nodes[n % 3].api("POST", "/api/publish", { channel: "storm", payload: n, messageId: `storm ${n}` });
        if (status === 200) accepted.push(n);
        return status;
      };
      for (const n of count(10)) assert.equal(await say(n), 200);
      await broker.kill();
      for (const node of nodes) await eventually(async () => (await fetch(`${node.origin}/readyz`)).status === 503, "/readyz 503");
      assert.equal(await say(11), 503);
      await broker.begin();
      for (const node of nodes) await eventually(async () => (await fetch(`${node.origin}/readyz`)).status === 200, "/readyz 200");
      for (const n of count(10, 20)) await eventually(async () => await say(n) === 200, "a publish after the broker's return");
      for (const client of clients) {
        const heard = [];
        while (heard.at(-1) !== 29) heard.push((await client.message("storm")).payload);
        assert.deepEqual(heard, accepted);
      }
    });

    test("a rolling restart under load loses nothing for clients that recover", { timeout: 300_000 }, async () => {
      const own = await Promise.all(count(3).map(() => Server.start({ ...config(), server: { shutdown_grace: "2s" } })));
      let stop = false;
      const received = new Map();
      const follow = async (name, at) => {
        const heard = [];
        received.set(name, heard);
        let position;
        for (let turn = at; !stop; turn += 1) {
          try {
            const client = await Client.connect(own[turn % 3]);
            const ack = await client.request({ type: "subscribe", channel: "roll", ...(position ? { recover: position } : {}) });
            if (ack.type !== "ack") throw new Error(ack.code);
            if (position) assert.equal(ack.recovered, true, `${name} recovers`);
            else position = { epoch: ack.epoch, offset: ack.offset };
            for (;;) {
              const message = await Promise.race([client.message("roll"), client.closed.then(() => null)]);
              if (message === null) break;
              heard.push(message.payload);
              position = { epoch: message.epoch, offset: message.offset };
              if (message.payload === "end") return;
            }
          } catch (error) {
            if (error.code === "ERR_ASSERTION") throw error;
            await new Promise((again) => setTimeout(again, 50));
          }
        }
      };
      try {
        const followers = count(6).map((n) => follow(`f${n}`, n));
        await eventually(async () => (await own[0].api("GET", "/api/channels/roll")).body.members === 6, "all followers");
        const accepted = [];
        const publishing = (async () => {
          for (let n = 0; !stop; n += 1) {
            const { status } = await nodes[n % 3].api("POST", "/api/publish", { channel: "roll", payload: n });
            if (status === 200) accepted.push(n);
          }
        })();
        for (const at of [0, 1, 2]) {
          own[at].signal("SIGTERM");
          await own[at].exited;
          const before = accepted.length;
          await eventually(() => accepted.length > before + 20, "some load");
          const old = own[at];
          own[at] = await Server.start({ ...config(), server: { shutdown_grace: "2s" } });
          await old.stop();
        }
        stop = true;
        await publishing;
        stop = false;
        assert.equal((await nodes[0].api("POST", "/api/publish", { channel: "roll", payload: "end" })).status, 200);
        await Promise.all(followers);
        for (const [name, heard] of received) assert.deepEqual(heard, [...accepted, "end"], name);
      } finally {
        stop = true;
        await Promise.all(own.map((node) => node.stop()));
      }
    });
  });
}
