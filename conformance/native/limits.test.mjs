// Limits and their consequences: rates, strikes, sizes, numbers of things, silence, origins (contract 3, 5, 11).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { Server } from "../harness/server.mjs";
import { RawSocket } from "../harness/raw.mjs";

after(closeAll);

/** Runs `body` against a server of its own. */
async function withServer(config, body, options) {
  const server = await Server.start(config, options);
  try {
    await body(server);
  } finally {
    await server.stop();
  }
}

describe("rates", () => {
  test("over the rate: RATE_LIMITED; others are not affected; later it works again", () => withServer(
    { limits: { messages_per_second: 5, burst: 5, strikes: 10_000 } },
    async (server) => {
      const [fast, calm] = [await Client.connect(server), await Client.connect(server)];
      const answers = await Promise.all(Array.from({ length: 40 }, () => fast.request({ type: "publish", channel: "r", payload: 1 })));
      const accepted = answers.filter(({ type }) => type === "ack").length;
      assert.ok(accepted >= 4 && accepted <= 15, `${accepted} accepted of a burst of 5`);
      for (const { type, code } of answers) assert.ok(type === "ack" || code === "RATE_LIMITED", code);
      await calm.publish("r", 1);
      // The bucket fills up again: asking once every fifth of a second cannot be too often.
      for (;;) {
        const { type } = await fast.request({ type: "publish", channel: "r", payload: 1 });
        if (type === "ack") break;
        await new Promise((again) => setTimeout(again, 200));
      }
      assert.equal(await server.metric("starling_rate_limited_total", { app: "1" }) > 0, true);
    },
  ));

  test("too many refused in a row: close 4029", () => withServer(
    { limits: { messages_per_second: 1, burst: 1, strikes: 10 } },
    async (server) => {
      const client = await Client.connect(server);
      for (let at = 0; at < 500; at++) client.send({ type: "publish", channel: "r", payload: at, id: at });
      await client.closes(4029);
      // A second later one is granted again, and the row begins anew.
      const row = client.received.slice(client.received.findLastIndex(({ type }) => type === "ack") + 1);
      const refusals = row.filter(({ code }) => code === "RATE_LIMITED").length;
      assert.ok(refusals >= 9 && refusals <= 11, `${refusals} refusals before the close`);
    },
  ));

  test("what makes no sense counts as well", () => withServer(
    { limits: { messages_per_second: 1, burst: 5, strikes: 10 } },
    async (server) => {
      const client = await Client.connect(server);
      for (let at = 0; at < 500; at++) client.raw('{"type":"nonsense"}');
      await client.closes(4029);
    },
  ));

  test("per user, over several connections", () => withServer(
    { limits: { messages_per_second: 100_000, burst: 100_000, strikes: 10_000, per_user_messages_per_second: 5 } },
    async (server) => {
      const clients = [await Client.user(server, "ann"), await Client.user(server, "ann")];
      const answers = await Promise.all(clients.flatMap((client) => Array.from({ length: 40 }, () => client.request({ type: "publish", channel: "r", payload: 1 }))));
      const accepted = answers.filter(({ type }) => type === "ack").length;
      assert.ok(accepted >= 1 && accepted < 40, `${accepted} of 80 accepted at 5 per second`);
      await (await Client.user(server, "bob")).publish("r", 1);
    },
  ));

  test("per app", () => withServer(
    { limits: { messages_per_second: 100_000, burst: 100_000, strikes: 10_000, per_app_messages_per_second: 5 } },
    async (server) => {
      const clients = [await Client.user(server, "ann"), await Client.user(server, "bob")];
      const answers = await Promise.all(clients.flatMap((client) => Array.from({ length: 40 }, () => client.request({ type: "publish", channel: "r", payload: 1 }))));
      const accepted = answers.filter(({ type }) => type === "ack").length;
      assert.ok(accepted >= 1 && accepted < 40, `${accepted} of 80 accepted at 5 per second`);
    },
  ));

  test("connections per second from one address: HTTP 429", () => withServer(
    { limits: { connections_per_ip_per_second: 2 } },
    async (server) => {
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => Client.connect(server).then(() => 101, ({ status }) => status)));
      assert.ok(outcomes.includes(101) && outcomes.includes(429), outcomes.join());
      assert.deepEqual(outcomes.filter((status) => ![101, 429].includes(status)), []);
    },
  ));
});

describe("max_payload", () => {
  const MAX = 4096;
  /** A publish of exactly `size` bytes. */
  const sized = (size) => {
    const empty = JSON.stringify({ type: "publish", channel: "p", payload: "", id: 1 });
    return JSON.stringify({ type: "publish", channel: "p", payload: "x".repeat(size - empty.length), id: 1 });
  };
  const config = { server: { max_payload: "4KiB" } };

  test("exactly the limit is good; one byte more closes with 1009: single frame", () => withServer(config, async (server) => {
    const client = await Client.connect(server);
    client.raw(sized(MAX));
    assert.equal((await client.next({ id: 1 })).type, "ack");
    client.raw(sized(MAX + 1));
    await client.closes(1009);
  }));

  test("the same in fragments", () => withServer(config, async (server) => {
    const fragmented = (client, text) => {
      for (let at = 0; at < text.length; at += 1000) client.socket.send(text.slice(at, at + 1000), { fin: at + 1000 >= text.length, binary: false });
    };
    const client = await Client.connect(server);
    fragmented(client, sized(MAX));
    assert.equal((await client.next({ id: 1 })).type, "ack");
    fragmented(client, sized(MAX + 1));
    await client.closes(1009);
  }));

  test("fragments without an end are not collected for ever", () => withServer(config, async (server) => {
    const client = await Client.connect(server);
    client.socket.send("[", { fin: false });
    for (let at = 0; at < 100 && client.socket.readyState === 1; at++) client.socket.send("x".repeat(100), { fin: false });
    await client.closes(1009);
  }));

  test("the same, compressed", () => withServer(config, async (server) => {
    const client = await Client.connect(server, { perMessageDeflate: { threshold: 0 } });
    assert.match(client.socket.extensions, /permessage-deflate/);
    client.raw(sized(MAX));
    assert.equal((await client.next({ id: 1 })).type, "ack");
    client.raw(sized(MAX + 1));
    await client.closes(1009);
  }));

  test("a deflate bomb costs the server nothing", () => withServer(config, async (server) => {
    const resident = () => Number(readFileSync(`/proc/${server.pid}/status`, "utf8").match(/VmHWM:\s+(\d+)/)[1]) / 1024;
    const before = resident();
    for (let round = 0; round < 3; round++) {
      const client = await Client.connect(server, { perMessageDeflate: { threshold: 0 } });
      client.socket.send(Buffer.alloc(64 * 1024 * 1024, 0x20).toString("latin1"));
      await client.closes(1009, 1006);
    }
    assert.ok(resident() - before < 32, `${resident() - before} MiB more at the peak`);
  }));

  test("over HTTP it is 413", () => withServer(config, async (server) => {
    const { status, body } = await server.api("POST", "/api/publish", { channel: "p", payload: "x".repeat(2 * MAX) });
    assert.equal(status, 413);
    assert.equal(typeof body.error.code, "string");
    await server.publish("p", "x".repeat(MAX / 2));
  }));
});

describe("compression", () => {
  test("is spoken when offered, in both directions, with context or without", () => withServer({}, async (server) => {
    for (const perMessageDeflate of [{ threshold: 0 }, { threshold: 0, clientNoContextTakeover: true, serverNoContextTakeover: true },
      { threshold: 0, serverMaxWindowBits: 10, clientMaxWindowBits: 10 }]) {
      const client = await Client.connect(server, { perMessageDeflate });
      assert.match(client.socket.extensions, /permessage-deflate/);
      await client.subscribe("c");
      for (let at = 0; at < 5; at++) {
        await client.publish("c", { text: "the same words again and again ".repeat(50), at });
        assert.equal((await client.message("c")).payload.at, at);
      }
      await client.close();
    }
  }));

  test("can be turned off", () => withServer({ server: { compression: false } }, async (server) => {
    const client = await Client.connect(server, { perMessageDeflate: true });
    assert.equal(client.socket.extensions, "");
    await client.settled();
  }));
});

describe("numbers of things", () => {
  test("subscriptions: LIMIT_EXCEEDED; leaving one makes room", () => withServer({ limits: { subscriptions: 3 } }, async (server) => {
    const client = await Client.connect(server);
    for (const channel of ["a", "b", "c"]) await client.subscribe(channel);
    const error = await client.fails({ type: "subscribe", channel: "d" }, "LIMIT_EXCEEDED");
    assert.equal(error.channel, "d");
    await client.ok({ type: "unsubscribe", channel: "a" });
    await client.subscribe("d");
    await (await Client.connect(server)).subscribe("a");
  }));

  test("10,000 subscriptions: 1000 are granted", () => withServer({ limits: { messages_per_second: 1_000_000, burst: 1_000_000, strikes: 1_000_000 } }, async (server) => {
    const client = await Client.connect(server);
    for (let at = 0; at < 10_000; at++) client.send({ type: "subscribe", channel: `many:${at}`, id: at });
    client.send({ type: "ping", id: "end" });
    const answers = (await client.until({ id: "end" })).slice(0, -1);
    assert.equal(answers.filter(({ type }) => type === "ack").length, 1000);
    assert.equal(answers.filter(({ code }) => code === "LIMIT_EXCEEDED").length, 9000);
  }));

  test("max_connections: HTTP 503 with Retry-After; a leaver makes room", () => withServer({ server: { max_connections: 2 } }, async (server) => {
    const first = await Client.connect(server);
    await Client.connect(server);
    const refused = await Client.refused(server, 503);
    assert.ok(refused.headers["retry-after"] > 0, JSON.stringify(refused.headers));
    await first.close();
    for (;;) {
      const status = await Client.connect(server).then(() => 101, (error) => error.status);
      if (status === 101) break;
      assert.equal(status, 503);
    }
  }));

  test("max_connections_per_ip: HTTP 429", () => withServer({ server: { max_connections_per_ip: 2 } }, async (server) => {
    await Client.connect(server);
    await Client.connect(server);
    await Client.refused(server, 429);
  }));

  test("X-Forwarded-For counts only from a trusted proxy", async () => {
    const from = (server, address) => Client.connect(server, { headers: { "x-forwarded-for": address } });
    await withServer({ server: { max_connections_per_ip: 1, trusted_proxies: ["127.0.0.0/8"] } }, async (server) => {
      await from(server, "203.0.113.1");
      await from(server, "203.0.113.2");
      await Client.refused(server, 429, { headers: { "x-forwarded-for": "203.0.113.2" } });
      // What the client itself put before the proxy's word is not believed.
      await Client.refused(server, 429, { headers: { "x-forwarded-for": "198.51.100.7, 203.0.113.2" } });
    });
    await withServer({ server: { max_connections_per_ip: 1 } }, async (server) => {
      await from(server, "203.0.113.1");
      await Client.refused(server, 429, { headers: { "x-forwarded-for": "203.0.113.2" } });
    });
  });
});

describe("silence", () => {
  test("a client that does not answer pings is cut off; one that does stays", () => withServer(
    { heartbeat: { interval: "1s", timeout: "3s" } },
    async (server) => {
      const [mute, alive] = [await Client.connect(server, { autoPong: false }), await Client.connect(server)];
      await alive.subscribe("h", { presence: true });
      await mute.subscribe("h", { data: {} });
      await alive.next(({ joins }) => joins?.length === 1);
      await mute.closed;
      await alive.next(({ leaves }) => leaves?.length === 1);
      assert.ok(alive.socket.readyState === 1);
      await alive.settled();
    },
  ));

  test("traffic of any kind is a sign of life", () => withServer({ heartbeat: { interval: "1s", timeout: "3s" } }, async (server) => {
    const [mute, talker] = [await Client.connect(server, { autoPong: false }), await Client.connect(server, { autoPong: false })];
    const talking = setInterval(() => talker.send({ type: "ping" }), 200);
    await mute.closed;
    clearInterval(talking);
    await talker.settled();
  }));

  test("a client that vanishes is gone from presence", () => withServer({ heartbeat: { interval: "1s", timeout: "3s" } }, async (server) => {
    const alive = await Client.connect(server);
    await alive.subscribe("h", { presence: true });
    const raw = await RawSocket.upgrade(server);
    const { frame, OPCODE } = await import("../harness/raw.mjs");
    raw.write(frame(OPCODE.text, '{"type":"subscribe","channel":"h","data":{}}'));
    await alive.next(({ joins }) => joins?.length === 1);
    raw.socket.pause(); // as good as unplugged
    await alive.next(({ leaves }) => leaves?.length === 1);
    raw.destroy();
  }));
});

describe("the handshake", () => {
  test("half of one is given up after handshake_timeout", () => withServer({ server: { handshake_timeout: "1s" } }, async (server) => {
    const [half, nothing, slow] = [await RawSocket.open(server), await RawSocket.open(server), await RawSocket.open(server)];
    half.socket.write(half.handshake(server).slice(0, 60));
    const text = slow.handshake(server);
    let at = 0;
    const dripping = setInterval(() => { if (!slow.ended) slow.socket.write(text[at++ % text.length]); }, 100);
    slow.socket.on("error", () => {});
    await Promise.all([half.end(), nothing.end(), slow.end()]);
    clearInterval(dripping);
    assert.ok(at < text.length, "one byte at a time does not get through");
    await (await Client.connect(server)).settled();
  }));

  test("64 KiB of headers are refused", () => withServer({}, async (server) => {
    const raw = await RawSocket.open(server);
    raw.socket.on("error", () => {});
    raw.socket.write(raw.handshake(server, { headers: { "X-Large": "x".repeat(64 * 1024) } }));
    const head = await raw.head().catch(() => "closed");
    assert.match(head, /^HTTP\/1\.1 4(00|31) |^closed$/);
    await (await Client.connect(server)).settled();
  }));

  test("a thousand headers are refused", () => withServer({}, async (server) => {
    const raw = await RawSocket.open(server);
    raw.socket.on("error", () => {});
    raw.socket.write(raw.handshake(server, { headers: Object.fromEntries(Array.from({ length: 1000 }, (_, at) => [`X-${at}`, "1"])) }));
    const head = await raw.head().catch(() => "closed");
    assert.match(head, /^HTTP\/1\.1 4(00|31) |^closed$/);
  }));
});

describe("origins", () => {
  const allow = ["https://app.example.com", "http://localhost:3000"];

  test("a wrong Origin is HTTP 403; a right one and none are good", () => withServer({ origins: { allow } }, async (server) => {
    for (const origin of allow) await Client.connect(server, { origin });
    await Client.connect(server);
    for (const origin of ["https://evil.example", "http://app.example.com", "https://app.example.com:8443", "https://app.example.com.evil.example", "null", "https://sub.app.example.com"]) {
      await Client.refused(server, 403, { origin });
    }
  }));

  test("require = true also refuses none", () => withServer({ origins: { allow, require: true } }, async (server) => {
    await Client.connect(server, { origin: allow[0] });
    await Client.refused(server, 403);
  }));

  test("* allows any", () => withServer({ origins: { allow: ["*"] } }, async (server) => {
    await Client.connect(server, { origin: "https://anyone.example" });
  }));

  test("/ticket obeys them, with CORS headers and preflight", () => withServer({ origins: { allow } }, async (server) => {
    const { mint } = await import("../harness/jwt.mjs");
    const call = (origin, method, more = {}) => fetch(`${server.origin}/ticket`, { method, headers: { origin, ...more } });
    const authorization = `Bearer ${mint({ sub: "ann" })}`;
    const good = await call(allow[0], "POST", { authorization });
    assert.equal(good.status, 200);
    assert.equal(good.headers.get("access-control-allow-origin"), allow[0]);
    assert.equal((await call("https://evil.example", "POST", { authorization })).status, 403);
    const preflight = await call(allow[0], "OPTIONS", { "access-control-request-method": "POST", "access-control-request-headers": "authorization" });
    assert.ok([200, 204].includes(preflight.status), preflight.status);
    assert.equal(preflight.headers.get("access-control-allow-origin"), allow[0]);
    assert.match(preflight.headers.get("access-control-allow-headers") ?? "", /authorization/i);
    assert.equal((await call("https://evil.example", "OPTIONS", { "access-control-request-method": "POST" })).status, 403);
  }));
});
