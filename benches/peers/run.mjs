// Measures Starling and its peers in turn, in the same minutes and with the same clients (`starling bench`), and prints
// the ratios of the servers' processor time. `benches/peers/run --help` lists the options; docs/performance.md has the
// method and results.

import { spawn } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { dirname, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

import { publishes } from "./publishes.mjs";
import { Server } from "./servers.mjs";

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const KIB = 1024;

// soketi closes the connection after each answer of its HTTP API: members publish, and the API has a row of its own.
const byMembers = ["--publish", "client"];
const room = ["fanout", "--connections", "1000"];
const slowly = ["--rate", "25"];
const atOnce = ["--in-flight", "4"];

/** What is measured: `goals` are the highest ratio to each peer, or, for memory, bytes for each connection. */
const ROWS = [
  { name: "socketio-rate", what: "1000 members, 25 messages a second", protocol: "socketio", args: [...room, ...slowly], goals: { "socket.io": 0.5, "socket.io on uWebSockets": 0.95 } },
  { name: "socketio-several", what: "1000 members, four messages on their way", protocol: "socketio", args: [...room, ...atOnce], goals: { "socket.io": 0.25, "socket.io on uWebSockets": undefined } },
  { name: "socketio-acks", what: "100 clients, acknowledged events", protocol: "socketio", args: ["echo", "--connections", "100"], goals: { "socket.io": 0.5, "socket.io on uWebSockets": undefined } },
  { name: "pusher-rate", what: "1000 members, 25 messages a second", protocol: "pusher", args: [...room, ...slowly, ...byMembers], goals: { soketi: 0.6 } },
  { name: "pusher-several", what: "1000 members, four messages on their way", protocol: "pusher", args: [...room, ...atOnce, ...byMembers], goals: { soketi: 0.25 } },
  { name: "pusher-rooms", what: "1000 channels of 10, 16 messages on their way", protocol: "pusher", args: ["rooms", "--connections", "10000", "--channels", "1000", "--in-flight", "16", ...byMembers], goals: { soketi: 0.35 } },
  { name: "pusher-publish", what: "events published over the HTTP API, eight at a time, to nobody", protocol: "pusher", drive: publishes, goals: { soketi: 0.4 } },
  { name: "phoenix-rate", what: "1000 members, 25 messages a second", protocol: "phoenix", args: [...room, ...slowly], goals: { native: 1.1 } },
  { name: "phoenix-several", what: "1000 members, four messages on their way", protocol: "phoenix", args: [...room, ...atOnce], goals: { native: 1.1 } },
  { name: "socketio-idle", what: "10,000 connections", protocol: "socketio", args: ["idle", "--connections", "10000"], goals: { "socket.io": undefined, "socket.io on uWebSockets": undefined }, bytes: 4 * KIB },
  { name: "pusher-idle", what: "10,000 connections", protocol: "pusher", args: ["idle", "--connections", "10000"], goals: { soketi: undefined }, bytes: 4 * KIB },
];

const { values: options } = parseArgs({
  options: {
    starling: { type: "string" },
    only: { type: "string" },
    rounds: { type: "string", default: "3" },
    duration: { type: "string", default: "4s" },
    out: { type: "string" },
    help: { type: "boolean", default: false },
  },
});
if (options.help) {
  console.log(`benches/peers/run [options]
  --only A,B        rows whose names begin so: ${ROWS.map(({ name }) => name).join(", ")} [default: all]
  --rounds N        rounds of each row, whose medians are compared [default: 3]
  --duration T      how long a run is measured [default: 4s]
  --starling FILE   the server's binary, which is the load generator too [default: target/release/starling]
  --out FILE        also write the tables and all figures as JSON`);
  process.exit(0);
}
const starling = resolve(options.starling ?? `${process.env.CARGO_TARGET_DIR ?? `${REPOSITORY}/target`}/release/starling`);
if (!existsSync(starling)) throw new Error(`no server at ${starling}: cargo build --release -p starling-cli, or --starling`);

/** One run of the load generator against a server; its report. */
async function load(server, { protocol, args, drive }) {
  if (drive) return drive(server, options.duration);
  const [id, key, secret] = server.app ?? [];
  const credentials = server.app && protocol === "pusher" ? ["--app", id, "--key", key, "--secret", secret] : [];
  const command = [starling, "bench", ...args, "--protocol", protocol, "--url", server.url, "--server-pid", `${server.pid}`, "--duration", options.duration, "--json", ...credentials];
  const child = spawn("taskset", ["--cpu-list", "1", ...command], { stdio: ["ignore", "pipe", "inherit"] });
  let output = "";
  child.stdout.setEncoding("utf8").on("data", (text) => { output += text; });
  const code = await new Promise((done) => child.once("close", done));
  if (output === "") throw new Error(`${command.join(" ")}: exit ${code}`);
  const report = JSON.parse(output);
  if (code !== 0 || report.failure) console.error(`${server.kind}: ${report.failure ?? `exit ${code}`}`);
  return report;
}

async function measure(kind, row) {
  const server = await Server.start(kind, { starling });
  try {
    return await load(server, row);
  } finally {
    await server.stop();
  }
}

const median = (numbers) => numbers.toSorted((one, other) => one - other)[Math.floor(numbers.length / 2)];
const cost = (row, report) => (row.bytes ? report.serverMemory.bytesPerConnection : report.serverCpuMicrosPerOperation);

const chosen = options.only?.split(",");
const rows = ROWS.filter(({ name }) => !chosen || chosen.some((begin) => name.startsWith(begin)));
const figures = {};
for (const row of rows) {
  // Starling itself speaking the native protocol is the peer of its other protocols.
  const peers = Object.keys(row.goals);
  const runs = [["starling", row], ...peers.map((peer) => (peer === "native" ? [peer, { ...row, protocol: "native" }] : [peer, row]))];
  figures[row.name] = Object.fromEntries(runs.map(([name]) => [name, []]));
  for (let round = 1; round <= (row.bytes ? 1 : Number(options.rounds)); round += 1) {
    for (const [name, what] of runs) {
      const report = await measure(name === "native" ? "starling" : name, what);
      figures[row.name][name].push(report);
      console.error(`${row.name}, round ${round}, ${name}: ${cost(row, report).toFixed(2)} ${row.bytes ? "bytes" : "µs"}`);
    }
  }
}

let missed = 0;
const lines = ["| row | what | peer | starling | peer | ratio | each round | goal | met |", "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"];
const verdict = (isMet) => {
  if (!isMet) missed += 1;
  return isMet ? "yes" : "**no**";
};
for (const row of rows) {
  const own = figures[row.name].starling.map((report) => cost(row, report));
  const shown = (number) => (row.bytes ? `${Math.round(number)} B` : `${number.toFixed(2)} µs`);
  for (const [peer, goal] of Object.entries(row.goals)) {
    const theirs = figures[row.name][peer].map((report) => cost(row, report));
    const ratio = median(own) / median(theirs);
    const each = own.map((number, round) => (number / theirs[round]).toFixed(2)).join(" ");
    const [limit, met] = row.bytes
      ? [`≤ ${row.bytes} B`, verdict(median(own) <= row.bytes)]
      : goal === undefined ? ["–", "–"] : [`≤ ${goal}`, verdict(ratio <= goal)];
    lines.push(`| ${row.name} | ${row.what} | ${peer} | ${shown(median(own))} | ${shown(median(theirs))} | **${ratio.toFixed(2)}** | ${each} | ${limit} | ${met} |`);
  }
}
console.log(lines.join("\n"));
for (const [row, of] of Object.entries(figures)) {
  for (const [name, reports] of Object.entries(of)) {
    const bytes = [...new Set(reports.map(({ messageBytes }) => messageBytes))].filter(Boolean);
    if (bytes.length > 0) console.log(`- ${row}: messages of ${name} have ${bytes.join(" or ")} bytes.`);
  }
}
if (options.out) writeFileSync(options.out, `${lines.join("\n")}\n\n${JSON.stringify(figures, undefined, 1)}\n`);
process.exit(missed > 0 ? 1 : 0);
