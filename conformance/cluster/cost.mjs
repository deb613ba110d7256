// What one message costs: the node that publishes it, the broker, and a node that hears it. Processor time, as the
// kernel counts it; docs/scaling.md reckons with the results.
//
//   STARLING_BIN=target/release/starling node conformance/cluster/cost.mjs [redis|nats] [messages]

import { readFileSync } from "node:fs";

import { Broker } from "../harness/broker.mjs";
import { Client, closeAll } from "../harness/client.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";

const [kind = "redis", total = "20000"] = process.argv.slice(2);
const MESSAGES = Number(total);
const CHANNELS = 100;
const BATCH = 100;
const PAYLOAD = "x".repeat(128);
const TICK = 10_000; // microseconds; USER_HZ is 100 on every Linux

const spent = (pid) => {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1].split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK;
};

// As most run it; the tests have it write before it answers.
const broker = await Broker.start(kind, kind === "redis" ? ["--appendfsync", "everysec"] : []);
const config = {
  engine: { url: broker.url },
  channels: [{ match: "plain:*", subscribe: "anyone", publish: "anyone" }, { ...OPEN_RULE, presence: false, history: { size: 1000, ttl: "1h" } }],
};
const nodes = await Promise.all([Server.start(config), Server.start(config)]);
console.log("channels         members   µs of publisher   of broker   of hearer   of hearer for each delivery");
try {
  for (const [prefix, what] of [["plain:", "without history"], ["log:", "with history"]]) {
    for (const members of [0, 1, 10]) {
      const clients = await Promise.all(Array.from({ length: members }, () => Client.connect(nodes[1])));
      const channels = Array.from({ length: CHANNELS }, (_, at) => `${prefix}${members}:${at}`);
      let heard = 0;
      for (const client of clients) {
        for (const channel of channels) await client.subscribe(channel);
        client.socket.removeAllListeners("message");
        client.socket.on("message", () => { heard += 1; });
      }
      const pids = [nodes[0].pid, broker.child.pid, nodes[1].pid];
      const before = pids.map(spent);
      for (let sent = 0; sent < MESSAGES; sent += BATCH) {
        const messages = Array.from({ length: BATCH }, (_, at) => ({ channel: channels[(sent + at) % CHANNELS], payload: PAYLOAD }));
        const { status, text } = await nodes[0].api("POST", "/api/batch", { messages });
        if (status !== 200) throw new Error(text);
      }
      await eventually(() => heard >= MESSAGES * members, "all deliveries", 60_000);
      const [publisher, of, hearer] = pids.map((pid, at) => (spent(pid) - before[at]) / MESSAGES);
      const each = members === 0 ? "–" : (hearer / members).toFixed(1);
      console.log([what.padEnd(16), `${members}`.padStart(7), publisher.toFixed(1).padStart(17), of.toFixed(1).padStart(11), hearer.toFixed(1).padStart(11), each.padStart(29)].join(" "));
      closeAll();
    }
  }
} finally {
  await Promise.all(nodes.map((node) => node.stop()));
  await broker.stop();
}
