// Webhooks in Pusher's format, as the official SDK verifies them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { APP, Server } from "../harness/server.mjs";
import { closeAll, connected, event, hookListener, Raw, sdk, subscribed } from "./harness.mjs";

const EVENTS = ["channel_occupied", "channel_vacated", "member_added", "member_removed", "client_event", "connected", "disconnected", "cache_miss", "subscription_count"];
let server;
let hooks;
before(async () => {
  hooks = await hookListener();
  server = await Server.start({ webhooks: { format: "pusher", url: hooks.url, events: EVENTS } });
});
after(async () => {
  closeAll();
  await server.stop();
});

test("every kind of event arrives, signed", async () => {
  const raw = await Raw.connect(server);
  const other = await Raw.connect(server);
  await raw.join("presence-hooks", { data: { user_id: "ann" } });
  await other.join("presence-hooks", { data: { user_id: "bob" } });
  assert.deepEqual(await hooks.event(({ name, channel }) => name === "channel_occupied" && channel === "presence-hooks"), { name: "channel_occupied", channel: "presence-hooks" });
  assert.deepEqual(await hooks.event(({ name, user_id: user }) => name === "member_added" && user === "bob"), { name: "member_added", channel: "presence-hooks", user_id: "bob" });
  other.send({ event: "client-hi", channel: "presence-hooks", data: { n: 1 } });
  assert.deepEqual(await hooks.event(({ name }) => name === "client_event"), {
    name: "client_event", channel: "presence-hooks", event: "client-hi", data: '{"n":1}', socket_id: other.id, user_id: "bob",
  });
  raw.subscribe("cache-empty");
  assert.deepEqual(await hooks.event(({ name }) => name === "cache_miss"), { name: "cache_miss", channel: "cache-empty" });
  const count = await hooks.event(({ name, channel }) => name === "subscription_count" && channel === "cache-empty");
  assert.deepEqual(count, { name: "subscription_count", channel: "cache-empty", subscription_count: 1 });
  other.socket.close();
  assert.deepEqual(await hooks.event(({ name }) => name === "member_removed"), { name: "member_removed", channel: "presence-hooks", user_id: "bob" });
  raw.socket.close();
  assert.deepEqual(await hooks.event(({ name, channel }) => name === "channel_vacated" && channel === "presence-hooks"), { name: "channel_vacated", channel: "presence-hooks" });

  // They come in order per channel, and this one has ended.
  const told = hooks.requests.flatMap(({ rawBody }) => JSON.parse(rawBody).events);
  assert.deepEqual(told.filter(({ name, channel }) => name === "subscription_count" && channel.startsWith("presence-")), []);

  const backend = sdk(server);
  for (const request of hooks.requests) {
    const webhook = backend.webhook(request);
    assert.equal(request.headers["x-pusher-key"], APP.key);
    assert.ok(webhook.isValid(), request.rawBody);
    assert.ok(Math.abs(webhook.getTime() - Date.now()) < 120_000);
    assert.ok(webhook.getEvents().every(({ name }) => EVENTS.includes(name) && !name.includes("connected")));
    assert.ok(!backend.webhook({ ...request, rawBody: `${request.rawBody} ` }).isValid());
  }
});

test("a client event on a private channel does not name who signed in", async () => {
  const ann = await connected(server, { signIn: { id: "ann" } });
  const signedIn = new Promise((done) => {
    ann.connection.bind("message", ({ event: type }) => type === "pusher:signin_success" && done());
  });
  ann.signin();
  await signedIn;
  const other = await subscribed(await connected(server), "private-hooks");
  const heard = event(other, "client-quiet");
  (await subscribed(ann, "private-hooks")).trigger("client-quiet", 1);
  await heard;
  assert.deepEqual(await hooks.event(({ event: type }) => type === "client-quiet"), {
    name: "client_event", channel: "private-hooks", event: "client-quiet", data: "1", socket_id: ann.connection.socket_id,
  });
});
