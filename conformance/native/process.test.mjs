// The process: command line, start, drain, reload, environment, metrics, health (contract 2, 3, 4, 11).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { APP, binary, DEFAULTS, eventually, freePort, OPEN_RULE, Server } from "../harness/server.mjs";
import { toToml } from "../harness/toml.mjs";

after(closeAll);

async function withServer(config, body, options) {
  const server = await Server.start(config, options);
  try {
    await body(server);
  } finally {
    await server.stop();
  }
}

/** Runs one command to its end. */
function starling(args, { cwd = mkdtempSync(join(tmpdir(), "starling-cli-")), input, env = {} } = {}) {
  const child = spawn(binary(), args, { cwd, env: { ...process.env, NO_COLOR: "1", ...env } });
  const out = { stdout: "", stderr: "", cwd };
  child.stdout.setEncoding("utf8").on("data", (text) => { out.stdout += text; });
  child.stderr.setEncoding("utf8").on("data", (text) => { out.stderr += text; });
  child.stdin.on("error", () => {});
  child.stdin.end(input ?? "");
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  return new Promise((done) => child.once("close", (code) => {
    clearTimeout(timer);
    done({ ...out, code });
  }));
}

describe("drain", () => {
  for (const signal of ["SIGTERM", "SIGINT"]) {
    test(`${signal}: drain, close 1012, exit 0; /readyz is 503 meanwhile`, () => withServer({}, async (server) => {
      const clients = await Promise.all(Array.from({ length: 10 }, () => Client.connect(server)));
      for (const client of clients) await client.subscribe("d");
      server.signal(signal);
      const { reconnectIn } = await clients[0].next({ type: "drain" });
      assert.ok(Number.isInteger(reconnectIn) && reconnectIn >= 0, `${reconnectIn}`);
      const ready = await fetch(`${server.origin}/readyz`).then(({ status }) => status, () => "gone");
      assert.ok([503, "gone"].includes(ready), `/readyz ${ready}`);
      for (const client of clients.slice(1)) await client.next({ type: "drain" });
      for (const client of clients) await client.closes(1012);
      assert.deepEqual(await server.exited, { code: 0, signal: null });
    }));
  }

  test("who reads the log may go away", () => withServer({}, async (server) => {
    const client = await Client.connect(server);
    server.child.stderr.destroy();
    server.signal("SIGHUP");
    server.signal("SIGTERM");
    await client.closes(1012);
    assert.deepEqual(await server.exited, { code: 0, signal: null });
  }));

  test("clients are not all told to come back at the same moment", () => withServer({}, async (server) => {
    const clients = await Promise.all(Array.from({ length: 20 }, () => Client.connect(server)));
    server.signal("SIGTERM");
    const delays = await Promise.all(clients.map(async (client) => (await client.next({ type: "drain" })).reconnectIn));
    assert.ok(new Set(delays).size > 1, delays.join());
  }));

  test("a second signal stops at once", () => withServer({ server: { shutdown_grace: "60s" } }, async (server) => {
    const { RawSocket } = await import("../harness/raw.mjs");
    const raw = await RawSocket.upgrade(server); // never answers a close
    server.signal("SIGTERM");
    await raw.frame();
    server.signal("SIGTERM");
    await server.exited;
    raw.destroy();
  }));

  test("shutdown_grace bounds the wait for clients that do not answer", () => withServer({ server: { shutdown_grace: "1s" } }, async (server) => {
    const { RawSocket } = await import("../harness/raw.mjs");
    const raw = await RawSocket.upgrade(server);
    raw.socket.on("error", () => {});
    server.signal("SIGTERM");
    const started = Date.now();
    assert.equal((await server.exited).code, 0);
    assert.ok(Date.now() - started < 20_000, "20 s after a grace of 1 s");
    raw.destroy();
  }));

  test("what was accepted before is delivered before the close", () => withServer({}, async (server) => {
    const [ann, bob] = [await Client.connect(server), await Client.connect(server)];
    await bob.subscribe("d");
    // Connections are closed one after the other: what ann still publishes when bob was closed is no longer for him.
    const accepted = [];
    let signalled = false;
    const acks = Array.from({ length: 200 }, (_, at) => ann.publish("d", at).then(() => {
      if (!signalled) accepted.push(at);
      if (accepted.length === 50 && !signalled) {
        signalled = true;
        server.signal("SIGTERM");
      }
    }, () => null));
    await bob.closes(1012);
    await ann.closes(1012);
    await Promise.all(acks);
    assert.equal(accepted.length, 50);
    const payloads = new Set(bob.received.filter(({ type }) => type === "message").map(({ payload }) => payload));
    for (const at of accepted) assert.ok(payloads.has(at), `${at} was acknowledged but not delivered`);
  }));
});

describe("reload", () => {
  test("SIGHUP changes rules, limits, apps and origins without dropping a connection", async () => {
    const rule = (match) => ({ ...OPEN_RULE, match });
    const before = { channels: [rule("old:*")], limits: { subscriptions: 1 }, origins: { allow: ["https://one.example"] } };
    await withServer(before, async (server) => {
      const client = await Client.user(server, "ann");
      await client.subscribe("old:1");
      await client.fails({ type: "publish", channel: "new:1", payload: 1 }, "FORBIDDEN");
      const second = { id: "2", key: "key-two", secret: "secret-of-app-two-0123456789abcdef" };
      server.configure({ channels: [rule("old:*"), rule("new:*")], limits: { subscriptions: 5 }, origins: { allow: ["https://two.example"] }, apps: [APP, second] });
      server.signal("SIGHUP");
      await eventually(async () => (await client.request({ type: "publish", channel: "new:1", payload: 1 })).type === "ack", "the new rule");
      await client.subscribe("new:1");
      await client.subscribe("new:2");
      await Client.connect(server, { user: "bob", claims: { app: "1" }, origin: "https://two.example" });
      await Client.refused(server, 403, { user: "bob", claims: { app: "1" }, origin: "https://one.example" });
      assert.equal((await server.api("GET", "/api/channels", undefined, { app: second })).status, 200);
      await server.publish("old:1", "still here");
      assert.equal((await client.message("old:1")).payload, "still here");
    });
  });

  test("a broken configuration is reported and the old one stays", () => withServer({}, async (server) => {
    const client = await Client.connect(server);
    writeFileSync(server.configFile, "[server\nnonsense");
    const length = server.log.length;
    server.signal("SIGHUP");
    await eventually(() => server.log.length > length, "a log line about it");
    await client.subscribe("x");
    await (await Client.connect(server)).settled();
  }));
});

describe("configuration", () => {
  const check = async (text, more = {}) => {
    const cwd = mkdtempSync(join(tmpdir(), "starling-check-"));
    writeFileSync(join(cwd, "starling.toml"), text);
    return starling(["check"], { cwd, ...more });
  };
  const good = toToml(DEFAULTS);

  test("the environment overrides every key", () => withServer({}, async (server) => {
    const client = await Client.connect(server);
    await client.subscribe("a");
    await client.fails({ type: "subscribe", channel: "b" }, "LIMIT_EXCEEDED");
    await Client.connect(server, { origin: "https://env.example" });
    await Client.refused(server, 403, { origin: "https://other.example" });
  }, { env: { STARLING__LIMITS__SUBSCRIPTIONS: "1", STARLING__ORIGINS__ALLOW: '["https://env.example"]' } }));

  test("check: a good one exits 0", async () => {
    const { code, stderr, stdout } = await check(good);
    assert.equal(code, 0, stderr + stdout);
  });

  for (const [name, text, ...words] of [
    ["an unknown key", `${good}\n[heartbeat]\ninterwal = "5s"\n`, "interwal", "starling.toml"],
    ["an unknown section", `${good}\n[sever]\n`, "sever"],
    ["a wrong type", `${good}\n[heartbeat]\ninterval = true\n`, "interval"],
    ["a bad duration", `${good}\n[heartbeat]\ninterval = "5 parsecs"\n`, "interval"],
    ["a value that is none of the accepted", good.replace('subscribe = "anyone"', 'subscribe = "everybody"'), "everybody", "authenticated"],
    ["not TOML", `${good}\n[[[`, "starling.toml"],
  ]) {
    test(`check: ${name} exits 2 and is named`, async () => {
      const { code, stderr, stdout } = await check(text);
      assert.equal(code, 2);
      for (const word of words) assert.ok((stderr + stdout).includes(word), `"${word}" in: ${stderr}${stdout}`);
    });
  }

  test("serve refuses the same, with exit code 2", async () => {
    const cwd = mkdtempSync(join(tmpdir(), "starling-serve-"));
    writeFileSync(join(cwd, "starling.toml"), `${good}\n[sever]\n`);
    assert.equal((await starling(["serve"], { cwd })).code, 2);
  });

  test("an engine that can never work: exit 2 with its name", async () => {
    const { code, stderr, stdout } = await starling(["serve", "--dev", "--listen", `127.0.0.1:${await freePort()}`, "--engine", "nonsense://x"]);
    assert.equal(code, 2);
    assert.match(stderr + stdout, /nonsense/);
  });
});

describe("command line", () => {
  test("serve with neither file nor --dev: exit 2, and says to run init", async () => {
    const { code, stderr, stdout } = await starling(["serve"]);
    assert.equal(code, 2);
    assert.match(stderr + stdout, /starling init/);
  });

  test("init writes a configuration that check accepts, with secrets of its own, and never overwrites", async () => {
    const first = await starling(["init"]);
    assert.equal(first.code, 0, first.stderr);
    const file = join(first.cwd, "starling.toml");
    const text = readFileSync(file, "utf8");
    assert.match(text, /^#/m);
    assert.equal((await starling(["check"], { cwd: first.cwd })).code, 0);
    assert.notEqual((await starling(["init"], { cwd: first.cwd })).code, 0);
    assert.equal(readFileSync(file, "utf8"), text);
    const other = readFileSync(join((await starling(["init"])).cwd, "starling.toml"), "utf8");
    const secret = (of) => of.match(/^secret = "(.*)"/m)[1];
    assert.notEqual(secret(text), secret(other));
    assert.ok(secret(text).length >= 32);
  });

  test("--dev: ready, open, with presence and history; a warning and the URLs are printed", () => withServer({}, async (server) => {
    await eventually(() => server.log.includes(`127.0.0.1:${server.port}`) && /production/i.test(server.log), "the warning and the URLs");
    const client = await Client.connect(server, { origin: "https://any.example" });
    const ack = await client.subscribe("anything", { presence: true, data: { name: "me" } });
    assert.equal(ack.offset, 0);
    const dev = { id: "1", key: "dev-key", secret: "dev-secret" };
    await server.publish("anything", 1, {}, { app: dev });
    await client.message("anything");
    const page = await fetch(`${server.origin}/`, { headers: { accept: "text/html" } });
    assert.equal(page.status, 200);
    assert.match(page.headers.get("content-type"), /text\/html/);
    assert.match(page.headers.get("content-security-policy") ?? "", /default-src 'self'/);
  }, { args: ["--dev"] }));

  test("without --dev there is no page", () => withServer({}, async (server) => {
    assert.equal((await fetch(`${server.origin}/`)).status, 404);
  }));

  test("token, publish, subscribe", () => withServer({ auth: { anonymous: false } }, async (server) => {
    const minted = await starling(["token", "--user", "cli", "--ttl", "10m", "--subscribe", "a*", "--info", '{"name":"Cli"}', "--secret", APP.secret]);
    assert.equal(minted.code, 0, minted.stderr);
    const token = minted.stdout.trim();
    const claims = JSON.parse(Buffer.from(token.split(".")[1], "base64url"));
    assert.deepEqual([claims.sub, claims.subscribe, claims.info], ["cli", ["a*"], { name: "Cli" }]);
    assert.ok(Math.abs(claims.exp - Date.now() / 1000 - 600) < 30);

    const url = ["--url", server.origin];
    const credentials = [...url, "--key", APP.key, "--secret", APP.secret];
    const subscriber = spawn(binary(), ["subscribe", "cli:1", "cli:2", ...url, "--token", token], { stdio: ["ignore", "pipe", "pipe"] });
    let printed = "";
    subscriber.stdout.setEncoding("utf8").on("data", (text) => { printed += text; });
    try {
      await eventually(async () => (await server.api("GET", "/api/channels?prefix=cli:")).body.channels.length === 2, "the subscriptions");
      const sent = await starling(["publish", "cli:1", '{"n":9007199254740993}', "--event", "e", ...credentials]);
      assert.equal(sent.code, 0, sent.stderr);
      const lines = await starling(["publish", "cli:2", "-", ...credentials], { input: '1\n"two"\n{"three":3}\n' });
      assert.equal(lines.code, 0, lines.stderr);
      await eventually(() => printed.split("\n").length > 4, "four lines");
      const got = printed.trim().split("\n");
      assert.match(got[0], /9007199254740993/);
      assert.deepEqual(got.map((line) => JSON.parse(line)).map(({ channel, event }) => [channel, event]),
        [["cli:1", "e"], ["cli:2", "message"], ["cli:2", "message"], ["cli:2", "message"]]);
      assert.deepEqual(got.slice(1).map((line) => JSON.parse(line).payload), [1, "two", { three: 3 }]);
    } finally {
      subscriber.kill("SIGKILL");
    }
    const position = await server.publish("since", 1);
    await server.publish("since", 2);
    const since = spawn(binary(), ["subscribe", "since", ...url, "--token", token, "--since", `${position.epoch}:1`], { stdio: ["ignore", "pipe", "ignore"] });
    try {
      const first = await new Promise((done) => since.stdout.once("data", done));
      assert.equal(JSON.parse(first.toString().split("\n")[0]).payload, 2);
    } finally {
      since.kill("SIGKILL");
    }
    assert.equal((await starling(["publish", "x", "not json", ...credentials])).code, 2);
    assert.equal((await starling(["publish", "x", "1", ...url, "--key", APP.key, "--secret", "wrong"])).code, 1);
    assert.equal((await starling(["subscribe", "#reserved", ...url, "--token", token])).code, 1);
  }));

  test("wrong usage exits 2; every command has help", async () => {
    assert.equal((await starling(["nonsense"])).code, 2);
    assert.equal((await starling(["serve", "--nonsense"])).code, 2);
    for (const command of ["serve", "init", "check", "token", "publish", "subscribe"]) {
      const { code, stdout } = await starling([command, "--help"]);
      assert.equal(code, 0, command);
      assert.ok(stdout.length > 100, command);
    }
    assert.match((await starling(["--version"])).stdout, /^starling \d/);
  });
});

describe("health and metrics", () => {
  test("/healthz and /readyz are 200; unknown paths 404", () => withServer({}, async (server) => {
    assert.equal((await fetch(`${server.origin}/healthz`)).status, 200);
    assert.equal((await fetch(`${server.origin}/readyz`)).status, 200);
    assert.equal((await fetch(`${server.origin}/nothing`)).status, 404);
  }));

  test("/metrics wants the app's credentials on the main listener", () => withServer({}, async (server) => {
    assert.equal((await fetch(`${server.origin}/metrics`)).status, 401);
    assert.equal((await server.api("GET", "/metrics")).status, 200);
  }));

  test("admin_listen serves them without", async () => {
    const port = await freePort();
    await withServer({ server: { admin_listen: `127.0.0.1:${port}` } }, async () => {
      const answer = await fetch(`http://127.0.0.1:${port}/metrics`);
      assert.equal(answer.status, 200);
      assert.match(await answer.text(), /starling_connections/);
    });
  });

  test("every metric has its name, and they count", () => withServer({ limits: { messages_per_second: 50, burst: 50, strikes: 100_000 } }, async (server) => {
    const [ann, bob] = [await Client.user(server, "ann"), await Client.connect(server)];
    await ann.subscribe("m");
    const { epoch } = await bob.subscribe("m");
    await bob.subscribe("n");
    await ann.publish("m", 1);
    await server.publish("m", 2);
    await bob.message("m");
    await bob.message("m");
    const late = await Client.connect(server);
    await late.subscribe("m", { recover: { epoch, offset: 0 } });
    await (await Client.connect(server)).subscribe("m", { recover: { epoch: "x", offset: 0 } });
    for (let at = 0; at < 200; at++) late.send({ type: "publish", channel: "z", payload: 1 });
    await late.next({ type: "error", code: "RATE_LIMITED" });
    await server.api("POST", "/api/users/ann/disconnect");
    await ann.closes(4003);

    const one = { app: "1" };
    await eventually(async () => (await server.metric("starling_connections", { ...one, protocol: "native" })) === 3, "three connections");
    assert.equal(await server.metric("starling_channels", one), 2);
    await eventually(async () => await server.metric("starling_members", one) === 4, "four members");
    assert.ok(await server.metric("starling_messages_published_total", one) >= 2);
    assert.ok(await server.metric("starling_messages_delivered_total", { ...one, protocol: "native" }) >= 4);
    assert.ok(await server.metric("starling_rate_limited_total", one) > 0);
    assert.ok(await server.metric("starling_connections_closed_total", one) >= 1);
    assert.ok(await server.metric("starling_recoveries_total", one) >= 2);
    assert.equal(await server.metric("starling_engine_up"), 1);
    const text = await server.metrics();
    for (const name of ["starling_connections", "starling_channels", "starling_members", "starling_messages_published", "starling_messages_delivered", "starling_messages_dropped",
      "starling_messages_conflated", "starling_rate_limited", "starling_connections_closed", "starling_recoveries", "starling_hook_seconds", "starling_webhook_events", "starling_engine_up",
      "starling_engine_publish_seconds", "process_"]) {
      assert.ok(text.includes(name), `${name} is missing`);
    }
    const sources = [...text.matchAll(/^starling_messages_published_total\{[^}]*source="([^"]+)"/gm)].map(([, source]) => source);
    assert.ok(new Set(sources).size >= 2, `sources: ${sources}`);
    for (const line of text.split("\n").filter((of) => of && !of.startsWith("#"))) {
      assert.match(line, /^[a-zA-Z_:][\w:]*(\{([a-zA-Z_]\w*="([^"\\]|\\.)*",?)*\})? (\+?Inf|-?[\d.eE+-]+|NaN)( \S+)?$/, "Prometheus text");
    }
  }));

  test("the log of a server that is not on a terminal is JSON, and names no token", () => withServer({}, async (server) => {
    const token = mint({ sub: "log" });
    await Client.user(server, "log", { token });
    await eventually(() => server.log.includes("\n"), "a log line");
    const lines = server.log.slice(0, server.log.lastIndexOf("\n")).split("\n").filter(Boolean);
    for (const line of lines) assert.doesNotThrow(() => JSON.parse(line), line);
    assert.ok(!server.log.includes(token.slice(-20)));
  }));
});
