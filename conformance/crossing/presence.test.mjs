// One presence channel with members of four protocols: the same set, seen from every side, and from the HTTP API.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { Client, closeAll as closeNative } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { Server, eventually } from "../harness/server.mjs";
import { connect as connectPhoenix, disconnectAll, ok } from "../phoenix/client.mjs";
import { closeAll as closePusher, connected as connectPusher, subscribed } from "../pusher/harness.mjs";
import { arrives, ask, closeAll as closeSocketIo, connect as connectSocketIo } from "../socketio/socket.mjs";

let server;
before(async () => { server = await Server.start(); });
after(async () => {
  disconnectAll();
  closeSocketIo();
  closePusher();
  closeNative();
  await server.stop();
});

const CHANNEL = "presence-crossing";
const token = (sub, info) => mint({ sub, info });

/** What native and Socket.IO clients are told of presence, put together. */
class Present {
  #of = new Map();

  state({ members }) {
    this.#of = new Map(members.map(({ connectionId, userId }) => [connectionId, userId]));
  }

  diff({ joins, leaves }) {
    for (const { connectionId } of leaves) this.#of.delete(connectionId);
    for (const { connectionId, userId } of joins) this.#of.set(connectionId, userId);
  }

  users() {
    return [...this.#of.values()];
  }
}

/** Each gives `{ users(), leave() }`: who is there as far as this client knows, sorted, and how it goes. */
const SIDES = {
  async native(user) {
    const client = await Client.connect(server, { user });
    const present = new Present();
    client.socket.on("message", (data) => {
      const message = JSON.parse(data.toString());
      if (message.type === "presence_state") present.state(message);
      if (message.type === "presence_diff") present.diff(message);
    });
    await client.subscribe(CHANNEL, { presence: true, data: { on: "native" } });
    return { users: () => present.users(), leave: () => client.socket.close(1000) };
  },
  async socketIo(user) {
    const socket = connectSocketIo(server, { auth: { token: token(user) } });
    const present = new Present();
    socket.on("presence_state", (state) => present.state(state));
    socket.on("presence_diff", (diff) => present.diff(diff));
    await arrives(socket, "connect");
    assert.equal((await ask(socket, "subscribe", CHANNEL, { presence: true, data: { on: "socketio" } })).ok, true);
    return { users: () => present.users(), leave: () => socket.disconnect() };
  },
  async phoenix(user) {
    const socket = connectPhoenix(server, { user, claims: { info: { on: "phoenix" } } });
    const channel = socket.channel(CHANNEL);
    const presence = new socket.lib.Presence(channel);
    await ok(channel.join());
    return {
      users: () => Object.entries(presence.state).flatMap(([key, { metas }]) => metas.map(() => key)),
      leave: () => channel.leave(),
    };
  },
  async pusher(user) {
    const pusher = await connectPusher(server, { user, userInfo: { on: "pusher" } });
    const channel = await subscribed(pusher, CHANNEL);
    const log = [];
    channel.bind("pusher:member_added", ({ id }) => log.push(`+${id}`));
    channel.bind("pusher:member_removed", ({ id }) => log.push(`-${id}`));
    return { users: () => Object.keys(channel.members.members), leave: () => pusher.unsubscribe(CHANNEL), once: true, log };
  },
};

const list = (users, once) => (once ? [...new Set(users)] : [...users]).sort().join();

/** Waits until every side sees exactly these users, one entry for each connection. */
async function allSee(sides, users) {
  for (const [name, side] of Object.entries(sides)) {
    await eventually(() => list(side.users(), side.once) === list(users, side.once), `${name} to see ${users}; it sees ${list(side.users())}`)
      .catch((error) => { throw new Error(`${error.message}, at last ${list(side.users())}`); });
  }
  // Nobody answers a Pusher client that unsubscribes.
  await eventually(async () => {
    const { body } = await server.api("GET", `/api/channels/${CHANNEL}/presence`);
    return list(body.members.map(({ userId }) => userId)) === list(users);
  }, `${users} at the API`);
}

test("members of four protocols are one set on all sides", async () => {
  const sides = {};
  const users = [];
  for (const [name, join] of Object.entries(SIDES)) {
    users.push(`${name}-user`);
    sides[name] = await join(`${name}-user`);
    await allSee(sides, users);
  }
  // A user with connections of several protocols: to Pusher, who counts users, one member.
  for (const [name, join] of Object.entries(SIDES)) {
    users.push("everywhere");
    sides[`${name} again`] = await join("everywhere");
    await allSee(sides, users);
  }
  assert.deepEqual(sides.pusher.log, ["+everywhere"]);
  for (const [name] of Object.entries(SIDES)) {
    const key = `${name} again`;
    const { leave } = sides[key];
    delete sides[key];
    users.splice(users.lastIndexOf("everywhere"), 1);
    await leave();
    await allSee(sides, users);
  }
  assert.deepEqual(sides.pusher.log, ["+everywhere", "-everywhere"]);
  for (const [name] of Object.entries(SIDES)) {
    const { leave } = sides[name];
    delete sides[name];
    users.splice(users.indexOf(`${name}-user`), 1);
    await leave();
    await allSee(sides, users);
  }
});

test("what a member says of itself is read on all sides", async () => {
  const native = await Client.connect(server, { user: "ann" });
  await native.subscribe(CHANNEL, { presence: true, data: { mood: "glad", n: 1 } });
  const seen = {};
  const pusher = await connectPusher(server, { user: "pia", userInfo: { name: "Pia" } });
  const channel = await subscribed(pusher, CHANNEL);
  seen.pusher = channel.members.get("ann").info;
  const phoenix = connectPhoenix(server, { user: "phil", claims: { info: { name: "Phil" } } });
  const topic = phoenix.channel(CHANNEL);
  const presence = new phoenix.lib.Presence(topic);
  await ok(topic.join());
  await eventually(() => presence.state.ann, "the state");
  const { phx_ref: _, ...meta } = presence.state.ann.metas[0];
  seen.phoenix = meta;
  const socket = connectSocketIo(server, { auth: { token: token("sol") } });
  await arrives(socket, "connect");
  const state = arrives(socket, "presence_state");
  await ask(socket, "subscribe", CHANNEL, { presence: true });
  const { members } = (await state)[0];
  seen.socketIo = members.find(({ userId }) => userId === "ann").data;
  for (const [side, data] of Object.entries(seen)) assert.deepEqual(data, { mood: "glad", n: 1 }, side);
  const data = Object.fromEntries(members.map(({ userId, data }) => [userId, data]));
  assert.deepEqual([data.pia.name, data.phil.name], ["Pia", "Phil"]);
});
