// What goes wrong between nodes and their broker, and how it heals: nobody is told that something was taken when it was
// not, `/readyz` tells, and afterwards every member has every message, or was told that it has not.

import assert from "node:assert/strict";
import { after, afterEach, before, test } from "node:test";

import { Broker } from "../harness/broker.mjs";
import { Cable } from "../harness/cable.mjs";
import { Client, closeAll } from "../harness/client.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { count, describeOn } from "./suites.mjs";

const HEALED_WITHIN = 60_000; // milliseconds
/** Longer than the lease of a node, and all that comes on top of it before others take over. */
const LEASES = { redis: 10_000, nats: 5_000 };

export function suite(kind) {
  const lease = LEASES[kind];
  const options = kind === "nats" ? "?lease=5s" : "";

  describeOn(kind, "faults between nodes and broker", () => {
    let broker, cables, nodes;
    const config = (url) => ({
      engine: { url: url + options },
      channels: [{ match: "plain:*", subscribe: "anyone", publish: "anyone" }, { ...OPEN_RULE, history: { size: 5000, ttl: "1h" } }],
    });
    before(async () => {
      broker = await Broker.start(kind);
      cables = await Promise.all(count(3).map(() => Cable.start(broker.port)));
      nodes = await Promise.all(cables.map((cable) => Server.start(config(cable.through(broker.url)))));
    });
    after(async () => {
      await Promise.all((nodes ?? []).map((node) => node.stop()));
      await Promise.all((cables ?? []).map((cable) => cable.stop()));
      await broker?.stop();
    });
    afterEach(async () => {
      for (const cable of cables) cable.heal();
      closeAll();
      await Promise.all(nodes.map((node) => isReady(node)));
    });

    const isReady = (node, status = 200) => eventually(async () => (await fetch(`${node.origin}/readyz`)).status === status, `/readyz ${status}`, HEALED_WITHIN);
    /** One member of a channel on each node. */
    const members = async (...channels) => {
      const clients = await Promise.all(nodes.map((node) => Client.connect(node)));
      for (const client of clients) for (const channel of channels) await client.subscribe(channel);
      return clients;
    };
    const heard = (client, channel) => client.received.filter((it) => it.type === "message" && it.channel === channel);
    const payloads = (client, channel) => heard(client, channel).map(({ payload }) => payload);
    const until = (client, channel, last) => eventually(() => {
      assert.equal(client.end, undefined, "still connected");
      return payloads(client, channel).includes(last);
    }, `${last} on ${channel}`, HEALED_WITHIN);
    const publish = (node, channel, payload, more) => node.api("POST", "/api/publish", { channel, payload, ...more });
    const isPresent = async (node, channel, user) => {
      const { status, body } = await node.api("GET", `/api/channels/${channel}/presence`);
      return status === 200 ? body.members.some(({ userId }) => userId === user) : "unknown";
    };
    const appears = (node, channel, user) => eventually(async () => await isPresent(node, channel, user) === true, `${user} on ${channel}`, HEALED_WITHIN);
    const disappears = (node, channel, user) => eventually(async () => await isPresent(node, channel, user) === false, "the end of the lease", 3 * lease + HEALED_WITHIN);

    test("one node is cut off: it says so and refuses; the others go on; its members miss nothing", { timeout: 300_000 }, async () => {
      const clients = await members("cut", "plain:cut");
      for (const n of count(5)) await nodes[n % 3].publish("cut", n);
      cables[0].cut();
      await isReady(nodes[0], 503);
      const refused = await publish(nodes[0], "cut", "never");
      assert.deepEqual([refused.status, refused.body.error.code], [503, "ENGINE_UNAVAILABLE"]);
      const error = await clients[0].request({ type: "publish", channel: "cut", payload: "never" });
      assert.deepEqual([error.type, error.code], ["error", "ENGINE_UNAVAILABLE"]);
      for (const node of nodes.slice(1)) assert.equal((await fetch(`${node.origin}/readyz`)).status, 200);
      for (const n of count(20, 6)) await nodes[1 + n % 2].publish("cut", n);
      await nodes[1].publish("plain:cut", "missed");
      cables[0].heal();
      await isReady(nodes[0]);
      await nodes[0].publish("cut", "last");
      for (const client of clients) {
        await until(client, "cut", "last");
        assert.deepEqual(payloads(client, "cut"), [...count(25), "last"]);
      }
      // Without a log nothing can be brought; who was cut off is told so.
      await eventually(() => clients[0].received.some((it) => it.type === "gap" && it.channel === "plain:cut"), "the gap", HEALED_WITHIN);
      assert.deepEqual(payloads(clients[1], "plain:cut"), ["missed"]);
    });

    test("who is revoked while their node is cut off is disconnected when it is back", { timeout: 300_000 }, async () => {
      const made = Math.floor(Date.now() / 1000) - 600;
      const [eve, ann] = await Promise.all(["eve", "ann"].map((user) => Client.user(nodes[0], user, { claims: { iat: made } })));
      for (const client of [eve, ann]) await client.subscribe("plain:secret");
      cables[0].cut();
      await isReady(nodes[0], 503);
      assert.equal((await nodes[1].api("POST", "/api/users/eve/revoke")).status, 204);
      cables[0].heal();
      await isReady(nodes[0]);
      await eve.closes(4003);
      assert.equal(ann.end, undefined, "nobody else is");
    });

    test("one node hears nothing any more, and nobody tells it: the same, and presence is taken over and comes back", { timeout: 300_000 }, async () => {
      const clients = await members("frozen");
      const watcher = clients[1];
      await watcher.request({ type: "subscribe", channel: "frozen:who", presence: true });
      await watcher.next({ type: "presence_state", channel: "frozen:who" });
      const ann = await Client.user(nodes[0], "ann");
      await ann.request({ type: "subscribe", channel: "frozen:who", data: {} });
      await appears(nodes[1], "frozen:who", "ann");
      cables[0].freeze();
      // Taken or not: nobody knows yet. It must not be acknowledged, and done again it must be there once.
      const unknown = await publish(nodes[0], "frozen", 1, { messageId: "unknown" });
      assert.equal(unknown.status, 503, unknown.text);
      await isReady(nodes[0], 503);
      for (const n of count(10, 2)) await nodes[1 + n % 2].publish("frozen", n);
      await disappears(nodes[1], "frozen:who", "ann");
      cables[0].heal();
      await isReady(nodes[0]);
      await eventually(async () => (await publish(nodes[0], "frozen", 1, { messageId: "unknown" })).status === 200, "the same again", HEALED_WITHIN);
      await nodes[0].publish("frozen", "last");
      const log = (await nodes[2].api("GET", "/api/channels/frozen/history")).body.messages;
      assert.equal(log.filter(({ payload }) => payload === 1).length, 1, "once");
      for (const client of clients) {
        await until(client, "frozen", "last");
        assert.deepEqual(heard(client, "frozen").map(({ offset, payload }) => [offset, payload]), log.map(({ offset, payload }) => [offset, payload]));
      }
      await appears(nodes[2], "frozen:who", "ann");
      // As the others were told: she came, went, and came back.
      const story = () => watcher.received.filter((it) => it.type === "presence_diff" && it.channel === "frozen:who")
        .flatMap(({ leaves, joins }) => [...leaves.map(() => "left"), ...joins.map(() => "joined")]);
      await eventually(() => story().includes("left") && story().at(-1) === "joined", "the story of ann", HEALED_WITHIN);
      story().forEach((change, at) => assert.equal(change, at % 2 === 0 ? "joined" : "left", `${story()}`));
    });

    test("a slow line: everything takes longer, and nothing else changes", { timeout: 300_000 }, async () => {
      for (const cable of cables) cable.slow(80);
      const clients = await members("slow");
      const sent = count(10).map((n) => nodes[n % 3].publish("slow", n));
      const results = await Promise.all(sent);
      for (const client of clients) {
        await eventually(() => heard(client, "slow").length === 10, "ten messages", HEALED_WITHIN);
        assert.deepEqual(heard(client, "slow").map(({ offset }) => offset), count(10));
        for (const { offset, payload } of heard(client, "slow")) assert.equal(results[payload - 1].offset, offset);
      }
      for (const node of nodes) assert.equal((await fetch(`${node.origin}/readyz`)).status, 200);
    });

    test("a node that stands still for longer than its lease, and goes on: its members get what they missed, presence comes back", { timeout: 300_000 }, async () => {
      const clients = await members("paused");
      const ann = await Client.user(nodes[0], "ann");
      await ann.request({ type: "subscribe", channel: "paused:who", data: {} });
      await appears(nodes[1], "paused:who", "ann");
      await nodes[1].publish("paused", 1);
      nodes[0].signal("SIGSTOP");
      try {
        for (const n of count(20, 2)) await nodes[1 + n % 2].publish("paused", n);
        await disappears(nodes[1], "paused:who", "ann");
      } finally {
        nodes[0].signal("SIGCONT");
      }
      await isReady(nodes[0]);
      await eventually(async () => (await publish(nodes[0], "paused", "last")).status === 200, "a publish", HEALED_WITHIN);
      for (const client of clients) {
        await until(client, "paused", "last");
        assert.deepEqual(payloads(client, "paused"), [...count(21), "last"]);
      }
      await appears(nodes[2], "paused:who", "ann");
    });

    test("the broker is out of reach for longer than every lease: all nodes refuse, and heal without a restart", { timeout: 300_000 }, async () => {
      const clients = await members("away");
      const ann = await Client.user(nodes[0], "ann");
      await ann.request({ type: "subscribe", channel: "away:who", data: {} });
      for (const n of count(6)) await nodes[n % 3].publish("away", n);
      for (const cable of cables) cable.cut();
      for (const node of nodes) await isReady(node, 503);
      const back = Date.now() + 2 * lease;
      let refusals = 0;
      while (Date.now() < back) {
        for (const node of nodes) assert.equal((await publish(node, "away", "never")).status, 503);
        refusals += 3;
        await new Promise((again) => setTimeout(again, 500));
      }
      assert.ok(refusals > 0);
      assert.equal((await clients[0].request({ type: "subscribe", channel: "away:other" })).code, "ENGINE_UNAVAILABLE");
      for (const cable of cables) cable.heal();
      for (const node of nodes) await isReady(node);
      for (const n of count(6, 7)) await nodes[n % 3].publish("away", n);
      for (const client of clients) {
        await until(client, "away", 12);
        assert.deepEqual(payloads(client, "away"), count(12));
      }
      await appears(nodes[2], "away:who", "ann");
      assert.equal((await clients[0].request({ type: "subscribe", channel: "away:other" })).type, "ack");
    });

    test("the broker comes back without its data: another epoch, and nobody is told that nothing is missing", { timeout: 300_000 }, async () => {
      const clients = await members("wiped");
      const polled = await (await fetch(`${nodes[2].origin}/poll?channel=wiped`)).json();
      const results = [];
      for (const n of count(5)) results.push(await nodes[n % 3].publish("wiped", n));
      const [{ epoch }] = results;
      for (const client of clients) await until(client, "wiped", 5);
      const gone = await Client.connect(nodes[1]);
      await gone.subscribe("wiped");
      gone.lose();
      await broker.kill();
      broker.wipe();
      await broker.begin();
      for (const node of nodes) await isReady(node);
      const fresh = await eventually(async () => {
        const { status, body } = await publish(nodes[0], "wiped", "new");
        return status === 200 && body.results[0];
      }, "a publish", HEALED_WITHIN);
      assert.notEqual(fresh.epoch, epoch);
      for (const client of clients) {
        await until(client, "wiped", "new");
        assert.deepEqual(payloads(client, "wiped"), [...count(5), "new"]);
        assert.equal(heard(client, "wiped").at(-1).epoch, fresh.epoch);
      }
      const again = await Client.connect(nodes[2]);
      const ack = await again.request({ type: "subscribe", channel: "wiped", recover: { epoch, offset: 3 } });
      assert.deepEqual([ack.type, ack.recovered, ack.epoch], ["ack", false, fresh.epoch]);
      const answer = await (await fetch(`${nodes[0].origin}/poll?channel=wiped&cursor=${encodeURIComponent(polled.cursor)}&timeout=1`)).json();
      assert.ok(answer.recovered === false || answer.messages.filter(({ type }) => type === "message").map(({ payload }) => payload).join() === "1,2,3,4,5,new",
        `an honest answer: ${JSON.stringify(answer)}`);
    });
  });
}
