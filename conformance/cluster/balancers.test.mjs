// examples/cluster as it is, with nothing but ports replaced: three nodes behind the system's nginx, and behind HAProxy.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join as pathOf } from "node:path";
import { after, afterEach, before, describe, test } from "node:test";

import { Broker, isInstalled } from "../harness/broker.mjs";
import { Client, closeAll as closeClients } from "../harness/client.mjs";
import { Server, eventually, freePort } from "../harness/server.mjs";
import { connect as phoenix, disconnectAll, join, ok } from "../phoenix/client.mjs";
import { ask, closeAll as closeSockets, collect, connected } from "../socketio/socket.mjs";
import { native, poll, sse } from "./followers.mjs";
import { Acknowledgements, readLog } from "./ledger.mjs";
import { publishOverHttp } from "./publishers.mjs";
import { count } from "./suites.mjs";

const example = (name) => readFileSync(new URL(`../../examples/cluster/${name}`, import.meta.url), "utf8");
const APP = { id: "1", key: "demo", secret: example("starling.toml").match(/^secret = "(.*?)"/m)[1] };

const installed = (name) => {
  const { stdout } = spawnSync("sh", ["-c", `PATH="$PATH:/usr/sbin" command -v ${name}`], { encoding: "utf8" });
  return stdout.trim();
};

const BALANCERS = {
  nginx: { file: "nginx.conf", args: (folder) => ["-p", folder, "-c", pathOf(folder, "nginx.conf")], isNeeded: true },
  haproxy: { file: "haproxy.cfg", args: (folder) => ["-db", "-f", pathOf(folder, "haproxy.cfg")], isNeeded: false },
};

for (const [name, { file, args, isNeeded }] of Object.entries(BALANCERS)) {
  const program = installed(name);
  const missing = [program === "" && name, !isInstalled("redis") && "redis-server"].filter(Boolean).join(" and ");
  const isFailure = process.env.CI && (isNeeded || program !== "");
  describe(`the example behind ${name}`, { skip: missing !== "" && !isFailure ? `${missing} not installed: THESE TESTS WERE SKIPPED` : false }, () => {
    let broker, nodes, folder, proxy, behind;
    const start = (port) => Server.start({ apps: [APP] }, {
      port, args: ["--config", pathOf(folder, "starling.toml")],
      env: { STARLING__ENGINE__URL: broker.url, STARLING__SERVER__SHUTDOWN_GRACE: "3s" },
    });
    before(async () => {
      assert.equal(missing, "", "CI needs them");
      folder = mkdtempSync(pathOf(tmpdir(), "starling-balanced-"));
      broker = await Broker.start("redis");
      writeFileSync(pathOf(folder, "starling.toml"), example("starling.toml"));
      nodes = await Promise.all(count(3).map(async () => start(await freePort())));
      const port = await freePort();
      const ports = [["8080", port], ...nodes.map((node, at) => [`${8081 + at}`, node.port])];
      writeFileSync(pathOf(folder, file), ports.reduce((text, [from, to]) => text.replaceAll(`127.0.0.1:${from}`, `127.0.0.1:${to}`), example(file)));
      proxy = spawn(program, args(folder), { stdio: "ignore" });
      process.once("exit", () => proxy.kill("SIGKILL"));
      behind = { origin: `http://127.0.0.1:${port}`, ws: `ws://127.0.0.1:${port}`, app: APP, api: Server.prototype.api, publish: Server.prototype.publish };
      await eventually(() => fetch(`${behind.origin}/readyz`).then(({ status }) => status === 200, () => false), name);
    });
    after(async () => {
      proxy?.kill("SIGTERM");
      await Promise.all((nodes ?? []).map((node) => node.stop()));
      await broker?.stop();
      if (folder) rmSync(folder, { recursive: true, force: true });
    });
    afterEach(() => {
      closeClients();
      closeSockets();
      disconnectAll();
    });

    test("every protocol, through whichever node", async () => {
      const socket = await Client.connect(behind);
      await socket.subscribe("every");
      const polling = await connected(behind, { transports: ["polling"] });
      assert.equal((await ask(polling, "subscribe", "every")).ok, true);
      const events = collect(polling, "message");
      const longpoll = await join(phoenix(behind, { longpoll: true }), "every");
      const first = await (await fetch(`${behind.origin}/poll?channel=every`)).json();
      for (const n of count(12)) await behind.publish("every", n);
      const heard = [];
      while (heard.length < 12) heard.push((await socket.message("every")).payload);
      assert.deepEqual(heard, count(12));
      assert.deepEqual((await events.of(12)).map(([payload]) => payload), count(12));
      for (const n of count(12)) assert.equal(await longpoll.next("message"), n);
      await ok(longpoll.push("said", { n: 1 }));
      const polled = await (await fetch(`${behind.origin}/poll?channel=every&cursor=${encodeURIComponent(first.cursor)}`)).json();
      assert.deepEqual([polled.recovered, polled.connectionId], [true, first.connectionId]);
      assert.deepEqual(polled.messages.map(({ payload }) => payload).slice(0, 12), count(12));
    });

    test("a node is killed and started, then all are restarted one by one: no request fails that may be repeated, and nobody loses anything", { timeout: 300_000 }, async () => {
      const acknowledgements = new Acknowledgements();
      const followers = [...count(4).map((n) => native(`native ${n}`, behind, ["roll"])), sse("event stream", behind, ["roll"]), poll("poll", behind, ["roll"])];
      const records = followers.map(({ record }) => record);
      let stopped = false;
      try {
        for (let n = 0; records.some((record) => !record.isStarted); n += 1) {
          await publishOverHttp(behind, "roll", n, `first-${n}`, acknowledgements, APP);
          await new Promise((again) => setTimeout(again, 100));
        }
        const publishing = (async () => {
          for (let n = 0; !stopped; n += 1) await publishOverHttp(behind, "roll", n, `n-${n}`, acknowledgements, APP);
        })();
        const more = async (than) => eventually(() => acknowledgements.all.length > than + 30, "some load");
        nodes[1].signal("SIGKILL");
        await nodes[1].exited;
        await more(acknowledgements.all.length);
        // A GET finds a node that lives, every time.
        for (const _ of count(12)) assert.equal((await fetch(`${behind.origin}/poll?channel=roll`)).status, 200);
        const restart = async (at) => {
          const old = nodes[at];
          nodes[at] = await start(old.port);
          await old.stop();
          await more(acknowledgements.all.length);
        };
        await restart(1);
        for (const at of [0, 1, 2]) {
          nodes[at].signal("SIGTERM");
          assert.equal((await nodes[at].exited).code, 0);
          await restart(at);
        }
        stopped = true;
        await publishing;
        await publishOverHttp(behind, "roll", { end: true }, "end", acknowledgements, APP);
        await eventually(() => records.every((record) => record.isFinished), "the end, heard by all", 60_000);
        const { messages } = await readLog(nodes[0], "roll");
        // The log keeps a thousand: what went before is judged by what was acknowledged.
        const all = new Map(acknowledgements.all.map(({ offset, id }) => [offset, { id, offset }]));
        for (const message of messages) assert.equal(all.get(message.offset)?.id, message.id);
        for (const { name, heard, told } of records) {
          const offsets = heard.get("roll").map(({ offset }) => offset);
          assert.deepEqual(offsets, count(offsets.length, offsets[0]), `${name}: once, in order, without a hole`);
          assert.equal(offsets.at(-1), acknowledgements.all.at(-1).offset, name);
          assert.deepEqual(told, [], name);
        }
      } finally {
        stopped = true;
        for (const follower of followers) follower.stop();
      }
    });
  });
}
