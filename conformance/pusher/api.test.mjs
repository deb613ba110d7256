// The HTTP API: through the official SDK, and signed by hand where the SDK would not do what is tested.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash, createHmac } from "node:crypto";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { after, before, test } from "node:test";

import { APP, Server } from "../harness/server.mjs";
import { closeAll, PusherServer, Raw, sdk } from "./harness.mjs";

const HERE = dirname(fileURLToPath(import.meta.url));
let server;
let backend;
before(async () => {
  server = await Server.start({});
  backend = sdk(server);
});
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (prefix) => `${prefix}${++next}`;
const get = async (path, params) => (await backend.get({ path, params })).json();

/** A request signed by hand; `change` may spoil its parameters before they are signed, `after` when they were. */
async function request(method, path, { body, change = {}, after: spoil = {}, app = APP, secret = app.secret } = {}) {
  const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const params = {
    auth_key: app.key, auth_timestamp: `${Math.floor(Date.now() / 1000)}`, auth_version: "1.0",
    ...(text === undefined ? {} : { body_md5: createHash("md5").update(text).digest("hex") }), ...change,
  };
  for (const [name, value] of Object.entries(params)) if (value === null) delete params[name];
  const signed = Object.keys(params).sort().map((name) => `${name}=${params[name]}`).join("&");
  params.auth_signature = createHmac("sha256", secret).update([method, path, signed].join("\n")).digest("hex");
  Object.assign(params, spoil);
  for (const [name, value] of Object.entries(params)) if (value === null) delete params[name];
  const query = Object.entries(params).map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
  const answer = await fetch(`${server.origin}${path}?${query}`, { method, body: text, headers: text === undefined ? {} : { "content-type": "application/json" } });
  return { status: answer.status, text: await answer.text() };
}
const trigger = (body, options) => request("POST", "/apps/1/events", { body, ...options });
const EVENT = { name: "e", channels: ["c"], data: "{}" };

test("requests that nobody signed are 401, and say why", async () => {
  const now = Math.floor(Date.now() / 1000);
  for (const [options, wording] of [
    [{ secret: "wrong" }, /Invalid signature/], [{ change: { auth_key: "nothing" } }, /auth_key/], [{ change: { auth_version: "2.0" } }, /auth_version/],
    [{ change: { auth_timestamp: `${now - 700}` } }, /Timestamp expired/], [{ change: { auth_timestamp: `${now + 700}` } }, /Timestamp expired/],
    [{ change: { auth_timestamp: "soon" } }, /Timestamp expired/], [{ change: { body_md5: "0".repeat(32) } }, /body_md5/], [{ change: { body_md5: null } }, /body_md5/],
    [{ after: { auth_signature: "00" } }, /Invalid signature/], [{ after: { auth_signature: null } }, /auth_signature/], [{ after: { extra: "1" } }, /Invalid signature/],
  ]) {
    const { status, text } = await trigger(EVENT, options);
    assert.equal(status, 401, JSON.stringify(options));
    assert.match(text, wording);
  }
  assert.equal((await trigger(EVENT, { change: { auth_timestamp: `${now - 590}` } })).status, 200);
});

test("another app, path or method is 404 or 405", async () => {
  assert.equal((await request("POST", "/apps/77/events", { body: EVENT })).status, 404);
  assert.equal((await request("GET", "/apps/1/nothing")).status, 404);
  assert.equal((await request("GET", "/apps/1/events")).status, 405);
});

test("events that are none are 400 and do nothing", async () => {
  const raw = await Raw.connect(server);
  await raw.join("c");
  for (const body of [
    "no json", "[]", "{}", { name: "e", data: "{}" }, { channels: ["c"], data: "{}" }, { name: "e", channels: ["c"] }, { ...EVENT, channels: [] },
    { ...EVENT, channels: Array.from({ length: 101 }, (_, n) => `c${n}`) }, { ...EVENT, channels: ["c", "a b"] }, { ...EVENT, channels: ["c", "x".repeat(201)] },
    { ...EVENT, socket_id: "no socket" }, { ...EVENT, socket_id: "1.2\n:private-x" }, { ...EVENT, name: "x".repeat(201) }, { ...EVENT, name: "pusher:error" },
    { ...EVENT, name: "pusher_internal:x" }, { ...EVENT, info: "nothing" },
  ]) {
    const { status, text } = await trigger(body);
    assert.equal(status, 400, `${JSON.stringify(body).slice(0, 80)}: ${status} ${text}`);
    assert.notEqual(text, "");
  }
  assert.deepEqual(await raw.settled(), []);
});

test("data may have 10 KiB", async () => {
  assert.equal((await trigger({ ...EVENT, data: "x".repeat(10 * 1024) })).status, 200);
  const { status, text } = await trigger({ ...EVENT, data: "x".repeat(10 * 1024 + 1) });
  assert.equal(status, 413);
  assert.match(text, /exceeds the allowed maximum \(10240 bytes\)/);
  assert.equal((await trigger({ ...EVENT, data: "x".repeat(2_000_000) })).status, 413);
});

test("100 channels at once, and info about them", async () => {
  const names = Array.from({ length: 99 }, () => fresh("many-"));
  const presence = fresh("presence-");
  const raw = await Raw.connect(server);
  for (const name of names) raw.subscribe(name);
  await raw.join(presence, { data: { user_id: "ann" } });
  const answer = await backend.trigger([...names, presence], "all", { n: 1 }, { info: "subscription_count" });
  const { channels } = await answer.json();
  assert.equal(Object.keys(channels).length, 100);
  assert.ok(Object.values(channels).every(({ subscription_count: count }) => count === 1));
  for (const name of [...names, presence]) assert.equal((await raw.next("all", name)).data, '{"n":1}');
  const users = await backend.trigger(presence, "x", 1, { info: "user_count,subscription_count" });
  assert.deepEqual(await users.json(), { channels: { [presence]: { user_count: 1, subscription_count: 1 } } });
});

test("info about an event leaves out what a channel does not have", async () => {
  const [name, presence] = [fresh("mixed-"), fresh("presence-")];
  const raw = await Raw.connect(server);
  await raw.join(name);
  await raw.join(presence, { data: { user_id: "ann" } });
  const answer = await backend.trigger([presence, name], "mixed", 1, { info: "user_count,subscription_count" });
  assert.deepEqual((await answer.json()).channels, { [presence]: { user_count: 1, subscription_count: 1 }, [name]: { subscription_count: 1 } });
  await Promise.all([raw.next("mixed", name), raw.next("mixed", presence)]);
  const batch = await backend.triggerBatch([{ channel: name, name: "b", data: 1, info: "user_count" }, { channel: presence, name: "b", data: 1, info: "user_count" }]);
  assert.deepEqual(await batch.json(), { batch: [{}, { user_count: 1 }] });
});

test("a batch has up to 10 events, and all of it or nothing is done", async () => {
  const [one, other] = [fresh("batch-"), fresh("batch-")];
  const raw = await Raw.connect(server);
  await raw.join(one);
  await raw.join(other);
  const batch = Array.from({ length: 10 }, (_, n) => ({ channel: n % 2 ? one : other, name: `n${n}`, data: { n } }));
  assert.deepEqual(await (await backend.triggerBatch(batch.map((entry) => ({ ...entry })))).json(), {});
  for (const { name, channel } of batch) await raw.next(name, channel);
  const info = await backend.triggerBatch([{ channel: one, name: "i", data: 1, info: "subscription_count" }, { channel: other, name: "i", data: 1 }]);
  assert.deepEqual(await info.json(), { batch: [{ subscription_count: 1 }, {}] });
  await Promise.all([raw.next("i", one), raw.next("i", other)]);
  await assert.rejects(backend.triggerBatch([...batch, batch[0]].map((entry) => ({ ...entry }))), { status: 400 });
  await assert.rejects(backend.triggerBatch([{ channel: one, name: "good", data: 1 }, { channel: "a b", name: "bad", data: 1 }]), { status: 400 });
  assert.deepEqual(await raw.settled(), []);
});

test("a repeated request within its time is carried out again, as on the real service", async () => {
  const now = `${Math.floor(Date.now() / 1000)}`;
  for (let n = 0; n < 2; n++) assert.equal((await trigger(EVENT, { change: { auth_timestamp: now } })).status, 200);
});

test("channels are listed by prefix, with the number of their users", async () => {
  const presence = fresh("presence-list-");
  const [one, two] = [await Raw.connect(server), await Raw.connect(server)];
  await one.join(presence, { data: { user_id: "ann" } });
  await two.join(presence, { data: { user_id: "ann" } });
  await two.join(fresh("list-"));
  assert.deepEqual(await get("/channels", { filter_by_prefix: "presence-list-", info: "user_count" }), { channels: { [presence]: { user_count: 1 } } });
  assert.ok(presence in (await get("/channels")).channels);
  assert.deepEqual(await get(`/channels/${presence}`, { info: "user_count,subscription_count" }), { occupied: true, user_count: 1, subscription_count: 2 });
  assert.deepEqual(await get(`/channels/${presence}/users`), { users: [{ id: "ann" }] });
  assert.deepEqual(await get("/channels/nobody-here"), { occupied: false });
  assert.deepEqual(await get("/channels/presence-nobody/users"), { users: [] });
  for (const [path, params] of [["/channels", { info: "user_count" }], ["/channels/news", { info: "user_count" }], ["/channels/news", { info: "cache" }], ["/channels/news/users"], ["/channels/a%20b"]]) {
    await assert.rejects(backend.get({ path, params }), { status: 400 }, path);
  }
});

test("the last event of a cache channel can be asked for", async () => {
  const name = fresh("cache-");
  assert.equal((await get(`/channels/${name}`, { info: "cache" })).cache, null);
  await backend.trigger(name, "e", { n: 1 });
  const { cache } = await get(`/channels/${name}`, { info: "cache" });
  assert.equal(cache.data, '{"n":1}');
  assert.ok(cache.ttl > 0);
  // Bytes are what subscribers get.
  await server.api("POST", "/api/publish", { channel: name, event: "b", payload: "AAH/", encoding: "base64" });
  assert.equal((await get(`/channels/${name}`, { info: "cache" })).cache.data, '"AAH/"');
});

test("a channel without a rule is 403", async () => {
  const closed = await Server.start({ channels: [{ match: "open-*", subscribe: "anyone" }] });
  try {
    await assert.rejects(sdk(closed).trigger("closed", "e", 1), { status: 403 });
    assert.equal((await sdk(closed).trigger("open-1", "e", 1)).status, 200);
    const raw = await Raw.connect(closed);
    raw.subscribe("closed");
    assert.equal((await raw.next("pusher:subscription_error")).data.type, "AuthError");
  } finally {
    await closed.stop();
  }
});

test("the SDK says what was wrong", async () => {
  const wrong = new PusherServer({ appId: "1", key: APP.key, secret: "wrong", host: "127.0.0.1", port: `${server.port}`, useTLS: false });
  await assert.rejects(wrong.trigger("c", "e", 1), (error) => error.status === 401 && /Invalid signature/.test(error.body));
});

/** Runs a program to its end; fails with what it wrote. */
const run = (command, args, options) => new Promise((done, fail) => {
  let output = "";
  const child = spawn(command, args, { ...options, stdio: ["ignore", "pipe", "pipe"] });
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => { output += text; });
  child.once("error", fail);
  child.once("close", (code) => code === 0 ? done(output) : fail(new Error(`exit ${code}:\n${output}`)));
});

test("the remote tests that the npm package ships pass", async () => {
  const require = createRequire(import.meta.url);
  const root = join(dirname(require.resolve("pusher/package.json")));
  const mocha = require.resolve("mocha/bin/mocha.js");
  const env = { ...process.env, PUSHER_URL: `http://${APP.key}:${APP.secret}@127.0.0.1:${server.port}/apps/1` };
  const output = await run(process.execPath, [mocha, "--timeout", "20000", join(root, "tests/remote/**/*.js")], { env, cwd: root });
  assert.match(output, /\d+ passing/);
  assert.doesNotMatch(output, /failing|pending/);
});

test("the Python SDK, and its verification of webhooks", async () => {
  const python = join(HERE, "../.venv/bin/python");
  const output = await run(python, [join(HERE, "python/test_pusher.py")], {
    env: { ...process.env, STARLING_PORT: `${server.port}`, PUSHER_KEY: APP.key, PUSHER_SECRET: APP.secret },
  });
  assert.match(output, /all checks passed/);
});
