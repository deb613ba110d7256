// Joins, pushes, broadcasts and leaves by the official client, in both versions and over both transports.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import WebSocket from "ws";

import { Client, closeAll } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { eventually, OPEN_RULE, Server } from "../harness/server.mjs";
import { closed, connect, disconnectAll, failed, join, keeping, ok, opened, outcome, refused, VARIANTS } from "./client.mjs";

let server;
before(async () => {
  server = await Server.start({
    channels: [
      { match: "open:*", subscribe: "anyone", publish: "members", presence: true },
      { match: "read:*", subscribe: "anyone", publish: "nobody" },
      { match: "users:*", subscribe: "authenticated", publish: "authenticated" },
      { match: "granted:*", subscribe: "granted", publish: "granted" },
    ],
  });
});
after(async () => {
  disconnectAll();
  closeAll();
  await server.stop();
});

let next = 0;
const fresh = (kind = "open") => `${kind}:${++next}`;

for (const { name, ...variant } of VARIANTS) {
  describe(name, () => {
    test("a join is answered with {}", async () => {
      const channel = await join(connect(server, variant), fresh());
      assert.deepEqual(channel.response, {});
    });

    test("a refused join names reason and code", async () => {
      const socket = connect(server, { ...variant, rejoinAfterMs: () => 600_000 });
      const join = (topic) => socket.channel(topic).join();
      await refused(join(fresh("users")), "AUTH_REQUIRED");
      await refused(join(fresh("granted")), "AUTH_REQUIRED");
      assert.equal((await refused(join("nothing:here"), "FORBIDDEN")).reason, "unmatched topic");
      await refused(join("x".repeat(256)), "INVALID_CHANNEL");
      await refused(join("#reserved"), "INVALID_CHANNEL");
    });

    test("a token in the params says who it is", async () => {
      const socket = connect(server, { ...variant, user: "ann", claims: { subscribe: ["granted:mine"] } });
      await join(socket, fresh("users"));
      await join(socket, "granted:mine");
      await refused(socket.channel("granted:other").join(), "FORBIDDEN");
    });

    test("a bad token is refused", async () => {
      for (const token of ["no.such.token", mint({ sub: "ann" }, { key: "another secret" }), mint({ sub: "ann", exp: 1 })]) {
        const socket = connect(server, { ...variant, params: { token }, reconnectAfterMs: () => 600_000 });
        const error = await failed(socket);
        if (variant.longpoll) assert.equal(error, 403);
        else assert.match(error.message, /403/);
        socket.disconnect();
      }
    });

    test("a push goes to all members, its sender included, and is replied to", async () => {
      const topic = fresh();
      const [ann, bob] = [await join(connect(server, variant), topic), await join(connect(server, variant), topic)];
      const payload = { text: "hello", nested: [1, 2.5, null, { a: "ü" }] };
      assert.deepEqual(await ok(ann.push("shout", payload)), {});
      for (const channel of [ann, bob]) assert.deepEqual(await channel.next("shout"), payload);
    });

    test("a push that the rules forbid is an error, and the channel stays joined", async () => {
      const channel = await join(connect(server, variant), fresh("read"));
      await refused(channel.push("shout", {}), "FORBIDDEN");
      await refused(channel.push("phx_close", {}), "INVALID_MESSAGE");
      assert.equal(channel.state, "joined");
    });

    test("many pushes arrive in order", async () => {
      const topic = fresh();
      const [ann, bob] = [await join(connect(server, variant), topic), await join(connect(server, variant), topic)];
      const replies = Array.from({ length: 150 }, (_, n) => ok(ann.push("count", { n })));
      await Promise.all(replies);
      for (let n = 0; n < 150; n += 1) assert.equal((await bob.next("count")).n, n);
    });

    test("bytes both ways", async () => {
      const topic = fresh();
      const [ann, bob] = [await join(connect(server, variant), topic), await join(connect(server, variant), topic)];
      const bytes = new Uint8Array([0, 1, 2, 253, 254, 255]);
      await ok(ann.push("blob", bytes.buffer));
      for (const channel of [ann, bob]) {
        const came = await channel.next("blob");
        if (variant.longpoll) assert.deepEqual(came, { data: Buffer.from(bytes).toString("base64"), encoding: "base64" });
        else assert.deepEqual(new Uint8Array(came), bytes);
      }
    });

    test("a channel that is left gets nothing more, and can be joined again", async () => {
      const topic = fresh();
      const socket = connect(server, variant);
      const first = await join(socket, topic);
      const stays = await join(connect(server, variant), topic);
      await ok(first.leave());
      assert.equal(first.state, "closed");
      // The client does not wait for the server's answer.
      const members = async () => (await server.api("GET", `/api/channels/${encodeURIComponent(topic)}`)).body.members;
      await eventually(async () => (await members()) === 1, "the leave");
      await ok(stays.push("shout", { n: 1 }));
      const second = await join(socket, topic);
      await ok(stays.push("shout", { n: 2 }));
      assert.deepEqual(await second.next("shout"), { n: 2 });
      assert.ok(!first.kept.some(({ event }) => event === "shout"));
    });

    test("a second channel for a topic takes the place of the first", async () => {
      const topic = fresh();
      const socket = connect(server, variant);
      const first = await join(socket, topic);
      const second = await join(socket, topic);
      assert.equal(first.state, "closed");
      await ok(second.push("shout", { n: 1 }));
      assert.deepEqual(await second.next("shout"), { n: 1 });
    });

    test("a message of a native client and of the HTTP API", async () => {
      const topic = fresh();
      const channel = await join(connect(server, variant), topic);
      const native = await Client.connect(server);
      await native.subscribe(topic);
      await native.publish(topic, { from: "native" }, { event: "greet" });
      assert.deepEqual(await channel.next("greet"), { from: "native" });
      await server.publish(topic, { big: 1 }, { event: "api" });
      assert.deepEqual(await channel.next("api"), { big: 1 });
      await server.publish(topic, "AAEC", { event: "bytes", encoding: "base64" });
      const bytes = await channel.next("bytes");
      if (variant.longpoll) assert.deepEqual(bytes, { data: "AAEC", encoding: "base64" });
      else assert.deepEqual([...new Uint8Array(bytes)], [0, 1, 2]);
      await native.until({ type: "message", event: "bytes" });
      await ok(channel.push("back", { to: "native" }));
      assert.deepEqual((await native.message(topic, { event: "back" })).payload, { to: "native" });
    });

    test("messages to a user, and the server ends a subscription", async () => {
      const user = `user-${++next}`;
      const socket = connect(server, { ...variant, user });
      const topic = fresh();
      const channel = await join(socket, topic);
      const own = await join(socket, `#user:${user}`);
      assert.equal((await server.api("POST", `/api/users/${user}/publish`, { event: "note", payload: { a: 1 } })).status, 200);
      assert.deepEqual(await own.next("note"), { a: 1 });
      assert.equal((await server.api("POST", `/api/users/${user}/unsubscribe`, { channel: topic })).status, 204);
      await channel.next("phx_close");
      assert.equal(channel.state, "closed");
      await refused(socket.channel("#user:somebody-else").join(), "FORBIDDEN");
    });

    test("nobody can make others leave by publishing", async () => {
      const topic = fresh();
      const channel = await join(connect(server, variant), topic);
      await server.publish(topic, {}, { event: "phx_close" });
      await server.publish(topic, { joins: {}, leaves: {} }, { event: "presence_diff" });
      await channel.next("event:phx_close");
      await channel.next("event:presence_diff");
      assert.equal(channel.state, "joined");
    });

    test("a token in a join", async () => {
      const socket = connect(server, variant);
      await refused(socket.channel(fresh("users"), { token: "bad" }).join(), "TOKEN_INVALID");
      await join(socket, fresh("users"), { token: mint({ sub: "late" }) });
      const [status] = await outcome(socket.channel(fresh("users"), { token: mint({ sub: "somebody else" }) }).join());
      assert.equal(status, "error", "a connection keeps its user");
    });
  });
}

describe("the WebSocket alone", () => {
  for (const { name, ...variant } of VARIANTS.filter(({ longpoll }) => !longpoll)) {
    test(`${name}: the auth-token subprotocol`, async () => {
      if (variant.lib.Socket.toString().includes("authToken")) {
        const socket = connect(server, { ...variant, authToken: mint({ sub: "ann" }) });
        await join(socket, fresh("users"));
        assert.equal(socket.conn.protocol, "phoenix");
        const refused = connect(server, { ...variant, authToken: "bad", reconnectAfterMs: () => 600_000 });
        assert.match((await failed(refused)).message, /403/);
      } else {
        const token = Buffer.from(mint({ sub: "ann" })).toString("base64").replaceAll("=", "");
        class WithToken extends WebSocket {
          constructor(url) { super(url, ["phoenix", `base64url.bearer.phx.${token}`]); }
        }
        await join(connect(server, { ...variant, transport: WithToken }), fresh("users"));
      }
    });

    test(`${name}: disconnected by the API with 1000, upon which 1.7 stays away`, async () => {
      const user = `gone-${++next}`;
      const socket = connect(server, { ...variant, user });
      await join(socket, fresh());
      const close = closed(socket);
      assert.equal((await server.api("POST", `/api/users/${user}/disconnect`)).status, 204);
      assert.equal((await close).code, 1000);
      // 1.8 comes back after any code.
      if (!name.includes("1.7")) return;
      // It would come back after 50 ms; what others do meanwhile takes longer.
      for (let n = 0; n < 3; n += 1) await join(connect(server, variant), fresh());
      assert.equal(socket.connectionState(), "closed");
    });

    test(`${name}: an expired token closes, and the params function brings a new one`, async () => {
      let connections = 0;
      const token = () => mint({ sub: "ann", exp: Math.floor(Date.now() / 1000) + (connections++ === 0 ? 5 : 3600) });
      const socket = connect(server, { ...variant, params: () => ({ token: token() }) });
      await join(socket, fresh("users"));
      assert.equal((await closed(socket)).code, 1008);
      await opened(socket);
      assert.equal(connections, 2);
    });

    test(`${name}: heartbeats are answered`, async () => {
      const socket = connect(server, { ...variant, heartbeatIntervalMs: 50 });
      await opened(socket);
      let replies = 0;
      await new Promise((done) => socket.onMessage(({ topic, event, payload }) => {
        if (topic === "phoenix" && event === "phx_reply" && payload.status === "ok" && ++replies === 5) done();
      }));
      assert.ok(socket.isConnected());
    });
  }

  test("a version that is not spoken is refused", async () => {
    for (const vsn of ["3.0.0", "2.1.0", "two", "1.5.0"]) {
      const socket = connect(server, { vsn, reconnectAfterMs: () => 600_000 });
      assert.match((await failed(socket)).message, /403/);
      socket.disconnect();
    }
  });

  test("a join without an answer times out, and is tried again", async () => {
    const slow = await Server.start();
    try {
      const socket = connect(slow);
      await opened(socket);
      slow.signal("SIGSTOP");
      // The signal has arrived when nothing answers any more.
      await eventually(() => fetch(`${slow.origin}/healthz`, { signal: AbortSignal.timeout(200) }).then(() => false, () => true), "the stop");
      const channel = keeping(socket.channel("room:1"));
      const joined = channel.join(300);
      assert.deepEqual((await outcome(joined))[0], "timeout");
      slow.signal("SIGCONT");
      const { status } = await channel.next("phx_reply");
      assert.equal(status, "ok");
      const push = channel.push("late", {});
      assert.equal((await outcome(push))[0], "ok");
    } finally {
      await slow.stop();
    }
  });

  test("anonymous connections are refused where they are not allowed", async () => {
    const closedServer = await Server.start({ auth: { anonymous: false }, channels: [OPEN_RULE] });
    try {
      const socket = connect(closedServer, { reconnectAfterMs: () => 600_000 });
      assert.match((await failed(socket)).message, /403/);
      const polling = connect(closedServer, { longpoll: true, reconnectAfterMs: () => 600_000 });
      assert.equal(await failed(polling), 403);
      await join(connect(closedServer, { user: "ann" }), "room:1");
    } finally {
      disconnectAll();
      await closedServer.stop();
    }
  });

  test("under first_message a join brings the token", async () => {
    const later = await Server.start({ auth: { anonymous: false, when: "first_message" }, channels: [OPEN_RULE] });
    try {
      await join(connect(later), "room:1", { token: mint({ sub: "ann" }) });
      await refused(connect(later, { rejoinAfterMs: () => 600_000 }).channel("room:1").join(), "AUTH_REQUIRED");
    } finally {
      disconnectAll();
      await later.stop();
    }
  });
});

// A client that was refused keeps a timer for its next attempt, which nothing can take from it: it must not keep this
// process, too.
after(() => {
  disconnectAll();
  setTimeout(() => process.exit(), 2000).unref();
});
