// Brokers that will never do: the process says why and ends with 2. Brokers that do not yet: it waits for them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { Broker } from "../harness/broker.mjs";
import { Cable } from "../harness/cable.mjs";
import { OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { readLog } from "./ledger.mjs";
import { describeOn } from "./suites.mjs";

/** Asserts that a server with this engine ends with 2, and says what matches. */
async function never(url, pattern, timeout = 30_000) {
  const server = await Server.start({ engine: { url } }, { ready: false });
  try {
    const late = new Promise((done) => { setTimeout(done, timeout, { code: "still running" }).unref(); });
    const { code } = await Promise.race([server.exited, late]);
    assert.equal(code, 2, server.log);
    assert.match(server.log, pattern);
    assert.doesNotMatch(server.log, /panicked|hunter2/);
  } finally {
    await server.stop();
  }
}

/** A broker that says something else of itself: `from` and `to` are of one length. */
async function disguised(port, from, to) {
  const server = createServer((near) => {
    const far = connect(port, "127.0.0.1");
    near.pipe(far);
    far.on("data", (data) => near.write(Buffer.from(data.toString("latin1").replaceAll(from, to), "latin1")));
    for (const [one, other] of [[near, far], [far, near]]) one.on("error", () => {}).once("close", () => other.destroy());
  });
  await new Promise((done) => server.listen(0, "127.0.0.1", done));
  return server;
}

/** What `redis-cli` prints. Commands in `input`, one a line, are sent as they are. */
function redis(broker, command, input) {
  const child = spawn("redis-cli", ["-p", `${broker.port}`, ...command]);
  let text = "";
  child.stdout.on("data", (data) => { text += data; });
  child.stdin.end(input);
  return new Promise((done) => { child.once("close", () => done(text.trim())); });
}

const isReady = (server, status = 200) => eventually(async () => (await fetch(`${server.origin}/readyz`)).status === status, `/readyz ${status}`, 30_000);
const lines = (server, pattern) => server.log.split("\n").filter((line) => pattern.test(line)).length;

describeOn("redis", "a broker that will not do", () => {
  test("a user without rights, a database that is not there, a server in the place of a Sentinel", async () => {
    const broker = await Broker.start("redis");
    try {
      for (const [user, ...rights] of [["keys", "~other:*", "&*"], ["channels", "~*", "resetchannels"]]) {
        await redis(broker, ["ACL", "SETUSER", user, "on", ">pw", ...rights, "+@all"]);
        await never(broker.url.replace("//", `//${user}:pw@`), /the engine redis can never work.*does not permit/is);
      }
      await never(`${broker.url}/99`, /the engine redis can never work.*database/is);
      await never(broker.url.replace("redis:", "redis+sentinel:") + "/main", /the engine redis can never work.*is no Sentinel/is);
    } finally {
      await broker.stop();
    }
  });

  test("a full server: the log says so once, and when it is over; /readyz says so meanwhile", async () => {
    const broker = await Broker.start("redis");
    const server = await Server.start({ engine: { url: broker.url } });
    try {
      await server.publish("room", "while there is room");
      await redis(broker, ["CONFIG", "SET", "maxmemory", "1"]);
      for (let n = 0; n < 20; n++) assert.equal((await server.api("POST", "/api/publish", { channel: "room", payload: n })).status, 503);
      await isReady(server, 503);
      await redis(broker, ["CONFIG", "SET", "maxmemory", "0"]);
      await isReady(server);
      assert.equal(lines(server, /refuses writes.*OOM|OOM.*refuses writes/), 1, server.log);
      await eventually(() => lines(server, /takes writes again/) === 1, "the line that it is over");
      await server.publish("room", "again");
    } finally {
      await server.stop();
      await broker.stop();
    }
  });

  test("a revocation that cannot be noted is not acknowledged, and a node that cannot read them is not ready", async () => {
    const broker = await Broker.start("redis");
    const server = await Server.start({ engine: { url: broker.url } });
    try {
      await redis(broker, ["SET", "starling:{notes}:values", "something else"]);
      const { status, body } = await server.api("POST", "/api/users/ann/revoke", {});
      assert.equal(status, 503, JSON.stringify(body));
      assert.match(body.error?.message ?? JSON.stringify(body), /nodes that start later/);
      const late = await Server.start({ engine: { url: broker.url } }, { ready: false });
      try {
        await eventually(() => lines(late, /cannot read which tokens were revoked/) === 1, "the log line", 30_000);
        assert.equal((await fetch(`${late.origin}/readyz`)).status, 503);
        await redis(broker, ["DEL", "starling:{notes}:values"]);
        await isReady(late);
        assert.equal((await server.api("POST", "/api/users/ann/revoke", {})).status, 204);
      } finally {
        await late.stop();
      }
    } finally {
      await server.stop();
      await broker.stop();
    }
  });

  test("foreign messages and a foreign list of nodes do not flood the log", async () => {
    const broker = await Broker.start("redis");
    const server = await Server.start({ engine: { url: broker.url } });
    try {
      const garbage = "PUBLISH starling:{control} garbage\n".repeat(1000);
      await redis(broker, [], garbage);
      await redis(broker, ["DEL", "starling:{nodes}"]);
      await redis(broker, ["SET", "starling:{nodes}", "something else"]);
      await eventually(() => lines(server, /foreign data/) > 0, "the log line about the nodes", 30_000);
      await eventually(() => lines(server, /"count":999/) === 1, "the count", 60_000);
      assert.equal(lines(server, /not readable, and is left out/), 1, server.log);
      assert.ok(lines(server, /foreign data/) < 10, server.log);
    } finally {
      await server.stop();
      await broker.stop();
    }
  });

  test("a wrong password, or none", async () => {
    const broker = await Broker.start("redis", ["--requirepass", "hunter2"]);
    try {
      for (const login of ["", ":wrong@", "nobody:hunter2@"]) await never(broker.url.replace("//", `//${login}`), /the engine redis can never work.*(password|credentials|NOAUTH|WRONGPASS|AUTH)/is);
      const server = await Server.start({ engine: { url: broker.url.replace("//", "//:hunter2@") } });
      assert.doesNotMatch(server.log, /hunter2/);
      await server.stop();
    } finally {
      await broker.stop();
    }
  });

  test("a replica that may only be read", async () => {
    const master = await Broker.start("redis");
    const replica = await Broker.start("redis", ["--replicaof", "127.0.0.1", `${master.port}`]);
    try {
      await never(replica.url, /the engine redis can never work.*replica/is);
    } finally {
      await replica.stop();
      await master.stop();
    }
  });

  test("one that is too old", async () => {
    const broker = await Broker.start("redis");
    const old = await disguised(broker.port, "redis_version:7.", "redis_version:5.");
    try {
      await never(`redis://127.0.0.1:${old.address().port}`, /the engine redis can never work.*5\.\d+\.\d+ is too old.*6\.2/is);
    } finally {
      old.close();
      await broker.stop();
    }
  });

  test("foreign data under our keys: that channel is refused, the log says why, others go on", async () => {
    const broker = await Broker.start("redis");
    const server = await Server.start({ engine: { url: broker.url } });
    try {
      await server.publish("ours", 1);
      // What the engine wrote for this channel says what its keys are called.
      const redis = (...command) => new Promise((done) => {
        const child = spawn("redis-cli", ["-p", `${broker.port}`, ...command]);
        let text = "";
        child.stdout.on("data", (data) => { text += data; });
        child.once("close", () => done(text.trim()));
      });
      const keys = (await redis("KEYS", "*ours*")).split("\n").filter(Boolean);
      assert.ok(keys.length > 0);
      for (const key of keys) await redis("SET", key.replace("ours", "theirs"), "something else");
      const refused = await server.api("POST", "/api/publish", { channel: "theirs", payload: 1 });
      assert.equal(refused.status, 503, refused.text);
      await eventually(() => /theirs|WRONGTYPE/.test(server.log), "the log line");
      assert.equal((await server.publish("ours", 2)).offset, 2);
      assert.equal((await fetch(`${server.origin}/readyz`)).status, 200);
    } finally {
      await server.stop();
      await broker.stop();
    }
  });
});

describeOn("nats", "a broker that will not do", () => {
  test("wrong credentials, or none", async () => {
    const broker = await Broker.start("nats", ["--user", "ann", "--pass", "hunter2"]);
    try {
      for (const login of ["", "ann:wrong@", "token@"]) await never(broker.url.replace("//", `//${login}`), /the engine nats can never work.*(credentials|authoriz)/is);
      const server = await Server.start({ engine: { url: broker.url.replace("//", "//ann:hunter2@") } });
      assert.doesNotMatch(server.log, /hunter2/);
      await server.stop();
    } finally {
      await broker.stop();
    }
  });

  test("one that is too old", async () => {
    const broker = await Broker.start("nats");
    const old = await disguised(broker.port, '"version":"2.', '"version":"1.');
    try {
      await never(`nats://127.0.0.1:${old.address().port}`, /the engine nats can never work.*1\.\d+\.\d+.*2\.9/is);
    } finally {
      old.close();
      await broker.stop();
    }
  });

  test("a full store: publishes are refused, what was acknowledged is there, and it goes on when there is room", { timeout: 300_000 }, async () => {
    const folder = mkdtempSync(join(tmpdir(), "starling-full-"));
    const configure = (size) => writeFileSync(join(folder, "nats.conf"), `jetstream { max_file_store: ${size}, max_memory_store: 1MB }\n`);
    configure("1MB");
    const broker = await Broker.start("nats", ["-c", join(folder, "nats.conf")]);
    let server;
    try {
      server = await Server.start({ engine: { url: broker.url }, channels: [{ ...OPEN_RULE, presence: false, history: { size: 1000, ttl: "1h" } }] });
      const acknowledged = [];
      let refused;
      for (let n = 0; n < 100 && !refused; n += 1) {
        const answer = await server.api("POST", "/api/publish", { channel: "full", payload: `${n}${"x".repeat(30_000)}` });
        if (answer.status === 200) acknowledged.push(answer.body.results[0].offset);
        else refused = answer;
      }
      assert.equal(refused?.status, 503, refused?.text);
      const offsets = (await readLog(server, "full")).messages.map(({ offset }) => offset);
      // What was refused may have happened.
      assert.deepEqual(offsets.slice(0, acknowledged.length), acknowledged);
      assert.ok(offsets.length <= acknowledged.length + 1);
      configure("64MB");
      await broker.kill();
      await broker.begin();
      const next = await eventually(async () => {
        const answer = await server.api("POST", "/api/publish", { channel: "full", payload: "small" });
        return answer.status === 200 && answer.body.results[0];
      }, "room", 60_000);
      assert.equal(next.offset, offsets.length + 1);
    } finally {
      await server?.stop();
      await broker.stop();
      rmSync(folder, { recursive: true, force: true });
    }
  });
});

for (const kind of ["redis", "nats"]) {
  describeOn(kind, "a broker that is not there yet", () => {
    test("the process runs, says 503, and heals when it comes; also behind a line that accepts and says nothing", { timeout: 300_000 }, async () => {
      const broker = await Broker.start(kind);
      const cable = await Cable.start(broker.port);
      await broker.kill();
      cable.freeze();
      const servers = await Promise.all([broker.url, cable.through(broker.url)].map((url) => Server.start({ engine: { url } }, { ready: false })));
      try {
        for (const server of servers) await eventually(() => fetch(`${server.origin}/readyz`).then(({ status }) => status === 503, () => false), "/readyz 503", 30_000);
        for (const server of servers) assert.equal((await server.api("POST", "/api/publish", { channel: "a", payload: 1 })).status, 503);
        await broker.begin();
        cable.lose();
        for (const server of servers) await eventually(async () => (await fetch(`${server.origin}/readyz`)).status === 200, "/readyz 200", 60_000);
        assert.equal((await servers[0].publish("a", 1)).offset, 1);
        assert.equal((await servers[1].publish("a", 2)).offset, 2);
      } finally {
        await Promise.all(servers.map((server) => server.stop()));
        await cable.stop();
        await broker.stop();
      }
    });
  });
}
