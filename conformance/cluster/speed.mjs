// What nodes on a broker cost beside one node on the memory engine, each a ratio of two measurements in one run:
//
//   fan-out    processor time of a node for each delivery: two nodes with 1000 members each, and one in memory
//   publishes  messages a second that one node gets into the broker, and what the broker's own benchmark does (Redis)
//   presence   processor time of a node for an entering and a leaving in a channel of 10,000 members, and of 10
//
//   STARLING_BIN=target/release/starling node conformance/cluster/speed.mjs [redis|nats|kafka] [fan-out|publishes|presence]
//
// The machine should have nothing else to do.

import { execFile } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { connect } from "node:net";
import { promisify } from "node:util";

import { Broker } from "../harness/broker.mjs";
import { Client, closeAll } from "../harness/client.mjs";
import { APP, OPEN_RULE, Server, binary } from "../harness/server.mjs";

const run = promisify(execFile);
const [kind = "redis", only] = process.argv.slice(2);
const isWanted = (part) => only === undefined || only === part;
const FREELY = { messages_per_second: 1_000_000, burst: 1_000_000 };
const PLAIN = { match: "plain:*", subscribe: "anyone", publish: "anyone" };
const config = (engine) => ({ ...engine, limits: FREELY, channels: [PLAIN, OPEN_RULE] });
const PAYLOAD = "x".repeat(128);

/** Processor time of all threads of a process so far, in microseconds. */
const spent = (pid) => readdirSync(`/proc/${pid}/task`).reduce((sum, thread) => {
  try {
    return sum + Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]) / 1000;
  } catch {
    return sum; // it ended meanwhile
  }
}, 0);
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];

async function fanout(node, rate, channel) {
  const args = ["bench", "fanout", "--url", node.origin, "--rate", `${rate}`, "--duration", "5s", "--warmup", "2s", "--channel", channel,
    "--server-pid", `${node.pid}`, "--key", APP.key, "--secret", APP.secret, "--json"];
  const { stdout } = await run(binary(), args);
  const report = JSON.parse(stdout);
  if (report.lost + report.repeated + report.reordered > 0) throw new Error(stdout);
  return report;
}

/** Each of the nodes has 1000 members and half of the publishers: every node delivers as many as the one in memory. */
async function fanouts(nodes, memory) {
  const ratios = [];
  for (let round = 0; round < 5; round += 1) {
    const alone = await fanout(memory, 24, `plain:m${round}`);
    const before = nodes.map((node) => spent(node.pid));
    const both = await Promise.all(nodes.map((node) => fanout(node, 12, `plain:n${round}`)));
    const delivered = both.map(({ operations }) => operations).reduce((sum, operations) => sum + operations, 0);
    const whole = nodes.reduce((sum, node, at) => sum + spent(node.pid) - before[at], 0);
    // A run counts what its own publisher sent; its members get as much again from the other.
    const each = both.map(({ serverCpuMicrosPerOperation }) => serverCpuMicrosPerOperation / 2);
    const mean = each.reduce((sum, value) => sum + value, 0) / each.length;
    ratios.push(mean / alone.serverCpuMicrosPerOperation);
    console.log(`fan-out, round ${round + 1}: ${alone.serverCpuMicrosPerOperation.toFixed(2)} µs in memory, ${each.map((value) => value.toFixed(2)).join(" and ")} µs on ${kind} (${delivered} deliveries, ${(whole / 1e6).toFixed(2)} s in all)`);
  }
  console.log(`fan-out: ${median(ratios).toFixed(2)} times the memory engine (goal 1.2)`);
}

/** Posts the same batch over one connection again and again, and reads no more of the answers than it must. */
async function post(node, body, count, end) {
  const authorization = Buffer.from(`${APP.key}:${APP.secret}`).toString("base64");
  const head = `POST /api/batch HTTP/1.1\r\nhost: ${new URL(node.origin).host}\r\nauthorization: Basic ${authorization}\r\n`;
  const request = Buffer.from(`${head}content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
  const socket = connect(Number(new URL(node.origin).port), "127.0.0.1");
  let sent = 0;
  try {
    let left = 0; // bytes of the answer's body
    socket.write(request);
    for await (const chunk of socket) {
      if (left === 0) {
        const text = chunk.toString("latin1");
        const [, length] = text.match(/^HTTP\/1.1 200 [^]*\r\ncontent-length: (\d+)\r\n/i) ?? [];
        if (length === undefined) throw new Error(text);
        left = Number(length) + text.indexOf("\r\n\r\n") + 4;
      }
      left -= chunk.length;
      if (left > 0) continue;
      sent += count;
      if (Date.now() >= end) break;
      socket.write(request);
    }
  } finally {
    socket.destroy();
  }
  return sent;
}

async function publishes(node, broker) {
  const BATCH = 500;
  const LOOPS = 6;
  const messages = Array.from({ length: BATCH }, (_, at) => ({ channel: `plain:${at}`, payload: PAYLOAD }));
  const body = JSON.stringify({ messages });
  const rates = [];
  for (let round = 0; round < 3; round += 1) {
    const [begin, before] = [performance.now(), spent(node.pid)];
    const sent = (await Promise.all(Array.from({ length: LOOPS }, () => post(node, body, BATCH, Date.now() + 4000)))).reduce((sum, sent) => sum + sent, 0);
    const ours = sent / ((performance.now() - begin) / 1000);
    const cost = (spent(node.pid) - before) / sent;
    const { stdout } = await run("redis-benchmark", ["-p", `${broker.port}`, "-c", "6", "-P", "16", "-n", "400000", "--csv", "PUBLISH", "plain:1", PAYLOAD]);
    const theirs = Number(stdout.trim().split("\n").at(-1).split(",").map((field) => field.replaceAll('"', ""))[1]);
    rates.push(ours / theirs);
    console.log(`publishes, round ${round + 1}: ${Math.round(ours)} a second through a node at ${cost.toFixed(2)} µs of it, ${Math.round(theirs)} by redis-benchmark`);
  }
  console.log(`publishes: ${median(rates).toFixed(2)} of redis-benchmark (goal 0.5)`);
}

async function presence(node) {
  const cost = {};
  for (const members of [10, 10_000]) {
    const channel = `present:${members}`;
    const clients = [];
    while (clients.length < members) {
      const more = Math.min(200, members - clients.length);
      clients.push(...await Promise.all(Array.from({ length: more }, async (_, at) => {
        const client = await Client.user(node, `u${clients.length + at}`);
        await client.ok({ type: "subscribe", channel, data: {} });
        return client;
      })));
    }
    const guest = await Client.user(node, "guest");
    await guest.ok({ type: "subscribe", channel });
    const times = [];
    for (let round = 0; round < 5; round += 1) {
      const before = spent(node.pid);
      for (let n = 0; n < 200; n += 1) {
        await guest.ok({ type: "presence", channel, action: "enter", data: {} });
        await guest.ok({ type: "presence", channel, action: "leave" });
      }
      times.push((spent(node.pid) - before) / 400);
    }
    cost[members] = median(times);
    console.log(`presence: ${cost[members].toFixed(1)} µs for each change among ${members}`);
    closeAll();
  }
  console.log(`presence: ${(cost[10_000] / cost[10]).toFixed(2)} times with 10,000 members`);
}

const broker = await Broker.start(kind, kind === "redis" ? ["--appendfsync", "everysec"] : []);
const engine = { engine: { url: broker.url } };
const [memory, ...nodes] = await Promise.all([Server.start(config({})), Server.start(config(engine)), Server.start(config(engine))]);
try {
  if (isWanted("fan-out")) await fanouts(nodes, memory);
  if (isWanted("publishes") && kind === "redis") await publishes(nodes[0], broker);
  if (isWanted("presence")) await presence(nodes[0]);
} finally {
  closeAll();
  await Promise.all([memory, ...nodes].map((node) => node.stop()));
  await broker.stop();
}
