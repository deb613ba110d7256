// pusher-js in the channels of Pusher: public, private, presence, encrypted, cache.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Client, closeAll as closeNative, Members } from "../harness/client.mjs";
import { APP, Server, eventually } from "../harness/server.mjs";
import { client, closeAll, connected, event, Raw, sdk, soon, subscribed, told } from "./harness.mjs";

let server;
let backend;
// A rule that keeps nothing: what Pusher's names keep must come by itself.
const BARE = { match: "*", subscribe: "granted", publish: "nobody" };
before(async () => {
  server = await Server.start({ channels: [{ match: "room*", subscribe: "anyone", publish: "anyone" }, BARE], auth: { anonymous: false } });
  backend = sdk(server);
});
after(async () => {
  closeAll();
  closeNative();
  await server.stop();
});

let next = 0;
const fresh = (prefix) => `${prefix}${++next}`;

test("an event reaches the subscribers of a public channel", async () => {
  const name = fresh("news-");
  const channel = await subscribed(await connected(server), name);
  const data = event(channel, "added");
  const answer = await backend.trigger(name, "added", { id: 12345678901234567890n.toString(), text: "über\n\"quoted\"" });
  assert.deepEqual([answer.status, await answer.json()], [200, {}]);
  assert.deepEqual(await data, { id: "12345678901234567890", text: "über\n\"quoted\"" });
});

test("text that is no JSON stays text", async () => {
  const name = fresh("news-");
  const channel = await subscribed(await connected(server), name);
  for (const [sent, expected] of [["just text", "just text"], ["{broken", "{broken"], ["17", 17], ["\"json\"", "json"], ["", ""]]) {
    const data = event(channel, "text");
    await backend.trigger(name, "text", sent);
    assert.deepEqual(await data, expected);
  }
});

test("the connection has a socket_id, and the sender can leave itself out", async () => {
  const name = fresh("news-");
  const [one, other] = await Promise.all([connected(server), connected(server)]);
  assert.match(one.connection.socket_id, /^\d+\.\d+$/);
  const channels = await Promise.all([subscribed(one, name), subscribed(other, name)]);
  const seen = [];
  channels.forEach((channel, index) => channel.bind_global((type, data) => seen.push([index, type, data])));
  await backend.trigger(name, "first", 1, { socket_id: one.connection.socket_id });
  const last = channels.map((channel) => event(channel, "last"));
  await backend.trigger(name, "last", 2);
  await Promise.all(last);
  assert.deepEqual(seen.filter(([, type]) => type === "first"), [[1, "first", 1]]);
});

test("a private channel takes those for whom the secret vouches", async () => {
  const name = fresh("private-");
  const channel = await subscribed(await connected(server), name);
  const data = event(channel, "secret");
  await backend.trigger(name, "secret", { n: 1 });
  assert.deepEqual(await data, { n: 1 });
});

test("a wrong signature is told to the connection and to the channel", async () => {
  const pusher = await connected(server, {
    channelAuthorization: { customHandler: (_, done) => done(null, { auth: `${APP.key}:${"0".repeat(64)}` }) },
  });
  const failure = event(pusher.connection, "error");
  const channel = pusher.subscribe(fresh("private-"));
  const { type, status } = await event(channel, "pusher:subscription_error");
  assert.deepEqual([type, status], ["AuthError", 401]);
  const { data } = await failure;
  assert.equal(data.code, 4009);
  assert.match(data.message, /^Invalid signature: Expected HMAC SHA256 hex digest of /);
  assert.equal(pusher.connection.state, "connected");
});

test("client events reach the others of a private channel, and nobody else", async () => {
  const name = fresh("private-");
  const [one, other] = await Promise.all([connected(server), connected(server)]);
  const mine = await subscribed(one, name);
  const theirs = await subscribed(other, name);
  const echoes = [];
  mine.bind("client-typed", (data) => echoes.push(data));
  const heard = event(theirs, "client-typed");
  assert.ok(mine.trigger("client-typed", { key: "a", deep: [1, { b: null }] }));
  assert.deepEqual(await heard, { key: "a", deep: [1, { b: null }] });
  const back = event(mine, "client-back");
  theirs.trigger("client-back", "x");
  assert.equal(await back, "x");
  assert.deepEqual(echoes, []);
});

test("members of a presence channel know each other", async () => {
  const name = fresh("presence-");
  const ann = await connected(server, { user: "ann", userInfo: { name: "Ann" } });
  const hers = await subscribed(ann, name);
  assert.equal(hers.members.count, 1);
  assert.deepEqual(hers.members.me, { id: "ann", info: { name: "Ann" } });
  const added = event(hers, "pusher:member_added");
  const bob = await connected(server, { user: "bob", userInfo: { name: "Bob" } });
  const his = await subscribed(bob, name);
  assert.deepEqual(await added, { id: "bob", info: { name: "Bob" } });
  assert.deepEqual(his.members.members, { ann: { name: "Ann" }, bob: { name: "Bob" } });

  // A second connection of a user is no second member; the first to go takes nobody away.
  const again = await connected(server, { user: "bob", userInfo: { name: "Bob" } });
  assert.equal((await subscribed(again, name)).members.count, 2);
  const changes = [];
  for (const type of ["pusher:member_added", "pusher:member_removed"]) hers.bind(type, (member) => changes.push([type, member.id]));
  again.disconnect();
  await eventually(async () => (await (await backend.get({ path: `/channels/${name}`, params: { info: "subscription_count" } })).json()).subscription_count === 2);
  const removed = event(hers, "pusher:member_removed");
  bob.disconnect();
  assert.equal((await removed).id, "bob");
  assert.deepEqual(changes, [["pusher:member_removed", "bob"]]);
  assert.equal(hers.members.count, 1);
});

test("a client event in a presence channel names its sender", async () => {
  const name = fresh("presence-");
  const ann = await subscribed(await connected(server, { user: "ann" }), name);
  const bob = await subscribed(await connected(server, { user: "bob" }), name);
  const heard = told(ann, "client-hello");
  bob.trigger("client-hello", { to: "ann" });
  assert.deepEqual(await heard, { data: { to: "ann" }, metadata: { user_id: "bob" } });
});

test("encrypted channels are opaque to the server and clear to the client", async () => {
  const name = fresh("private-encrypted-");
  const witness = await Raw.connect(server);
  await witness.join(name);
  const channel = await subscribed(await connected(server, { encrypted: true }), name);
  const data = event(channel, "secret");
  await backend.trigger(name, "secret", { pin: 1234 });
  assert.equal((await data).pin, 1234);
  const frame = await witness.next("secret");
  assert.deepEqual(Object.keys(JSON.parse(frame.data)).sort(), ["ciphertext", "nonce"]);
});

test("a cache channel gives its last event to whoever subscribes", async () => {
  for (const prefix of ["cache-", "private-cache-", "presence-cache-"]) {
    const name = fresh(prefix);
    const first = await connected(server, { user: "ann" });
    const miss = first.subscribe(name);
    await Promise.all([event(miss, "pusher:cache_miss"), event(miss, "pusher:subscription_succeeded")]);
    await backend.trigger(name, "old", 1);
    await backend.trigger(name, "latest", { n: 2 });
    const second = await connected(server, { user: "bob" });
    const channel = second.subscribe(name);
    const seen = [];
    channel.bind_global((type, data) => seen.push([type, data]));
    assert.deepEqual(await event(channel, "latest"), { n: 2 }, name);
    assert.deepEqual(seen.map(([type]) => type), ["pusher:subscription_succeeded", "latest"], name);
  }
});

test("client events pass through a cache channel, which does not keep them", async () => {
  for (const prefix of ["private-cache-", "presence-cache-"]) {
    const name = fresh(prefix);
    const [one, other] = await Promise.all(["ann", "bob"].map((user) => connected(server, { user })));
    const [mine, theirs] = [await subscribed(one, name), await subscribed(other, name)];
    const say = async (n) => {
      const heard = event(theirs, "client-said");
      mine.trigger("client-said", { n });
      assert.deepEqual(await heard, { n }, name);
    };
    await say(1);
    const late = (await connected(server, { user: "cat" })).subscribe(name);
    await event(late, "pusher:cache_miss");
    await backend.trigger(name, "state", { n: 2 });
    await say(3);
    const later = (await connected(server, { user: "dan" })).subscribe(name);
    assert.deepEqual(await event(later, "state"), { n: 2 }, name);
    const { cache } = await (await backend.get({ path: `/channels/${name}`, params: { info: "cache" } })).json();
    assert.equal(cache.data, '{"n":2}');
    await say(4);
  }
});

test("an encrypted cache channel too", async () => {
  const name = fresh("private-encrypted-cache-");
  await backend.trigger(name, "latest", { n: 2 });
  const channel = (await connected(server, { encrypted: true })).subscribe(name);
  assert.equal((await event(channel, "latest")).n, 2);
});

test("a presence channel with native members is one set on both sides", async () => {
  const name = "room-presence";
  const presence = fresh("presence-room");
  const mixed = await Server.start({ channels: [{ match: "*", subscribe: "anyone", publish: "anyone" }] });
  try {
    const ann = await connected(mixed, { user: "ann", userInfo: { name: "Ann" } });
    const hers = await subscribed(ann, presence);
    const added = event(hers, "pusher:member_added");
    const native = await Client.user(mixed, "nat");
    await native.subscribe(presence, { presence: true, data: { name: "Nat" } });
    assert.deepEqual(await added, { id: "nat", info: { name: "Nat" } }, name);
    const members = await new Members(native, presence).start();
    await members.when((list) => list.length === 2);
    assert.deepEqual([...members.now.values()].map(({ userId, data }) => [userId, data]).sort(), [["ann", { name: "Ann" }], ["nat", { name: "Nat" }]]);
    assert.deepEqual((await (await sdk(mixed).get({ path: `/channels/${presence}/users` })).json()).users, [{ id: "ann" }, { id: "nat" }]);

    // Messages cross over as well, whichever way they are sent.
    const fromNative = told(hers, "message");
    await native.ok({ type: "publish", channel: presence, payload: { big: 1 }, echo: false });
    assert.deepEqual(await fromNative, { data: { big: 1 }, metadata: { user_id: "nat" } });
    hers.trigger("client-wave", { hi: true });
    const message = await native.message(presence);
    assert.deepEqual([message.event, message.payload, message.userId], ["client-wave", { hi: true }, "ann"]);
    const removed = event(hers, "pusher:member_removed");
    native.socket.close();
    assert.equal((await removed).id, "nat");
  } finally {
    await mixed.stop();
  }
});

test("history of the hub stays there for others", async () => {
  const name = fresh("cache-kept");
  const kept = await Server.start({ channels: [{ match: "*", subscribe: "anyone", publish: "anyone", history: { size: 10, ttl: "1h" } }] });
  try {
    for (let n = 1; n <= 3; n++) await sdk(kept).trigger(name, "step", { n });
    const channel = (await connected(kept)).subscribe(name);
    assert.deepEqual(await event(channel, "step"), { n: 3 });
    const native = await Client.user(kept, "nat");
    const { messages } = await native.ok({ type: "history", channel: name });
    assert.deepEqual(messages.map(({ event: type, payload, offset }) => [type, payload.n, offset]), [["step", 1, 1], ["step", 2, 2], ["step", 3, 3]]);
  } finally {
    await kept.stop();
  }
});

test("unsubscribing ends it, and the channel can be had again", async () => {
  const name = fresh("news-");
  const pusher = await connected(server);
  const channel = await subscribed(pusher, name);
  channel.bind("gone", () => assert.fail("it was unsubscribed"));
  pusher.unsubscribe(name);
  await eventually(async () => !(await (await backend.get({ path: `/channels/${name}` })).json()).occupied);
  await backend.trigger(name, "gone", 1);
  const again = await subscribed(pusher, name);
  const data = event(again, "back");
  await backend.trigger(name, "back", 2);
  assert.equal(await data, 2);
});

test("500 clients get every event once and in order", async () => {
  const name = fresh("news-");
  const clients = Array.from({ length: 500 }, () => client(server));
  const counts = clients.map(() => []);
  await soon(Promise.all(clients.map(async (pusher, index) => {
    const channel = pusher.subscribe(name);
    channel.bind("tick", ({ n }) => counts[index].push(n));
    await new Promise((done) => channel.bind("pusher:subscription_succeeded", done));
  })), "500 subscriptions");
  const expected = Array.from({ length: 20 }, (_, n) => n);
  for (const n of expected) await backend.trigger(name, "tick", { n });
  await eventually(() => counts.every((seen) => seen.length >= expected.length), "20 events for each", 30_000);
  for (const seen of counts) assert.deepEqual(seen, expected);
  clients.forEach((pusher) => pusher.disconnect());
});
