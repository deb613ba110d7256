// Who is there: one set of members for each channel, whichever way they came and went (contract 1, 5, 11).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll, Members } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { OPEN_RULE, Server } from "../harness/server.mjs";

let server;
before(async () => {
  server = await Server.start({
    channels: [{ match: "grace:*", subscribe: "anyone", publish: "anyone", presence: { grace: "5s" } }, OPEN_RULE],
  });
});
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (kind = "room") => `${kind}:${++next}`;
const members = async (client, channel) => (await client.ok({ type: "presence", channel, action: "get" })).members;
const byUser = (list) => list.map(({ userId }) => userId).sort();

async function watching(channel) {
  const client = await Client.connect(server);
  await client.subscribe(channel, { presence: true });
  return { client, present: await new Members(client, channel).start() };
}

test("presence: true brings presence_state once, then diffs; by itself it enters nobody", async () => {
  const channel = fresh();
  const { client, present } = await watching(channel);
  assert.deepEqual([...present.now.values()], []);
  const ann = await Client.user(server, "ann");
  await ann.subscribe(channel, { data: { name: "Ann" } });
  const [member] = await present.when((list) => list.length === 1);
  assert.deepEqual(member, { userId: "ann", connectionId: ann.connectionId, data: { name: "Ann" } });
  await ann.ok({ type: "unsubscribe", channel });
  await present.when((list) => list.length === 0);
  assert.deepEqual((await client.settled()).filter(({ type }) => type === "presence_state"), []);
});

test("who logs in later is present as its user from then on, with its data", async () => {
  const channel = fresh();
  const { present } = await watching(channel);
  const client = await Client.connect(server);
  await client.subscribe(channel, { data: { seat: 1 } });
  const [nobody] = await present.when((list) => list.length === 1);
  assert.deepEqual([nobody.userId, nobody.data], [null, { seat: 1 }]);
  client.send({ type: "auth", token: mint({ sub: "ann", info: { name: "Ann" } }) });
  await client.next({ type: "auth_ack", userId: "ann" });
  const [member] = await present.when((list) => list.some(({ userId }) => userId === "ann"));
  assert.deepEqual(member, { userId: "ann", connectionId: nobody.connectionId, data: { seat: 1 } });
  assert.equal(present.now.size, 1);
  assert.deepEqual(await members(client, channel), [member]);
});

test("presence_state lists who was there before", async () => {
  const channel = fresh();
  const users = await Promise.all(["ann", "bob", "cat"].map((user) => Client.user(server, user)));
  for (const user of users) await user.subscribe(channel, { data: { of: user.ack.userId } });
  const { present } = await watching(channel);
  assert.deepEqual(byUser([...present.now.values()]), ["ann", "bob", "cat"]);
  for (const { userId, data } of present.now.values()) assert.deepEqual(data, { of: userId });
});

test("without presence: true no presence events come", async () => {
  const channel = fresh();
  const client = await Client.connect(server);
  await client.subscribe(channel);
  const ann = await Client.user(server, "ann");
  await ann.subscribe(channel, { data: {} });
  await server.publish(channel, "marker");
  await client.message(channel);
  assert.deepEqual(await client.settled(), []);
});

test("presence: true together with data: one's own entry is seen, once", async () => {
  const channel = fresh();
  const ann = await Client.user(server, "ann");
  await ann.subscribe(channel, { presence: true, data: { name: "Ann" } });
  const present = await new Members(ann, channel).start();
  const list = await present.when((all) => all.length === 1);
  assert.equal(list[0].connectionId, ann.connectionId);
  assert.deepEqual((await ann.settled()).filter(({ joins }) => joins?.length > 0), []);
});

test("enter, update, leave and get", async () => {
  const channel = fresh();
  const { client, present } = await watching(channel);
  const ann = await Client.user(server, "ann");
  await ann.subscribe(channel);
  assert.deepEqual(await members(client, channel), []);
  await ann.ok({ type: "presence", channel, action: "enter", data: { mood: "calm" } });
  assert.deepEqual((await present.when((list) => list.length === 1))[0].data, { mood: "calm" });
  await ann.ok({ type: "presence", channel, action: "update", data: { mood: "merry" } });
  await present.when(([member]) => member?.data.mood === "merry");
  assert.deepEqual(await members(client, channel), [{ userId: "ann", connectionId: ann.connectionId, data: { mood: "merry" } }]);
  await ann.ok({ type: "presence", channel, action: "leave" });
  await present.when((list) => list.length === 0);
  assert.deepEqual(await members(client, channel), []);
  // Having left the list, one is still a member of the channel.
  await server.publish(channel, "still subscribed");
  await ann.message(channel);
});

test("entering a channel one has not joined is NOT_SUBSCRIBED", async () => {
  const ann = await Client.user(server, "ann");
  await ann.fails({ type: "presence", channel: fresh(), action: "enter", data: {} }, "NOT_SUBSCRIBED");
});

test("data defaults to the token's info", async () => {
  const channel = fresh();
  const info = { name: "Ina", tags: ["a", { b: 1 }] };
  const ina = await Client.user(server, "ina", { claims: { info } });
  await ina.subscribe(channel);
  await ina.ok({ type: "presence", channel, action: "enter" });
  assert.deepEqual((await members(ina, channel))[0].data, info);
  const own = await Client.user(server, "ina", { claims: { info } });
  await own.subscribe(channel, { data: { name: "other" } });
  assert.deepEqual((await members(ina, channel)).find(({ connectionId }) => connectionId === own.connectionId).data, { name: "other" });
});

test("several connections of one user are several members; one leaving leaves the other", async () => {
  const channel = fresh();
  const { client, present } = await watching(channel);
  const [phone, desk] = [await Client.user(server, "ann"), await Client.user(server, "ann")];
  assert.notEqual(phone.connectionId, desk.connectionId);
  await phone.subscribe(channel, { data: { on: "phone" } });
  await desk.subscribe(channel, { data: { on: "desk" } });
  await present.when((list) => list.length === 2);
  const { body } = await server.api("GET", `/api/channels/${channel}`);
  assert.deepEqual([body.members, body.users], [3, 1], "three members (one only watches), one user");
  await phone.close();
  const left = await present.when((list) => list.length === 1);
  assert.deepEqual(left, [{ userId: "ann", connectionId: desk.connectionId, data: { on: "desk" } }]);
  assert.deepEqual(await members(client, channel), left);
});

test("anonymous connections can be present", async () => {
  const channel = fresh();
  const { present } = await watching(channel);
  const nobody = await Client.connect(server);
  await nobody.subscribe(channel, { data: { name: "guest" } });
  const [member] = await present.when((list) => list.length === 1);
  assert.deepEqual(member.data, { name: "guest" });
  assert.ok(member.userId === null || member.userId === undefined);
  assert.equal(typeof member.connectionId, "string");
});

for (const [how, go] of [
  ["a clean close", (client) => client.close()], ["a lost connection", (client) => client.lose()],
  ["unsubscribing", (client, channel) => client.ok({ type: "unsubscribe", channel })],
]) {
  test(`${how} leaves at once where there is no grace`, async () => {
    const channel = fresh();
    const { present } = await watching(channel);
    const ann = await Client.user(server, "ann");
    await ann.subscribe(channel, { data: {} });
    await present.when((list) => list.length === 1);
    await go(ann, channel);
    await present.when((list) => list.length === 0);
  });
}

test("with grace a clean close leaves at once, a lost connection stays for a while", async () => {
  const channel = fresh("grace");
  const { client, present } = await watching(channel);
  const [ann, bob] = [await Client.user(server, "ann"), await Client.user(server, "bob")];
  await ann.subscribe(channel, { data: {} });
  await bob.subscribe(channel, { data: {} });
  await present.when((list) => list.length === 2);
  ann.lose();
  await bob.close();
  // Bob, who closed later, is gone first.
  const afterBob = await present.when((list) => list.length < 2);
  assert.deepEqual(byUser(afterBob), ["ann"]);
  assert.deepEqual(byUser(await members(client, channel)), ["ann"]);
  await present.when((list) => list.length === 0);
});

test("with grace a user who is back in time never left", async () => {
  const channel = fresh("grace");
  const { client, present } = await watching(channel);
  const ann = await Client.user(server, "ann");
  await ann.subscribe(channel, { data: { n: 1 } });
  await present.when((list) => list.length === 1);
  ann.lose();
  const again = await Client.user(server, "ann");
  await again.subscribe(channel, { data: { n: 1 } });
  // Another user's time of grace, begun after Ann's, passes: at no point was Ann absent.
  const bob = await Client.user(server, "bob");
  await bob.subscribe(channel, { data: {} });
  const annStays = (list) => assert.ok(byUser(list).includes("ann"), "ann was absent for a moment");
  await present.when((list) => (annStays(list), byUser(list).includes("bob")));
  bob.lose();
  await present.when((list) => (annStays(list), !byUser(list).includes("bob")));
  assert.deepEqual(await members(client, channel), [{ userId: "ann", connectionId: again.connectionId, data: { n: 1 } }]);
});

test("fifty come and go, and everyone agrees who is left", async () => {
  const channel = fresh();
  const watchers = await Promise.all([watching(channel), watching(channel)]);
  const crowd = await Promise.all(Array.from({ length: 50 }, (_, at) => Client.user(server, `user-${at}`)));
  await Promise.all(crowd.map((client, at) => client.subscribe(channel, { data: { at } })));
  await Promise.all(crowd.map((client, at) => (at % 2 ? client.close() : at % 4 ? client.lose() : client.ok({ type: "presence", channel, action: "update", data: { at: -at } }))));
  const stay = crowd.map((_, at) => at).filter((at) => at % 4 === 0);
  const wanted = stay.map((at) => `user-${at}`).sort();
  for (const { client, present } of watchers) {
    const list = await present.when((all) => all.length === stay.length && all.every(({ data }) => data.at <= 0));
    assert.deepEqual(byUser(list), wanted);
    assert.deepEqual(byUser(await members(client, channel)), wanted);
  }
  const { body } = await server.api("GET", `/api/channels/${channel}/presence`);
  assert.deepEqual(byUser(body.members), wanted);
});

describe("presence data passes through", () => {
  test("digits beyond 2^53 and the order of keys are kept", async () => {
    const channel = fresh();
    const { client, present } = await watching(channel);
    const ann = await Client.user(server, "ann");
    ann.raw(`{"type":"subscribe","channel":"${channel}","data":{"z":12345678901234567890,"a":1.0}}`);
    await present.when((list) => list.length === 1);
    assert.ok(client.raws.some((text) => text.includes('{"z":12345678901234567890,"a":1.0}')), client.raws.at(-1));
  });
});
