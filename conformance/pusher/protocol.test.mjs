// The protocol frame by frame: what is said in which words, and what becomes of clients that do not keep to it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Backend } from "../harness/backend.mjs";
import { APP, Server, eventually } from "../harness/server.mjs";
import { closeAll, connected, event, Raw, sdk, soon, subscribed } from "./harness.mjs";

let server;
before(async () => {
  server = await Server.start({ limits: {}, auth: { anonymous: false }, heartbeat: { interval: "30s", timeout: "10s" } });
});
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (prefix) => `${prefix}${++next}`;
const using = async (config, run) => {
  const other = await Server.start(config);
  try {
    return await run(other);
  } finally {
    await other.stop();
  }
};

test("the first frame says who the client is, and when to ping", async () => {
  const raw = await Raw.connect(server);
  assert.match(raw.id, /^\d+\.\d+$/);
  assert.deepEqual(Object.keys(raw.hello).sort(), ["activity_timeout", "socket_id"]);
  assert.equal(raw.hello.activity_timeout, 30);
});

test("data is a string of JSON text", async () => {
  const raw = await Raw.connect(server);
  const name = fresh("news-");
  raw.subscribe(name);
  assert.deepEqual(await raw.next("pusher_internal:subscription_succeeded"), { event: "pusher_internal:subscription_succeeded", data: "{}", channel: name });
  raw.send({ event: "pusher:ping", data: {} });
  assert.deepEqual(await raw.next("pusher:pong"), { event: "pusher:pong", data: "{}" });
  await server.publish(name, { n: 1, digits: 1.5 }, { event: "it" });
  assert.deepEqual(await raw.next("it"), { event: "it", data: '{"n":1,"digits":1.5}', channel: name });
  await server.publish(name, "text", { event: "it" });
  assert.equal((await raw.next("it")).data, '"text"');
  await server.publish(name, "AQID", { event: "bytes", encoding: "base64" });
  assert.equal((await raw.next("bytes")).data, '"AQID"');
});

test("a presence channel lists everyone", async () => {
  const raw = await Raw.connect(server);
  const name = fresh("presence-");
  const { data } = await raw.join(name, { data: { user_id: 7, user_info: { name: "Ann" } } });
  assert.deepEqual(JSON.parse(data), { presence: { count: 1, ids: ["7"], hash: { 7: { name: "Ann" } } } });
  const other = await Raw.connect(server);
  await other.join(name, { data: { user_id: "bob", user_info: "just text" } });
  assert.deepEqual(JSON.parse((await raw.next("pusher_internal:member_added")).data), { user_id: "bob", user_info: "just text" });
  other.socket.close();
  assert.deepEqual(JSON.parse((await raw.next("pusher_internal:member_removed")).data), { user_id: "bob" });
});

test("an unknown key is 4001, and the client stays away", async () => {
  const raw = await Raw.connect(server, { key: "nothing", established: false });
  const { data } = await raw.next("pusher:error");
  assert.equal(data.code, 4001);
  assert.equal((await soon(raw.closed, "the close")).code, 4001);
});

test("versions that are not spoken are 4007, what is none is 4006, another path 4005", async () => {
  for (const [version, code] of [["1", 4007], ["4", 4007], ["8", 4007], ["x", 4006]]) {
    const raw = await Raw.connect(server, { query: `?protocol=${version}`, established: false });
    assert.equal((await raw.next("pusher:error")).data.code, code, version);
    assert.equal((await soon(raw.closed, "the close")).code, code, version);
  }
  const lost = await Raw.connect(server, { key: `${APP.key}/more`, established: false });
  assert.equal((await soon(lost.closed, "the close")).code, 4005);
  for (const query of ["?protocol=5", "?protocol=6", "?protocol=7", ""]) await Raw.connect(server, { query });
});

test("what is no event, or none of the protocol's, is answered with an error", async () => {
  const raw = await Raw.connect(server);
  const frames = [
    "not json", "[]", "{}", '{"event":1}', { event: "pusher:subscribe" }, { event: "pusher:subscribe", data: {} },
    { event: "pusher:unsubscribe", data: 7 }, { event: "pusher:signin", data: { auth: "x" } }, { event: "pusher:nothing", data: {} },
    { event: "message", channel: "x", data: {} }, { event: "client-x", data: {} },
  ];
  for (const frame of frames) {
    raw.send(frame);
    const error = await raw.next("pusher:error");
    assert.equal(typeof error.data.message, "string", JSON.stringify(frame));
  }
  raw.socket.send(Buffer.from("{}"));
  await raw.next("pusher:error");
  assert.deepEqual(await raw.settled(), []);
});

test("names with other characters, or too long, are refused", async () => {
  const raw = await Raw.connect(server);
  for (const name of ["", "a b", "room:1", "#x", "日本", "a/b", "x".repeat(201)]) {
    raw.subscribe(name);
    assert.equal((await raw.next("pusher:subscription_error")).channel, name);
    await raw.next("pusher:error");
  }
  await raw.join("x".repeat(200));
});

test("signatures must fit socket, channel and data", async () => {
  const raw = await Raw.connect(server);
  const [one, other] = [fresh("private-"), fresh("presence-")];
  const data = JSON.stringify({ user_id: "ann" });
  for (const [name, options] of [
    [one, { auth: "" }], [one, { auth: "nonsense" }], [one, { auth: `other-key:${"0".repeat(64)}` }], [one, { auth: `${APP.key}:00` }],
    [one, { auth: raw.sign(other) }], [other, { data, auth: raw.sign(other) }], [other, { auth: raw.sign(other) }],
    [other, { data: "{}", auth: raw.sign(other, "{}") }], [other, { data: "no json", auth: raw.sign(other, "no json") }],
    [other, { data: JSON.stringify({ user_id: "x".repeat(129) }) }],
  ]) {
    raw.subscribe(name, options);
    const failure = await raw.next("pusher:subscription_error", name);
    assert.deepEqual([failure.data.type, failure.data.status], ["AuthError", 401], JSON.stringify(options));
    assert.equal((await raw.next("pusher:error")).data.code, 4009);
  }
  await raw.join(one);
  await raw.join(other, { data });
});

test("subscribing twice is an error, and changes nothing", async () => {
  const raw = await Raw.connect(server);
  for (const [name, options] of [[fresh("news-"), {}], [fresh("presence-"), { data: { user_id: "ann" } }]]) {
    await raw.join(name, options);
    raw.subscribe(name, options);
    assert.match((await raw.next("pusher:error")).data.message, /^Existing subscription to channel /);
    await server.publish(name, 1, { event: "once" });
    await raw.next("once");
    assert.deepEqual((await raw.settled()).filter(({ event: type }) => type === "once"), []);
  }
});

test("1000 subscriptions at once, with the usual limits, and not one more", async () => {
  await using({ limits: { messages_per_second: 100, burst: 200 } }, async (limited) => {
    const raw = await Raw.connect(limited);
    const names = Array.from({ length: 1000 }, (_, n) => `many-${n}`);
    names.forEach((name) => raw.subscribe(name));
    await eventually(() => raw.frames.filter(({ event: type }) => type === "pusher_internal:subscription_succeeded").length === 1000);
    raw.subscribe("many-too");
    assert.equal((await raw.next("pusher:subscription_error")).channel, "many-too");
    raw.frames.length = 0;
    await limited.publish(names[999], "last", { event: "it" });
    await raw.next("it", names[999]);
  });
});

test("client events without permission are refused with 4301", async () => {
  const raw = await Raw.connect(server);
  const [open, secret] = [fresh("news-"), fresh("private-")];
  await raw.join(open);
  const encrypted = fresh("private-encrypted-");
  await raw.join(encrypted);
  for (const [channel, type, data] of [
    [open, "client-x", {}], [secret, "client-x", {}], [encrypted, "client-x", {}], [fresh("presence-"), "client-x", {}],
    [secret, `client-${"x".repeat(200)}`, {}], [secret, "client-x", "x".repeat(10 * 1024 + 1)],
  ]) {
    raw.send({ event: type, channel, data });
    assert.equal((await raw.next("pusher:error")).data.code, 4301, `${channel} ${type}`);
  }
  assert.deepEqual(await raw.settled(), []);
});

test("too many client events are refused with 4301, and the connection is kept", async () => {
  await using({ limits: { messages_per_second: 10, burst: 10 } }, async (limited) => {
    const [raw, witness] = [await Raw.connect(limited), await Raw.connect(limited)];
    await raw.join("private-flood");
    await witness.join("private-flood");
    for (let n = 0; n < 300; n++) raw.send({ event: "client-n", channel: "private-flood", data: { n } });
    await eventually(() => raw.frames.filter(({ event: type }) => type === "pusher:error").length >= 200);
    assert.ok(raw.frames.every(({ data, channel }) => data.code === 4301 && channel === "private-flood"));
    assert.equal(raw.end, undefined);
    await eventually(() => witness.frames.length >= 10, "what was let through");
    const seen = witness.frames.map(({ data }) => JSON.parse(data).n);
    assert.deepEqual(seen.slice(0, 10), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    await eventually(async () => {
      raw.send({ event: "client-after", channel: "private-flood", data: {} });
      return witness.frames.some(({ event: type }) => type === "client-after");
    });
  });
});

test("an app's own limits hold", async () => {
  const pusher = { client_events: false, max_connections: 2, max_payload: "100", max_channel_name_length: 20, max_presence_members: 1 };
  await using({ apps: [{ ...APP, pusher }] }, async (limited) => {
    const [one, two] = [await Raw.connect(limited), await Raw.connect(limited)];
    const third = await Raw.connect(limited, { established: false });
    assert.equal((await third.next("pusher:error")).data.code, 4004);
    assert.equal((await soon(third.closed, "the close")).code, 4004);
    await one.join("presence-a", { data: { user_id: "ann" } });
    two.subscribe("presence-a", { data: { user_id: "bob" } });
    assert.equal((await two.next("pusher:subscription_error")).data.type, "LimitReached");
    await two.next("pusher:error");
    await two.join("presence-a", { data: { user_id: "ann" } });
    one.send({ event: "client-x", channel: "presence-a", data: {} });
    assert.equal((await one.next("pusher:error")).data.code, 4301);
    one.subscribe("x".repeat(21));
    await one.next("pusher:subscription_error");
    await assert.rejects(sdk(limited).trigger("news", "x", "x".repeat(101)), { status: 413 });
    await sdk(limited).trigger("news", "x", "x".repeat(100));
  });
  await using({ apps: [{ ...APP, pusher: { max_client_events_per_second: 5, max_events_per_second: 3 } }] }, async (limited) => {
    const raw = await Raw.connect(limited);
    await raw.join("private-a");
    for (let n = 0; n < 50; n++) raw.send({ event: "client-n", channel: "private-a", data: n });
    assert.equal((await raw.next("pusher:error")).data.code, 4301);
    await assert.rejects(sdk(limited).trigger(["a", "b", "c", "d"], "x", 1), { status: 429 });
  });
});

test("several apps do not see each other", async () => {
  const second = { id: "2", key: "key-two", secret: "secret-of-app-two-0123456789abcdef" };
  await using({ apps: [APP, second] }, async (both) => {
    const [one, two] = [await Raw.connect(both), await Raw.connect(both, { key: second.key })];
    await one.join("same");
    await two.join("same");
    two.subscribe("private-a", { auth: two.sign("private-a", undefined, APP) });
    await two.next("pusher:subscription_error");
    await sdk(both).trigger("same", "first", 1);
    await sdk(both, { app: second }).trigger("same", "second", 2);
    await two.next("second");
    await one.next("first");
    assert.deepEqual([(await one.settled()).length, (await two.settled()).filter(({ event: type }) => type === "first").length], [0, 0]);
  });
});

test("members are told how many they are, where the app wants it", async () => {
  await using({ apps: [{ ...APP, pusher: { enable_subscription_count: true } }] }, async (counting) => {
    const one = await connected(counting);
    const channel = await subscribed(one, "news");
    const counts = [];
    channel.bind("pusher:subscription_count", ({ subscription_count: count }) => counts.push(count));
    const two = await connected(counting);
    await subscribed(two, "news");
    await eventually(() => counts.at(-1) === 2);
    two.disconnect();
    await eventually(() => counts.at(-1) === 1);
    assert.equal(channel.subscriptionCount, 1);
    const { channels } = await (await sdk(counting).get({ path: "/channels", params: { info: "subscription_count" } })).json();
    assert.deepEqual(channels, { news: { subscription_count: 1 } });
  });
});

test("a client whose subscription was refused is not told how many members there are", async () => {
  const hook = await Backend.start();
  const apps = [{ ...APP, pusher: { enable_subscription_count: true } }];
  await using({ apps, hooks: { url: hook.hooks } }, async (counting) => {
    const refused = await Raw.connect(counting);
    hook.answer = ({ type, channel, connectionId }) => (
      type === "subscribe" && channel === "news" && connectionId === refused.id ? { reject: { code: "NO", message: "no" } } : {}
    );
    refused.subscribe("news");
    await refused.next("pusher:subscription_error", "news");
    const member = await Raw.connect(counting);
    await member.join("news");
    const { data } = await member.next("pusher_internal:subscription_count", "news");
    assert.deepEqual(JSON.parse(data), { subscription_count: 1 });
    // What is told of another channel afterwards comes behind it.
    await refused.join("other");
    await refused.next("pusher_internal:subscription_count", "other");
    assert.deepEqual(refused.frames.filter(({ event: type }) => type.endsWith("subscription_count")), []);
  }).finally(() => hook.stop());
});

test("an open connection goes by what a reload changes of its app", async () => {
  await using({}, async (reloaded) => {
    const raw = await Raw.connect(reloaded);
    await raw.join("private-before");
    const renewed = { ...APP, secret: "another-secret-of-app-one-0123456789", pusher: { client_events: false } };
    reloaded.configure({ apps: [renewed] });
    reloaded.signal("SIGHUP");
    const trigger = () => sdk(reloaded, { app: renewed }).trigger("private-before", "x", 1);
    await eventually(() => trigger().then(() => true, () => false), "the new secret");
    await raw.next("x");
    raw.subscribe("private-after");
    await raw.next("pusher:subscription_error", "private-after");
    await raw.join("private-after", { auth: raw.sign("private-after", undefined, renewed) });
    raw.send({ event: "client-x", channel: "private-before", data: 1 });
    const { data } = await raw.next("pusher:error", "private-before");
    assert.equal(data.code, 4301);
  });
});

test("the server pings a silent client, and closes with 4201 when it does not answer", async () => {
  await using({ heartbeat: { interval: "1s", timeout: "3s" } }, async (quick) => {
    const raw = await Raw.connect(quick);
    assert.equal(raw.hello.activity_timeout, 1);
    assert.deepEqual(await raw.next("pusher:ping"), { event: "pusher:ping", data: "{}" });
    raw.send({ event: "pusher:pong", data: {} });
    await raw.next("pusher:ping");
    assert.equal((await raw.next("pusher:error")).data.code, 4201);
    assert.equal((await soon(raw.closed, "the close")).code, 4201);
  });
});

test("pusher-js comes back after a restart, with its channels", async () => {
  const first = await Server.start({});
  const pusher = await connected(first, { user: "ann", activityTimeout: 5000, pongTimeout: 2000 });
  const channel = await subscribed(pusher, "presence-a");
  const error = event(pusher.connection, "error");
  const again = event(channel, "pusher:subscription_succeeded");
  const gone = event(pusher.connection, "state_change");
  first.signal("SIGTERM");
  assert.equal((await error).data.code, 4200);
  await gone;
  await first.exited;
  // The same address again.
  const second = await Server.start({}, { args: ["--config", first.configFile, "--listen", `127.0.0.1:${first.port}`], ready: false });
  try {
    await again;
    assert.equal(channel.members.count, 1);
    const data = event(channel, "back");
    await sdk(first).trigger("presence-a", "back", { n: 1 });
    assert.deepEqual(await data, { n: 1 });
  } finally {
    pusher.disconnect();
    await second.stop();
    await first.stop();
  }
});

test("a client that does not read is closed with 4100", async () => {
  await using({ backpressure: { high_water: "4KiB", queue_messages: 5, queue_bytes: "16KiB" } }, async (tight) => {
    const raw = await Raw.connect(tight);
    await raw.join("news");
    raw.socket._socket.pause();
    const text = "x".repeat(60_000);
    for (let n = 0; n < 300; n++) await tight.publish("news", text, { event: "big" });
    await eventually(async () => (await tight.metric("starling_connections_closed_total", { reason: "slow_consumer" })) > 0);
    raw.socket._socket.resume();
    const { code } = await soon(raw.closed, "the close");
    assert.ok([4100, 1006].includes(code), `${code}`);
  });
});
