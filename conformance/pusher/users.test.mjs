// Users: signing in, what is sent to them, who is online, and ending their connections.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, test } from "node:test";

import { Client, closeAll as closeNative } from "../harness/client.mjs";
import { APP, Server } from "../harness/server.mjs";
import { closeAll, connected, event, Raw, sdk, soon, subscribed } from "./harness.mjs";

let server;
let backend;
before(async () => {
  server = await Server.start({});
  backend = sdk(server);
});
after(async () => {
  closeAll();
  closeNative();
  await server.stop();
});

let next = 0;
const fresh = (prefix) => `${prefix}${++next}`;

async function signedIn(id, more = {}, options = {}) {
  const pusher = await connected(server, { ...options, signIn: { id, ...more } });
  const done = event(pusher.connection, "message");
  pusher.signin();
  await soon(new Promise((ok) => {
    const look = (frame) => {
      if (frame.event !== "pusher:signin_success") return;
      pusher.connection.unbind("message", look);
      ok();
    };
    pusher.connection.bind("message", look);
  }), "the sign-in");
  await done;
  return pusher;
}

/** Waits for a watchlist event of this name that names the user. */
const seen = (pusher, name, user) => soon(new Promise((done) => {
  pusher.user.watchlist.bind(name, ({ user_ids: users }) => users.includes(user) && done(users));
}), `${user} ${name}`);

test("a user who signed in gets what is sent to it, on all its connections", async () => {
  const user = fresh("ann");
  const [one, other, stranger] = [await signedIn(user), await signedIn(user), await signedIn(fresh("eve"))];
  stranger.user.bind("note", () => assert.fail("this is not for her"));
  const got = [event(one.user, "note"), event(other.user, "note")];
  assert.equal((await backend.sendToUser(user, "note", { text: "hi" })).status, 200);
  for (const note of await Promise.all(got)) assert.deepEqual(note, { text: "hi" });
  // The same channel as everybody else's API has it.
  const again = event(one.user, "native");
  await server.api("POST", `/api/users/${user}/publish`, { event: "native", payload: [1] });
  assert.deepEqual(await again, [1]);
});

test("a native connection of the user gets it too", async () => {
  const user = fresh("ann");
  const native = await Client.user(server, user);
  await backend.sendToUser(user, "note", { n: 1 });
  const message = await native.message(`#user:${user}`);
  assert.deepEqual([message.event, message.payload], ["note", { n: 1 }]);
});

test("a wrong signature ends the connection with 4009", async () => {
  for (const [auth, data] of [["x:y", '{"id":"ann"}'], [`${APP.key}:${"0".repeat(64)}`, '{"id":"ann"}']]) {
    const raw = await Raw.connect(server);
    raw.send({ event: "pusher:signin", data: { auth, user_data: data } });
    assert.equal((await raw.next("pusher:error")).data.code, 4009);
    assert.equal((await soon(raw.closed, "the close")).code, 4009);
  }
});

test("a user needs an id", async () => {
  const raw = await Raw.connect(server);
  const data = '{"name":"Ann"}';
  const signature = createHmac("sha256", APP.secret).update(`${raw.id}::user::${data}`).digest("hex");
  raw.send({ event: "pusher:signin", data: { auth: `${APP.key}:${signature}`, user_data: data } });
  assert.equal((await soon(raw.closed, "the close")).code, 4009);
});

test("another user's channel is not for the asking", async () => {
  const raw = await Raw.connect(server);
  raw.subscribe("#server-to-user-ann");
  assert.equal((await raw.next("pusher:subscription_error")).data.type, "AuthError");
});

test("a watchlist tells who is online, who comes and who goes", async () => {
  const [ann, bob, cat] = [fresh("ann"), fresh("bob"), fresh("cat")];
  const first = await signedIn(bob);
  const watcher = await connected(server, { signIn: { id: ann, watchlist: [bob, cat] } });
  const state = [seen(watcher, "online", bob), seen(watcher, "offline", cat)];
  watcher.signin();
  assert.deepEqual(await state[0], [bob]);
  assert.deepEqual(await state[1], [cat]);
  const came = seen(watcher, "online", cat);
  const hers = await signedIn(cat);
  await came;
  // The last connection counts.
  const second = await signedIn(bob);
  first.disconnect();
  const gone = seen(watcher, "offline", cat);
  hers.disconnect();
  await gone;
  const left = seen(watcher, "offline", bob);
  second.disconnect();
  await left;
});

test("of a watchlist that is too long the first 100 users are watched, and 4302 is told", async () => {
  const [ann, first, last, beyond] = [fresh("ann"), fresh("first"), fresh("last"), fresh("beyond")];
  const watchlist = [first, ...Array.from({ length: 98 }, () => fresh("zoe")), last, beyond];
  await signedIn(first);
  await signedIn(beyond);
  const watcher = await connected(server, { signIn: { id: ann, watchlist } });
  const state = [seen(watcher, "online", first), seen(watcher, "offline", last), event(watcher.connection, "error")];
  watcher.signin();
  assert.deepEqual(await state[0], [first]);
  const offline = await state[1];
  assert.deepEqual([offline.length, offline.includes(beyond)], [99, false]);
  assert.equal((await state[2]).data.code, 4302);
  const came = seen(watcher, "online", last);
  await signedIn(last);
  await came;
});

test("a signed-in user needs no channel_data in presence channels", async () => {
  const user = fresh("ann");
  const pusher = await signedIn(user, { user_info: { name: "Ann" } });
  const channel = await subscribed(pusher, fresh("presence-"));
  assert.deepEqual(channel.members.me, { id: user, info: { name: "Ann" } });
});

test("what the API subscribed a client to, it can subscribe to itself", async () => {
  const user = fresh("ann");
  const pusher = await signedIn(user);
  const subscribedFor = (channel) => {
    const known = soon(new Promise((done) => pusher.connection.bind("message", (frame) => {
      if (frame.event === "pusher_internal:subscription_succeeded" && frame.channel === channel) done();
    })), `the subscription to ${channel}`);
    return server.api("POST", `/api/users/${user}/subscribe`, { channel }).then(() => known);
  };
  for (const prefix of ["news", "private-", "cache-", "presence-"]) {
    const name = fresh(prefix);
    await backend.trigger(name, "kept", { before: true });
    await subscribedFor(name);
    pusher.connection.bind("error", (error) => assert.fail(JSON.stringify(error)));
    const channel = pusher.subscribe(name);
    const kept = prefix === "cache-" ? event(channel, "kept") : undefined;
    await event(channel, "pusher:subscription_succeeded");
    if (kept) assert.deepEqual(await kept, { before: true });
    if (prefix === "presence-") assert.deepEqual([channel.members.count, channel.members.me.id], [1, user]);
    const heard = event(channel, "note");
    await backend.trigger(name, "note", { n: 1 });
    assert.deepEqual(await heard, { n: 1 });
    pusher.connection.unbind("error");
  }
});

test("terminate_connections ends them all with 4009, whatever they speak", async () => {
  const user = fresh("ann");
  const pusher = await signedIn(user);
  const native = await Client.user(server, user);
  const stranger = await signedIn(fresh("bob"));
  const error = event(pusher.connection, "error");
  const answer = await backend.terminateUserConnections(user);
  assert.deepEqual([answer.status, await answer.json()], [200, {}]);
  assert.equal((await error).data.code, 4009);
  assert.equal((await soon(native.closed, "the native close")).code, 4003);
  assert.equal(stranger.connection.state, "connected");
});

test("API disconnects of a socket_id are 4009", async () => {
  const raw = await Raw.connect(server);
  assert.equal((await server.api("POST", `/api/connections/${raw.id}/disconnect`)).status < 300, true);
  assert.equal((await raw.next("pusher:error")).data.code, 4009);
  assert.equal((await soon(raw.closed, "the close")).code, 4009);
});
