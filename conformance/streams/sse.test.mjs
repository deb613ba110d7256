// `GET /sse` (section 7 of the contract), with the `eventsource` package and with curl.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, afterEach, before, describe, test } from "node:test";

import { Client, closeAll as closeClients } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { APP, OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { Source, closeAll } from "./source.mjs";

const count = (n, from = 1) => Array.from({ length: n }, (_, at) => at + from);

describe("event streams", () => {
  let server;
  before(async () => {
    server = await Server.start({
      auth: { anonymous: true, query_token: true },
      origins: { allow: ["https://app.example"] },
      channels: [
        { ...OPEN_RULE, match: "closed:*", subscribe: "granted" },
        { ...OPEN_RULE, match: "short:*", history: { size: 3, ttl: "1h" } },
        { match: "plain:*", subscribe: "anyone", publish: "anyone" },
        OPEN_RULE,
      ],
    });
  });
  after(() => server.stop());
  afterEach(() => { closeAll(); closeClients(); });
  const open = (query, options) => new Source(`${server.origin}/sse?${query}`, options);

  test("ready comes first, then each message as an unnamed event with a cursor", async () => {
    const source = open("channel=a1");
    const ready = await source.next("ready");
    assert.equal(typeof ready.data.connectionId, "string");
    assert.equal(ready.data.channels.a1.offset, 0);
    assert.ok(ready.id);
    await server.publish("a1", { n: 1 }, { event: "tick" });
    const { data, id } = await source.next();
    assert.deepEqual([data.type, data.channel, data.event, data.payload, data.offset], ["message", "a1", "tick", { n: 1 }, 1]);
    assert.notEqual(id, ready.id);
  });

  test("named=1 gives messages the name of their event", async () => {
    const source = open("channel=a2&named=1", { names: ["tick"] });
    await source.next("ready");
    await server.publish("a2", 1, { event: "tick" });
    assert.equal((await source.next("tick")).data.payload, 1);
  });

  test("several channels have one cursor that resumes all of them", async () => {
    const first = open("channel=m1&channel=m2");
    await first.next("ready");
    for (const n of count(3)) {
      await server.publish("m1", `one ${n}`);
      await server.publish("m2", `two ${n}`);
    }
    const seen = [];
    let cursor;
    for (let at = 0; at < 4; at += 1) {
      const event = await first.next();
      seen.push(event.data.payload);
      cursor = event.id;
    }
    first.close();
    await server.publish("m1", "one 4");
    const second = open(`channel=m1&channel=m2&cursor=${cursor}`);
    const ready = await second.next("ready");
    assert.deepEqual(Object.values(ready.data.channels).map(({ recovered }) => recovered), [true, true]);
    const rest = await second.payloads(3);
    assert.deepEqual([...seen, ...rest].filter((text) => text.startsWith("one")), count(4).map((n) => `one ${n}`));
    assert.deepEqual([...seen, ...rest].filter((text) => text.startsWith("two")), count(3).map((n) => `two ${n}`));
  });

  test("as many channels as a connection may have", async () => {
    const source = open(count(1000).map((n) => `channel=many:${n}`).join("&"));
    assert.equal(Object.keys((await source.next("ready")).data.channels).length, 1000);
    await server.publish("many:1000", 1);
    assert.equal((await source.next()).data.payload, 1);
  });

  test("Last-Event-ID resumes after each single message, without gap or repeat", async () => {
    for (const n of count(5)) await server.publish("l", n);
    const first = open("channel=l");
    await first.next("ready");
    await server.publish("l", 6);
    const { id } = await first.next();
    first.close();
    for (const n of count(4, 7)) await server.publish("l", n);
    const second = open("channel=l", { headers: { "last-event-id": id } });
    const ready = await second.next("ready");
    assert.equal(ready.data.channels.l.recovered, true);
    assert.deepEqual(await second.payloads(4), count(4, 7));
  });

  test("a cursor from before the history is not recovered, and says so", async () => {
    const first = open("channel=short:1");
    const { id } = await first.next("ready");
    first.close();
    for (const n of count(5)) await server.publish("short:1", n);
    const second = open(`channel=short:1&cursor=${id}`);
    assert.equal((await second.next("ready")).data.channels["short:1"].recovered, false);
  });

  for (const forged of ["garbage", "%00%ff", "e30", "bnVsbA", Buffer.from('{"p":[["f","no-such-epoch",99999]]}').toString("base64url"), "A".repeat(20_000)]) {
    test(`a forged cursor (${forged.slice(0, 20)}) recovers nothing and does no harm`, async () => {
      const source = open(`channel=f&cursor=${forged}`);
      assert.equal((await source.next("ready")).data.channels.f.recovered, false);
      const { offset } = await server.publish("f", "live");
      assert.equal((await source.next()).data.offset, offset);
    });
  }

  test("a channel without history streams, and is not recovered", async () => {
    const source = open("channel=plain:1");
    const ready = await source.next("ready");
    assert.deepEqual(ready.data.channels["plain:1"], {});
    await server.publish("plain:1", 1);
    assert.equal((await source.next()).data.payload, 1);
    const second = open(`channel=plain:1&cursor=${ready.id}`);
    assert.equal((await second.next("ready")).data.channels["plain:1"].recovered, false);
  });

  test("one refused channel refuses the request", async () => {
    const answer = await fetch(`${server.origin}/sse?channel=a&channel=closed:1`, { headers: { authorization: `Bearer ${mint({ sub: "u" })}` } });
    assert.equal(answer.status, 403);
    assert.equal((await answer.json()).error.code, "FORBIDDEN");
    const granted = open("channel=closed:1", { token: mint({ sub: "u", subscribe: ["closed:*"] }) });
    await granted.next("ready");
  });

  for (const [query, status, code] of [
    ["channel=", 400, "INVALID_CHANNEL"],
    ["channel=%23x", 400, "INVALID_CHANNEL"],
    ["channel=a%0Ab", 400, "INVALID_CHANNEL"],
    ["channel=closed:1", 401, "AUTH_REQUIRED"],
    ["channel=a&token=nonsense", 401, "TOKEN_INVALID"],
    ["channel=a&ticket=nonsense", 401, "TOKEN_INVALID"],
  ]) {
    test(`?${query} is HTTP ${status} ${code}`, async () => {
      const answer = await fetch(`${server.origin}/sse?${query}`);
      assert.deepEqual([answer.status, (await answer.json()).error.code], [status, code]);
    });
  }

  test("a ticket lets a browser in that can send no header", async () => {
    const { ticket } = await (await fetch(`${server.origin}/ticket`, { method: "POST", headers: { authorization: `Bearer ${mint({ sub: "tim", subscribe: ["closed:*"] })}` } })).json();
    const source = open(`channel=closed:2&ticket=${ticket}`);
    const { data } = await source.next("ready");
    const { body } = await server.api("GET", `/api/connections/${data.connectionId}`);
    assert.deepEqual([body.userId, body.protocol, body.channels], ["tim", "sse", ["closed:2"]]);
  });

  test("what is sent to the user arrives without subscribing", async () => {
    const source = open("channel=u", { token: mint({ sub: "uma" }) });
    await source.next("ready");
    await server.api("POST", "/api/users/uma/publish", { payload: "for you" });
    assert.equal((await source.next()).data.payload, "for you");
  });

  test("origins: allowed ones get CORS headers, others 403", async () => {
    const ask = (origin, method = "GET") => fetch(`${server.origin}/sse?channel=a`, {
      method, headers: { origin, ...(method === "OPTIONS" ? { "access-control-request-method": "GET", "access-control-request-headers": "last-event-id" } : {}) },
    });
    const allowed = await ask("https://app.example");
    assert.equal(allowed.status, 200);
    assert.equal(allowed.headers.get("access-control-allow-origin"), "https://app.example");
    assert.match(allowed.headers.get("content-type"), /^text\/event-stream/);
    await allowed.body.cancel();
    assert.equal((await ask("https://evil.example")).status, 403);
    const preflight = await ask("https://app.example", "OPTIONS");
    assert.equal(preflight.status, 204);
    assert.match(preflight.headers.get("access-control-allow-headers"), /last-event-id/i);
    assert.equal((await ask("https://evil.example", "OPTIONS")).status, 403);
  });

  test("POST is 405", async () => {
    assert.equal((await fetch(`${server.origin}/sse?channel=a`, { method: "POST" })).status, 405);
  });

  test("the API disconnects a stream, subscribes it and unsubscribes it", async () => {
    const source = open("channel=s", { token: mint({ sub: "sam" }) });
    const { data } = await source.next("ready");
    await server.api("POST", "/api/users/sam/subscribe", { channel: "later" });
    assert.equal((await source.next("subscribed")).data.channel, "later");
    await server.publish("later", 1);
    assert.equal((await source.next()).data.payload, 1);
    await server.api("POST", "/api/users/sam/unsubscribe", { channel: "later" });
    assert.equal((await source.next("unsubscribed")).data.channel, "later");
    await server.api("POST", `/api/connections/${data.connectionId}/disconnect`);
    assert.equal((await source.next("error")).data.code, "FORBIDDEN");
    await source.until(({ errors }) => errors.length > 0, "the end of the stream");
  });

  test("a token that expires ends the stream with an error", async () => {
    const exp = Math.floor(Date.now() / 1000) + 5;
    const source = open("channel=x", { token: mint({ sub: "exp", exp }) });
    await source.next("ready");
    assert.equal((await source.next("error")).data.code, "TOKEN_EXPIRED");
    source.close();
  });

  test("bytes are base64, and line ends in a payload do no harm", async () => {
    const source = open("channel=bytes");
    await source.next("ready");
    await server.publish("bytes", "AAEC", { encoding: "base64" });
    const { data } = await source.next();
    assert.deepEqual([data.payload, data.encoding], ["AAEC", "base64"]);
    await server.api("POST", "/api/publish", '{"channel":"bytes","payload":[1,\r\n  2,\n"a\\nb"]}');
    assert.deepEqual((await source.next()).data.payload, [1, 2, "a\nb"]);
  });

  test("curl -N sees each event as it comes", async () => {
    const curl = spawn("curl", ["-sN", `${server.origin}/sse?channel=curl`]);
    try {
      let text = "";
      curl.stdout.setEncoding("utf8").on("data", (chunk) => { text += chunk; });
      await eventually(() => text.includes("event: ready"), "ready");
      await server.publish("curl", "x");
      await eventually(() => /^data: .*"payload":"x"/m.test(text), "the message");
      assert.match(text, /^id: \S+$/m);
    } finally {
      curl.kill();
    }
  });

  test("without a channel it is a session of the user's messages, and of what is subscribed to through /send", async () => {
    const source = open("", { token: mint({ sub: "dyn" }) });
    const { data } = await source.next("ready");
    assert.deepEqual(data.channels, {});
    const sent = await fetch(`${server.origin}/send?connectionId=${data.connectionId}`, { method: "POST", headers: { authorization: `Bearer ${mint({ sub: "dyn" })}` }, body: '{"type":"subscribe","channel":"dyn"}' });
    assert.equal(sent.status, 200);
    await server.publish("dyn", 1);
    const event = await source.next();
    assert.equal(event.data.payload, 1);
    source.close();
    await server.publish("dyn", 2);
    const again = open(`channel=dyn&cursor=${event.id}`, { token: mint({ sub: "dyn" }) });
    assert.equal((await again.next("ready")).data.channels.dyn.recovered, true);
    assert.equal((await again.next()).data.payload, 2);
  });

  test("a stream that gets further channels has a cursor over all of them from then on", async () => {
    const headers = { authorization: `Bearer ${mint({ sub: "wide" })}` };
    const source = open("channel=w1", { token: mint({ sub: "wide" }) });
    const { data } = await source.next("ready");
    await server.publish("w1", "one 1");
    await server.publish("w1", "one 2");
    await fetch(`${server.origin}/send?connectionId=${data.connectionId}`, { method: "POST", headers, body: '{"type":"subscribe","channel":"w2"}' });
    await server.api("POST", "/api/users/wide/subscribe", { channel: "w3" });
    await source.next("subscribed");
    for (const channel of ["w1", "w2", "w3"]) await server.publish(channel, `${channel} later`);
    const seen = [];
    let id;
    while (seen.length < 5) {
      const event = await source.next();
      seen.push(event.data.payload);
      id = event.id;
    }
    assert.deepEqual(seen, ["one 1", "one 2", "w1 later", "w2 later", "w3 later"]);
    source.close();
    for (const channel of ["w1", "w2", "w3"]) await server.publish(channel, `${channel} missed`);
    const again = open(`channel=w1&channel=w2&channel=w3&cursor=${id}`);
    const ready = await again.next("ready");
    assert.deepEqual(Object.values(ready.data.channels).map(({ recovered }) => recovered), [true, true, true]);
    assert.deepEqual((await again.payloads(3)).sort(), ["w1 missed", "w2 missed", "w3 missed"]);
  });

  for (const channels of ["channel=zip1", "channel=zip1&channel=zip2"]) {
    test(`a compressed stream, ?${channels}, is the same stream`, async () => {
      const { request } = await import("node:http");
      const { createGunzip, constants } = await import("node:zlib");
      const asked = request(`${server.origin}/sse?${channels}`, { headers: { "accept-encoding": "gzip" } });
      const answer = await new Promise((done, fail) => asked.on("response", done).on("error", fail).end());
      try {
        assert.equal(answer.headers["content-encoding"], "gzip");
        let text = "";
        answer.pipe(createGunzip({ flush: constants.Z_SYNC_FLUSH })).setEncoding("utf8").on("data", (chunk) => { text += chunk; });
        await eventually(() => text.includes("event: ready"), "ready");
        await server.publish("zip1", "short");
        await server.publish("zip1", "x".repeat(5000));
        await eventually(() => text.includes("x".repeat(5000)), "the messages");
        assert.match(text, /^data: .*"payload":"short"/m);
        assert.equal((text.match(/^id: /gm) ?? []).length, 3);
      } finally {
        asked.destroy();
      }
    });
  }

  test("a stream counts as a member, and is gone when the client goes", async () => {
    const source = open("channel=gone");
    await source.next("ready");
    assert.equal((await server.api("GET", "/api/channels/gone")).body.members, 1);
    assert.equal(await server.metric("starling_connections", { protocol: "sse" }) > 0, true);
    source.close();
    await eventually(async () => (await server.api("GET", "/api/channels/gone")).body.members === 0, "the member's end");
  });

  test("native WebSocket members and streams see the same", async () => {
    const [source, client] = [open("channel=both"), await Client.connect(server)];
    await source.next("ready");
    await client.subscribe("both");
    await client.publish("both", "from ws");
    assert.equal((await source.next()).data.payload, "from ws");
    assert.equal((await client.message("both")).payload, "from ws");
  });
});

describe("slow streams", () => {
  test("drop: a gap says how many were missed; reliable: the stream ends and resumes from its cursor", async () => {
    const backpressure = { high_water: "4KiB", queue_messages: 10, queue_bytes: "64KiB" };
    const server = await Server.start({ backpressure, channels: [{ match: "drop", subscribe: "anyone", publish: "anyone", delivery: "drop" }, { ...OPEN_RULE, history: { size: 100_000, ttl: "1h" } }] });
    try {
      const { connect } = await import("node:net");
      const stall = async (channel) => {
        const socket = connect(server.port, "127.0.0.1");
        socket.write(`GET /sse?channel=${channel} HTTP/1.1\r\nHost: x\r\n\r\n`);
        let text = "";
        socket.setEncoding("utf8");
        socket.on("error", () => {});
        await new Promise((ready) => socket.on("data", function begin(chunk) {
          text += chunk;
          if (text.includes("event: ready")) { socket.off("data", begin); ready(); }
        }));
        socket.pause();
        return { socket, text: () => text, read: () => { socket.on("data", (chunk) => { text += chunk; }); socket.resume(); } };
      };
      const payload = "x".repeat(10_000);
      const dropped = await stall("drop");
      for (let n = 0; n < 1500; n += 1) await server.publish("drop", { n, payload });
      dropped.read();
      await eventually(() => dropped.text().includes("event: gap"), "a gap");
      const missed = JSON.parse(dropped.text().match(/event: gap\ndata: (.*)/)[1]).missed;
      await eventually(() => (dropped.text().match(/"type":"message"/g) ?? []).length + missed === 1500, "everything accounted for");
      dropped.socket.destroy();

      const reliable = await stall("reliable");
      const ended = new Promise((done) => reliable.socket.on("close", done));
      for (let n = 1; n <= 1500; n += 1) await server.publish("reliable", { n, payload });
      await eventually(async () => await server.metric("starling_connections_closed_total", { reason: "slow_consumer" }) === 1, "the close");
      reliable.read();
      await ended;
      const ids = reliable.text().match(/^id: .*$/gm);
      const seen = [...reliable.text().matchAll(/"payload":\{"n":(\d+).*\nid: /g)].length;
      const source = new Source(`${server.origin}/sse?channel=reliable&cursor=${ids.at(-1).slice(4)}`);
      assert.equal((await source.next("ready")).data.channels.reliable.recovered, true);
      const rest = await source.payloads(1500 - seen);
      assert.deepEqual(rest.map(({ n }) => n), count(1500 - seen, seen + 1));
    } finally {
      closeAll();
      await server.stop();
    }
  });

  test("a drain ends the stream", async () => {
    const server = await Server.start({ apps: [APP] });
    try {
      const source = new Source(`${server.origin}/sse?channel=d`);
      await source.next("ready");
      server.signal("SIGTERM");
      assert.ok((await source.next("drain")).data.reconnectIn >= 0);
      await source.until(({ errors }) => errors.length > 0, "the end");
      assert.equal((await server.exited).code, 0);
    } finally {
      closeAll();
      await server.stop();
    }
  });
});
