// Laravel Echo on top of pusher-js, as a Laravel application uses it.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import EchoModule from "laravel-echo";

import { Server } from "../harness/server.mjs";
import { client, closeAll, sdk, soon } from "./harness.mjs";

const Echo = EchoModule.default ?? EchoModule;
let server;
let backend;
const echoes = [];
before(async () => {
  server = await Server.start({});
  backend = sdk(server);
});
after(async () => {
  echoes.forEach((echo) => echo.disconnect());
  closeAll();
  await server.stop();
});

function echo(user) {
  const made = new Echo({ broadcaster: "pusher", client: client(server, { user, userInfo: { name: user } }), namespace: "App.Events" });
  echoes.push(made);
  return made;
}
const on = (channel, method, ...args) => soon(new Promise((done) => channel[method](...args, done)), method);

test("public and private channels listen for application events", async () => {
  const ann = echo("ann");
  const orders = ann.channel("orders");
  await on(orders, "subscribed");
  const shipped = on(orders, "listen", "OrderShipped");
  await backend.trigger("orders", "App\\Events\\OrderShipped", { id: 1 });
  assert.deepEqual(await shipped, { id: 1 });
  const secret = ann.private("orders.1");
  await on(secret, "subscribed");
  const named = on(secret, "listen", ".order.named");
  await backend.trigger("private-orders.1", "order.named", { id: 2 });
  assert.deepEqual(await named, { id: 2 });
});

test("whispers reach the others", async () => {
  const [ann, bob] = [echo("ann").private("chat"), echo("bob").private("chat")];
  await Promise.all([on(ann, "subscribed"), on(bob, "subscribed")]);
  const heard = on(bob, "listenForWhisper", "typing");
  ann.whisper("typing", { name: "Ann" });
  assert.deepEqual(await heard, { name: "Ann" });
});

test("presence: here, joining, leaving", async () => {
  const ann = echo("ann").join("room");
  assert.deepEqual(await on(ann, "here"), [{ name: "ann" }]);
  const joining = on(ann, "joining");
  const bob = echo("bob");
  const here = await on(bob.join("room"), "here");
  assert.deepEqual(here.map(({ name }) => name).sort(), ["ann", "bob"]);
  assert.deepEqual(await joining, { name: "bob" });
  const leaving = on(ann, "leaving");
  bob.leave("room");
  assert.deepEqual(await leaving, { name: "bob" });
});

test("a refused subscription reaches the channel's error handler", async () => {
  const pusher = client(server, { channelAuthorization: { customHandler: (_, done) => done(null, { auth: "key-one:00" }) } });
  const made = new Echo({ broadcaster: "pusher", client: pusher });
  echoes.push(made);
  const error = await on(made.private("closed"), "error");
  assert.equal(error.type, "AuthError");
});
