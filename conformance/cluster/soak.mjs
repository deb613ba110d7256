// The soak: nodes are killed without a word, one every so often, while publishers publish and followers come back; at the
// end nobody has lost, repeated or reordered anything.
//
//   node conformance/cluster/soak.mjs --engine redis --minutes 10
//
//   --engine redis|nats|kafka  [redis]      --nodes N        [3]
//   --minutes M                [10]         --every SECONDS  between two faults [30]
//   --fault kill|drain|pause|broker|cut     [kill]
//   --rest MS   between two messages of one publisher [30]
//
// Ends with 0 if nothing is wrong. The test files beside it run a short one.

import assert from "node:assert/strict";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { Balancer } from "../harness/balancer.mjs";
import { Broker } from "../harness/broker.mjs";
import { Cable } from "../harness/cable.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { allKinds as allFollowers } from "./followers.mjs";
import { Acknowledgements, judge, readLog } from "./ledger.mjs";
import { allKinds as allPublishers, publishOverHttp } from "./publishers.mjs";
import { describeOn } from "./suites.mjs";

const CHANNELS = ["soak:a", "soak:b"];
const SETTLED_WITHIN = 240_000; // milliseconds from the last message to the last follower that has it
const pause = (time) => new Promise((done) => setTimeout(done, time));

/** What happens to a node, and how it comes back. Each takes the cluster and the number of a node. */
const FAULTS = {
  async kill({ nodes, config }, at) {
    const old = nodes[at];
    old.signal("SIGKILL");
    await old.exited;
    await pause(1000 + Math.random() * 2000);
    nodes[at] = await Server.start(config(at), { port: old.port });
    await old.stop();
  },
  async drain({ nodes, config }, at) {
    const old = nodes[at];
    old.signal("SIGTERM");
    await old.exited;
    nodes[at] = await Server.start(config(at), { port: old.port });
    await old.stop();
  },
  async pause({ nodes, balancer }, at) {
    // Longer than any lease: the others take the node for dead meanwhile.
    nodes[at].signal("SIGSTOP");
    balancer.out.add(nodes[at].port);
    await pause(25_000);
    nodes[at].signal("SIGCONT");
    await nodes[at].ready();
    balancer.out.delete(nodes[at].port);
  },
  async broker({ nodes, broker }) {
    await broker.kill();
    await pause(3000);
    await broker.begin();
    for (const node of nodes) await node.ready();
  },
  async cut({ nodes, cables, balancer }, at) {
    cables[at].freeze();
    await eventually(async () => (await fetch(`${nodes[at].origin}/readyz`)).status === 503, "/readyz 503", 60_000);
    balancer.out.add(nodes[at].port);
    await pause(10_000);
    cables[at].lose();
    await nodes[at].ready();
    balancer.out.delete(nodes[at].port);
  },
};

/** Runs one, and returns `{ faults, summary }`; `say` is told how it goes. */
export async function soak({ engine, seconds, every, nodes: size = 3, fault = "kill", rest = 30, say = () => {} }) {
  const broker = await Broker.start(engine);
  const cables = await Promise.all(Array.from({ length: size }, () => Cable.start(broker.port)));
  const config = (at) => ({
    engine: { url: cables[at].through(broker.url) },
    server: { shutdown_grace: "3s" },
    channels: [{ ...OPEN_RULE, history: { size: 100_000, ttl: "1h" } }],
  });
  const nodes = [];
  let balancer;
  let followers = [];
  let stopped = false;
  try {
    nodes.push(...await Promise.all(cables.map((_, at) => Server.start(config(at)))));
    balancer = await Balancer.start(nodes.map(({ port }) => port));
    const acknowledgements = new Acknowledgements();
    followers = allFollowers(balancer, CHANNELS);
    const records = followers.map(({ record }) => record);
    for (let n = 0; records.some((record) => !record.isStarted); n += 1) {
      for (const channel of CHANNELS) await publishOverHttp(balancer, channel, { from: "first", n }, `first-${channel}-${n}`, acknowledgements);
      await pause(200);
      if (n > 600) throw new Error(`not subscribed: ${records.filter((it) => !it.isStarted).map(({ name, told }) => `${name} ${told}`)}`);
    }
    say(`${size} nodes on ${engine}, ${followers.length} followers, ${allPublishers.length} publishers; ${fault} every ${every} s for ${seconds} s`);
    const publishing = allPublishers.map((publish) => publish(balancer, CHANNELS, acknowledgements, () => stopped, rest));
    const cluster = { nodes, config, broker, cables, balancer };
    const until = Date.now() + seconds * 1000;
    let strikes = 0;
    for (let next = Date.now() + every * 1000; next < until; next = Math.max(next + every * 1000, Date.now())) {
      await pause(next - Date.now());
      const at = strikes % size;
      say(`${fault} ${at}; ${acknowledgements.all.length} acknowledged, heard by followers: ${records.map(({ count }) => count).join(" ")}`);
      await FAULTS[fault](cluster, at);
      strikes += 1;
    }
    await pause(until - Date.now());
    stopped = true;
    await Promise.all(publishing);
    for (const channel of CHANNELS) await publishOverHttp(balancer, channel, { end: true }, `end-${channel}`, acknowledgements);
    await eventually(() => records.every((record) => record.isFinished), "", SETTLED_WITHIN).catch(() => {});
    const faults = records.filter((record) => !record.isFinished).map(({ name }) => `${name} did not hear the end within ${SETTLED_WITHIN} ms`);
    const logs = new Map();
    for (const channel of CHANNELS) logs.set(channel, await readLog(nodes[0], channel));
    faults.push(...judge(logs, acknowledgements, records));
    for (const node of nodes) if (/panicked/.test(node.log)) faults.push(`a node panicked:\n${node.log.match(/.*panicked[^]{0,600}/)[0]}`);
    const total = [...logs.values()].reduce((sum, { messages }) => sum + messages.length, 0);
    const summary = [
      `${total} messages in ${logs.size} logs, ${acknowledgements.all.length} acknowledged after ${acknowledgements.tries} tries, ${strikes} times ${fault}`,
      ...records.map(({ name, count, returns, told }) => `  ${name.padEnd(30)} heard ${count}, came back ${returns} times${told.length ? `, told ${told.length} times` : ""}`),
    ];
    return { faults, summary };
  } finally {
    stopped = true;
    for (const follower of followers) follower.stop();
    await Promise.all(nodes.map((node) => node.stop()));
    await balancer?.stop();
    await Promise.all(cables.map((cable) => cable.stop()));
    await broker.stop();
  }
}

/** One of three quarters of a minute, as a test. */
export function short(engine) {
  describeOn(engine, "soak", () => {
    test("nodes are killed one after the other, and nobody loses, repeats or reorders anything", { timeout: 600_000 }, async (t) => {
      const { faults, summary } = await soak({ engine, seconds: 45, every: 10, rest: 60 });
      for (const line of summary) t.diagnostic(line);
      assert.deepEqual(faults, []);
    });
  });
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const option = (type, fallback) => ({ type, default: fallback });
  const { values } = parseArgs({
    options: {
      engine: option("string", "redis"), minutes: option("string", "10"), nodes: option("string", "3"),
      every: option("string", "30"), fault: option("string", "kill"), rest: option("string", "30"),
    },
  });
  if (!FAULTS[values.fault]) throw new Error(`--fault is one of ${Object.keys(FAULTS).join(", ")}`);
  const { faults, summary } = await soak({
    engine: values.engine, seconds: Number(values.minutes) * 60, every: Number(values.every), nodes: Number(values.nodes),
    fault: values.fault, rest: Number(values.rest), say: (text) => console.log(new Date().toISOString().slice(11, 19), text),
  });
  console.log(summary.join("\n"));
  console.log(faults.length === 0 ? "nothing lost, repeated or out of order" : `WRONG:\n${faults.join("\n")}`);
  process.exit(faults.length === 0 ? 0 : 1);
}
