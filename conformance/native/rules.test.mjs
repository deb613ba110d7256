// Channel rules: the first that matches wins; who may subscribe and publish; `{user}`; grants in the token (contract 3, 11).

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { APP, Server } from "../harness/server.mjs";

const OTHER = { id: "2", key: "key-two", secret: "secret-of-app-two-0123456789abcdef" };

let server;
before(async () => {
  server = await Server.start({
    channels: [
      { match: "first:special", subscribe: "anyone", publish: "anyone" },
      { match: "first:*", subscribe: "granted", publish: "nobody" },
      { match: "any:*", subscribe: "anyone", publish: "anyone" },
      { match: "auth:*", subscribe: "authenticated", publish: "authenticated" },
      { match: "members:*", subscribe: "anyone", publish: "members" },
      { match: "granted:*", subscribe: "granted", publish: "granted", presence: true, history: { size: 10, ttl: "1h" } },
      { match: "nobody:*", subscribe: "anyone", publish: "nobody" },
      { match: "own:{user}:*", subscribe: "authenticated", publish: "authenticated" },
      { match: "*:middle:*", subscribe: "anyone", publish: "anyone" },
      { match: "exact", subscribe: "anyone", publish: "anyone" },
      { match: "a.c[0-9]+?", subscribe: "anyone", publish: "anyone" },
    ],
  });
});
after(async () => {
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (kind) => `${kind}:${++next}`;
const subscribe = (channel) => ({ type: "subscribe", channel });
const publish = (channel) => ({ type: "publish", channel, payload: 1 });

test("the first rule that matches wins", async () => {
  const ann = await Client.user(server, "ann");
  await ann.subscribe("first:special");
  await ann.publish("first:special", 1);
  await ann.fails(subscribe("first:other"), "FORBIDDEN");
  await ann.fails(publish("first:other"), "FORBIDDEN");
});

test("no rule: refused", async () => {
  const ann = await Client.user(server, "ann");
  for (const channel of ["unruled", "exactly", "xexact", "anything:else", "ANY:1"]) {
    await ann.fails(subscribe(channel), "FORBIDDEN");
    await ann.fails(publish(channel), "FORBIDDEN");
    await ann.fails({ type: "history", channel }, "FORBIDDEN");
  }
  await ann.subscribe("exact");
});

test("* is any run of characters, and nothing else is special", async () => {
  const client = await Client.connect(server);
  for (const channel of ["a:middle:b", ":middle:", "x:y:middle:z/ü", "a.c[0-9]+?", "any:"]) await client.subscribe(channel);
  for (const channel of ["middle", "abc5", "a.c5", "any"]) {
    await client.fails(subscribe(channel), "FORBIDDEN", "AUTH_REQUIRED");
  }
});

test("anyone", async () => {
  const client = await Client.connect(server);
  const channel = fresh("any");
  await client.publish(channel, 1);
  await client.subscribe(channel);
});

test("authenticated: AUTH_REQUIRED without a user", async () => {
  const channel = fresh("auth");
  const [nobody, ann] = [await Client.connect(server), await Client.user(server, "ann")];
  await nobody.fails(subscribe(channel), "AUTH_REQUIRED");
  await nobody.fails(publish(channel), "AUTH_REQUIRED");
  await ann.publish(channel, 1);
  await ann.subscribe(channel);
});

test("members: NOT_SUBSCRIBED without membership", async () => {
  const channel = fresh("members");
  const client = await Client.connect(server);
  await client.fails(publish(channel), "NOT_SUBSCRIBED");
  await client.subscribe(channel);
  await client.publish(channel, 1);
  await client.ok({ type: "unsubscribe", channel });
  await client.fails(publish(channel), "NOT_SUBSCRIBED");
});

test("nobody: only the application publishes", async () => {
  const channel = fresh("nobody");
  const ann = await Client.user(server, "ann", { claims: { publish: ["*"] } });
  await ann.subscribe(channel);
  await ann.fails(publish(channel), "FORBIDDEN");
  await server.publish(channel, "from the application");
  assert.equal((await ann.message(channel)).payload, "from the application");
});

test("granted: by the patterns in the token", async () => {
  const claims = { subscribe: ["granted:read:*", "granted:one", "any:*"], publish: ["granted:write:*"] };
  const ann = await Client.user(server, "ann", { claims });
  await ann.subscribe("granted:read:1");
  await ann.subscribe("granted:one");
  await ann.fails(subscribe("granted:two"), "FORBIDDEN");
  await ann.fails(subscribe("granted:write:1"), "FORBIDDEN");
  await ann.publish("granted:write:1", 1);
  await ann.fails(publish("granted:read:1"), "FORBIDDEN");
  await ann.fails({ type: "history", channel: "granted:write:1" }, "FORBIDDEN");
  await ann.fails({ type: "presence", channel: "granted:write:1", action: "get" }, "FORBIDDEN", "NOT_SUBSCRIBED");
  // A grant does not open what another rule closes.
  await (await Client.user(server, "eve", { claims: { subscribe: ["*"] } })).fails(subscribe("unruled"), "FORBIDDEN");
});

test("granted: nothing without claims, AUTH_REQUIRED without a user", async () => {
  const [nobody, ann] = [await Client.connect(server), await Client.user(server, "ann")];
  await nobody.fails(subscribe("granted:one"), "AUTH_REQUIRED");
  await nobody.fails(publish("granted:one"), "AUTH_REQUIRED");
  await ann.fails(subscribe("granted:one"), "FORBIDDEN");
  await ann.fails(publish("granted:one"), "FORBIDDEN");
});

test("a renewed token brings its own grants", async () => {
  const { mint } = await import("../harness/jwt.mjs");
  const ann = await Client.user(server, "ann");
  await ann.fails(subscribe("granted:new"), "FORBIDDEN");
  ann.send({ type: "auth", token: mint({ sub: "ann", subscribe: ["granted:new"] }) });
  await ann.next({ type: "auth_ack" });
  await ann.subscribe("granted:new");
});

describe("{user}", () => {
  test("is the caller's own user id", async () => {
    const [ann, nobody] = [await Client.user(server, "ann"), await Client.connect(server)];
    await ann.subscribe("own:ann:x");
    await ann.publish("own:ann:x", 1);
    await ann.fails(subscribe("own:bob:x"), "FORBIDDEN");
    await ann.fails(publish("own:bob:x"), "FORBIDDEN");
    await nobody.fails(subscribe("own:ann:x"), "AUTH_REQUIRED", "FORBIDDEN");
    await nobody.fails(subscribe("own::x"), "AUTH_REQUIRED", "FORBIDDEN");
    await nobody.fails(subscribe("own:{user}:x"), "AUTH_REQUIRED", "FORBIDDEN");
  });

  test("a user id with special characters is only itself", async () => {
    const star = await Client.user(server, "*");
    await star.fails(subscribe("own:ann:x"), "FORBIDDEN");
    await star.subscribe("own:*:x");
    const braces = await Client.user(server, "{user}");
    await braces.fails(subscribe("own:ann:x"), "FORBIDDEN");
    await braces.subscribe("own:{user}:x");
  });

  test("a user id that contains the separator reaches no other user's channels", async () => {
    const ann = await Client.user(server, "ann");
    await ann.fails(subscribe("own:bob:own:ann:x"), "FORBIDDEN");
  });
});

test("a rule for one app is not for another", async () => {
  const { mint } = await import("../harness/jwt.mjs");
  const both = await Server.start({
    apps: [APP, OTHER],
    channels: [{ match: "x:*", app: "1", subscribe: "anyone", publish: "anyone" }, { match: "y:*", subscribe: "anyone", publish: "anyone" }],
  });
  try {
    const one = await Client.user(both, "ann", { claims: { app: "1" } });
    const two = await Client.user(both, "ann", { token: mint({ sub: "ann", app: "2" }, { key: OTHER.secret }) });
    await one.subscribe("x:1");
    await two.fails(subscribe("x:1"), "FORBIDDEN");
    await one.subscribe("y:1");
    await two.subscribe("y:1");
  } finally {
    await both.stop();
  }
});

describe("messages to a user", () => {
  test("#user:U reaches every connection of U, without subscribing, and nobody else", async () => {
    const [phone, desk, bob, nobody] = [await Client.user(server, "ann"), await Client.user(server, "ann"), await Client.user(server, "bob"), await Client.connect(server)];
    const { status, body } = await server.api("POST", "/api/users/ann/publish", { event: "mail", payload: { n: 1 } });
    assert.equal(status, 200);
    assert.equal(body.results[0].channel, "#user:ann");
    for (const client of [phone, desk]) {
      const message = await client.next({ type: "message" });
      assert.deepEqual([message.channel, message.event, message.payload], ["#user:ann", "mail", { n: 1 }]);
    }
    for (const client of [phone, desk, bob, nobody]) assert.deepEqual(await client.settled(), []);
  });

  test("the application may name the channel #user:U itself", async () => {
    const ann = await Client.user(server, "ann");
    await server.publish("#user:ann", "direct");
    assert.equal((await ann.message("#user:ann")).payload, "direct");
  });

  test("a user id may be anything", async () => {
    for (const user of ["with space", "ünï/çode?#%", "🐦", "a:b", "%2e%2e"]) {
      const client = await Client.user(server, user);
      const { status, text } = await server.api("POST", `/api/users/${encodeURIComponent(user)}/publish`, { payload: user });
      assert.equal(status, 200, `${user}: ${text}`);
      assert.equal((await client.message(`#user:${user}`)).payload, user);
    }
  });

  test("a connection that becomes a user's with its first message receives them too", async () => {
    const { mint } = await import("../harness/jwt.mjs");
    const client = await Client.connect(server);
    client.send({ type: "auth", token: mint({ sub: "late-user" }) });
    await client.next({ type: "auth_ack" });
    await server.api("POST", "/api/users/late-user/publish", { payload: 1 });
    await client.message("#user:late-user");
  });
});
