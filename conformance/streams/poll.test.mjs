// `GET /poll` and `POST /send` (section 7 of the contract), by plain fetch.

import assert from "node:assert/strict";
import { request } from "node:http";
import { gunzipSync } from "node:zlib";
import { after, afterEach, before, describe, test } from "node:test";

import { Client, closeAll as closeClients } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { APP, OPEN_RULE, Server, eventually } from "../harness/server.mjs";
import { Source, closeAll } from "./source.mjs";

const count = (n, from = 1) => Array.from({ length: n }, (_, at) => at + from);
const bearer = (sub, claims) => ({ authorization: `Bearer ${mint({ sub, app: "1", ...claims })}` });
const APP_TWO = { id: "2", key: "key-two", secret: "secret-of-app-two-0123456789abcdef" };

let server;
const poll = async (query, { headers, from = server } = {}) => {
  const answer = await fetch(`${from.origin}/poll?${query}`, { headers });
  const body = await answer.json();
  return { status: answer.status, headers: answer.headers, ...body };
};
const send = async (message, { headers, query = "" } = {}) => {
  const body = typeof message === "string" ? message : JSON.stringify(message);
  const answer = await fetch(`${server.origin}/send${query}`, { method: "POST", headers, body });
  return { status: answer.status, headers: answer.headers, body: await answer.json() };
};
/** Returns when every worker has handed out what was published before: its answer stands behind that in the same queue. */
const settled = (channel) => server.api("GET", `/api/channels/${channel}`);
const payloads = ({ messages }) => messages.map(({ payload }) => payload);

const start = () => Server.start({
  apps: [APP, APP_TWO],
  origins: { allow: ["https://app.example"] },
  channels: [
    { ...OPEN_RULE, match: "closed:*", subscribe: "granted", publish: "members" },
    { ...OPEN_RULE, match: "members:*", publish: "members" },
    { ...OPEN_RULE, match: "short:*", history: { size: 3, ttl: "1h" } },
    { match: "plain:*", subscribe: "anyone", publish: "anyone" },
    OPEN_RULE,
  ],
});

describe("long-polling", () => {
  before(async () => { server = await start(); });
  after(() => server.stop());
  afterEach(() => { closeAll(); closeClients(); });

  test("without a cursor the present one comes at once", async () => {
    const first = await poll("channel=p1");
    assert.deepEqual([first.status, first.messages, first.recovered, typeof first.connectionId], [200, [], true, "string"]);
  });

  test("a poll is answered when a message comes", async () => {
    const { cursor } = await poll("channel=p2");
    const waiting = poll(`channel=p2&cursor=${cursor}&timeout=30`);
    await server.publish("p2", { n: 1 }, { event: "tick" });
    const { messages, recovered } = await waiting;
    assert.deepEqual([messages.length, messages[0].type, messages[0].event, messages[0].payload, messages[0].offset, recovered], [1, "message", "tick", { n: 1 }, 1, true]);
  });

  test("what came between two polls is there at once; nothing is given twice", async () => {
    let { cursor } = await poll("channel=p3");
    for (const n of count(5)) await server.publish("p3", n);
    await settled("p3");
    const second = await poll(`channel=p3&cursor=${cursor}`);
    assert.deepEqual(payloads(second), count(5));
    await server.publish("p3", 6);
    const third = await poll(`channel=p3&cursor=${second.cursor}`);
    assert.deepEqual(payloads(third), [6]);
    assert.equal(third.connectionId, second.connectionId);
  });

  test("timeout=0 answers at once with an empty list and a cursor that goes on", async () => {
    const { cursor } = await poll("channel=p4");
    const empty = await poll(`channel=p4&cursor=${cursor}&timeout=0`);
    assert.deepEqual([empty.status, empty.messages], [200, []]);
    await server.publish("p4", 1);
    assert.deepEqual(payloads(await poll(`channel=p4&cursor=${empty.cursor}`)), [1]);
  });

  test("an answer that was lost is given again, and the session goes on with all that it has", async () => {
    const headers = bearer("pat");
    const { cursor, connectionId } = await poll("channel=p5", { headers });
    await send({ type: "subscribe", channel: "plain:p5", id: 1 }, { headers, query: `?connectionId=${connectionId}` });
    for (const n of count(3)) await server.publish("p5", n);
    await server.publish("plain:p5", "without a log");
    await server.api("POST", "/api/users/pat/publish", { payload: "for pat" });
    await settled("p5");
    const lost = await poll(`channel=p5&cursor=${cursor}`, { headers });
    const all = [...count(3), "without a log", "for pat"];
    assert.deepEqual(new Set(payloads(lost)), new Set(all));
    await server.publish("p5", 4);
    const again = await poll(`channel=p5&cursor=${cursor}`, { headers });
    assert.deepEqual([payloads(again), again.recovered, again.connectionId], [payloads(lost), true, connectionId]);
    const next = await poll(`channel=p5&cursor=${again.cursor}`, { headers });
    assert.deepEqual([payloads(next), next.connectionId], [[4], connectionId]);
  });

  test("an answer before the last one is given from the log", async () => {
    const { cursor, connectionId } = await poll("channel=p9");
    await server.publish("p9", 1);
    await settled("p9");
    const second = await poll(`channel=p9&cursor=${cursor}`);
    await server.publish("p9", 2);
    await settled("p9");
    assert.deepEqual(payloads(await poll(`channel=p9&cursor=${second.cursor}`)), [2]);
    const again = await poll(`channel=p9&cursor=${cursor}`);
    assert.deepEqual([payloads(again), again.recovered], [[1, 2], true]);
    assert.notEqual(again.connectionId, connectionId);
  });

  test("a client that hangs up in the middle of a poll loses nothing", async () => {
    const { cursor } = await poll("channel=p6");
    const hung = request(`${server.origin}/poll?channel=p6&cursor=${cursor}&timeout=60`).on("error", () => {});
    hung.end();
    await eventually(async () => (await server.api("GET", "/api/channels/p6")).body.members === 1, "the member");
    hung.destroy();
    await server.publish("p6", 1);
    const next = await poll(`channel=p6&cursor=${cursor}`);
    assert.deepEqual([payloads(next), next.recovered], [[1], true]);
  });

  test("two polls at once on one session: the older one ends empty, the newer gets what comes", async () => {
    const { cursor } = await poll("channel=p7");
    const older = poll(`channel=p7&cursor=${cursor}&timeout=60`);
    const newer = poll(`channel=p7&cursor=${cursor}&timeout=60`);
    const first = await Promise.race([older, newer]);
    assert.deepEqual([first.status, first.messages], [200, []]);
    await server.publish("p7", 1);
    const both = await Promise.all([older, newer]);
    assert.deepEqual(both.flatMap(payloads), [1]);
  });

  test("a cursor is good without its session, on any node: here, after the session was closed", async () => {
    const { cursor, connectionId } = await poll("channel=p8");
    await server.api("POST", `/api/connections/${connectionId}/disconnect`);
    await server.publish("p8", 1);
    const next = await poll(`channel=p8&cursor=${cursor}`);
    // The session's end is told once; then the log is read.
    const told = next.status === 403 ? await poll(`channel=p8&cursor=${cursor}`) : next;
    assert.deepEqual([payloads(told), told.recovered], [[1], true]);
  });

  test("a cursor from before the history is not recovered, which is told at once and not at the end of the poll", async () => {
    const { cursor, connectionId } = await poll("channel=short:1");
    await server.api("POST", `/api/connections/${connectionId}/disconnect`);
    await poll(`channel=short:1&cursor=${cursor}&timeout=0`);
    for (const n of count(6)) await server.publish("short:1", n);
    const stale = Buffer.from(JSON.stringify({ p: JSON.parse(Buffer.from(cursor, "base64url")).p })).toString("base64url");
    const next = await poll(`channel=short:1&cursor=${stale}&timeout=60`);
    assert.deepEqual([next.recovered, next.messages], [false, []]);
  });

  test("a channel without history gives what arrives while it waits", async () => {
    const { cursor } = await poll("channel=plain:1");
    const waiting = poll(`channel=plain:1&cursor=${cursor}&timeout=30`);
    await server.publish("plain:1", 1);
    const { messages, recovered } = await waiting;
    assert.deepEqual([messages.map(({ payload }) => payload), recovered], [[1], true]);
  });

  test("a request counts as one message, however many channels it names", async () => {
    const query = count(400).map((n) => `channel=many:${n}`).join("&");
    const { status, cursor } = await poll(query);
    assert.equal(status, 200);
    await server.publish("many:400", 1);
    assert.deepEqual(payloads(await poll(`${query}&cursor=${cursor}`)), [1]);
    const { status: refused, error } = await poll(count(1001).map((n) => `channel=many:${n}`).join("&"));
    assert.deepEqual([refused, error.code], [403, "LIMIT_EXCEEDED"]);
  });

  test("who sees the id of somebody without a token cannot speak or listen for them", async () => {
    const mine = await poll("channel=seen");
    const query = (id) => `?connectionId=${encodeURIComponent(id)}`;
    const entered = await send({ type: "presence", channel: "seen", action: "enter", data: { name: "me" }, id: 1 }, { query: query(mine.connectionId) });
    assert.equal(entered.status, 200);
    const { body } = await server.api("GET", "/api/channels/seen/presence");
    const { connectionId: seen } = body.members[0];
    assert.notEqual(seen, mine.connectionId);
    for (const name of [seen, `${seen}~`, `${seen}~guess`]) {
      const refused = await send({ type: "presence", channel: "seen", action: "leave", id: 1 }, { query: query(name) });
      assert.equal(refused.status, 403, JSON.stringify(refused.body));
      const forged = Buffer.from(JSON.stringify({ p: [], s: [name, 0] })).toString("base64url");
      assert.notEqual((await poll(`channel=other&timeout=0&cursor=${forged}`)).connectionId, mine.connectionId);
    }
    assert.equal((await server.api("GET", "/api/channels/seen/presence")).body.members.length, 1);
    for (const name of [seen, mine.connectionId]) {
      assert.equal((await server.api("GET", `/api/connections/${encodeURIComponent(name)}`)).body.connectionId, seen);
    }
  });

  test("several channels", async () => {
    const { cursor } = await poll("channel=q1&channel=q2");
    await server.publish("q1", "a");
    await server.publish("q2", "b");
    await server.publish("q1", "c");
    await settled("q1");
    assert.deepEqual(payloads(await poll(`channel=q1&channel=q2&cursor=${cursor}`)), ["a", "b", "c"]);
  });

  test("a cursor of another user, or of another app, reaches nobody else's session", async () => {
    const mine = await poll("channel=o1", { headers: bearer("ann") });
    await server.publish("o1", "for all");
    const theirs = await poll(`channel=o1&cursor=${mine.cursor}`, { headers: bearer("bob") });
    assert.notEqual(theirs.connectionId, mine.connectionId);
    const other = { authorization: `Bearer ${mint({ sub: "ann", app: "2" }, { key: APP_TWO.secret })}` };
    const elsewhere = await poll(`channel=o1&cursor=${mine.cursor}&timeout=0`, { headers: other });
    assert.deepEqual([elsewhere.status, elsewhere.messages, elsewhere.recovered], [200, [], false]);
    assert.deepEqual(payloads(await poll(`channel=o1&cursor=${mine.cursor}`, { headers: bearer("ann") })), ["for all"]);
  });

  test("a cursor never opens a channel that its bearer may not read", async () => {
    const mine = await poll("channel=closed:1", { headers: bearer("ann", { subscribe: ["closed:*"] }) });
    assert.equal(mine.status, 200);
    const theirs = await poll(`channel=closed:1&cursor=${mine.cursor}`, { headers: bearer("bob") });
    assert.deepEqual([theirs.status, theirs.error.code], [403, "FORBIDDEN"]);
  });

  for (const forged of ["garbage", "e30", Buffer.from('{"p":[],"s":["nobody.here",3]}').toString("base64url"), Buffer.from('{"p":[["x","y",-1]]}').toString("base64url")]) {
    test(`a forged cursor (${forged}) recovers nothing and does no harm`, async () => {
      const answer = await poll(`channel=forged&cursor=${forged}&timeout=0`);
      assert.deepEqual([answer.status, answer.recovered], [200, false]);
    });
  }

  for (const [query, status, code] of [
    ["channel=%23x", 400, "INVALID_CHANNEL"],
    ["channel=a&timeout=soon", 400, "INVALID_MESSAGE"],
    ["channel=a&timeout=-1", 400, "INVALID_MESSAGE"],
    ["channel=closed:1", 401, "AUTH_REQUIRED"],
  ]) {
    test(`?${query} is HTTP ${status} ${code}`, async () => {
      const answer = await poll(query);
      assert.deepEqual([answer.status, answer.error.code], [status, code]);
    });
  }

  test("a large answer is compressed where that is asked for", async () => {
    const { cursor } = await poll("channel=zip");
    await server.publish("zip", "x".repeat(20_000));
    const raw = await new Promise((done, fail) => {
      request(`${server.origin}/poll?channel=zip&cursor=${cursor}`, { headers: { "accept-encoding": "gzip" } }, (answer) => {
        const chunks = [];
        answer.on("data", (chunk) => chunks.push(chunk)).on("end", () => done({ headers: answer.headers, body: Buffer.concat(chunks) }));
      }).on("error", fail).end();
    });
    assert.equal(raw.headers["content-encoding"], "gzip");
    assert.equal(JSON.parse(gunzipSync(raw.body)).messages[0].payload.length, 20_000);
  });

  test("origins: 403 for others, CORS for allowed ones, and a preflight", async () => {
    const allowed = await fetch(`${server.origin}/poll?channel=a`, { headers: { origin: "https://app.example" } });
    assert.equal(allowed.headers.get("access-control-allow-origin"), "https://app.example");
    assert.equal((await fetch(`${server.origin}/poll?channel=a`, { headers: { origin: "https://evil.example" } })).status, 403);
    assert.equal((await fetch(`${server.origin}/send`, { method: "POST", headers: { origin: "https://evil.example" }, body: "{}" })).status, 403);
    const preflight = await fetch(`${server.origin}/send`, { method: "OPTIONS", headers: { origin: "https://app.example", "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type" } });
    assert.deepEqual([preflight.status, preflight.headers.get("access-control-allow-headers")], [204, "authorization,content-type"]);
  });
});

describe("POST /send", () => {
  before(async () => { server = await start(); });
  after(() => server.stop());
  afterEach(() => { closeAll(); closeClients(); });

  test("without a session it publishes where membership is not asked for", async () => {
    const client = await Client.connect(server);
    await client.subscribe("s1");
    const answer = await send({ type: "publish", channel: "s1", payload: { a: 1 }, id: 7 }, { headers: bearer("ann") });
    assert.deepEqual([answer.status, answer.body.type, answer.body.id, answer.body.offset], [200, "ack", 7, 1]);
    const message = await client.message("s1");
    assert.deepEqual([message.payload, message.userId], [{ a: 1 }, "ann"]);
  });

  test("membership, echo, presence and subscriptions are those of the session", async () => {
    const source = new Source(`${server.origin}/sse?channel=members:1`, { token: mint({ sub: "ann", app: "1", info: { name: "Ann" } }) });
    const { data: { connectionId } } = await source.next("ready");
    const as = (message) => send(message, { headers: bearer("ann"), query: `?connectionId=${connectionId}` });
    assert.equal((await send({ type: "publish", channel: "members:1", payload: 1 }, { headers: bearer("ann") })).body.code, "NOT_SUBSCRIBED");
    assert.equal((await as({ type: "publish", channel: "members:1", payload: "quiet", echo: false })).status, 200);
    assert.equal((await as({ type: "publish", channel: "members:1", payload: "loud" })).status, 200);
    assert.equal((await source.next()).data.payload, "loud");
    assert.equal((await as({ type: "presence", channel: "members:1", action: "enter" })).body.type, "ack");
    const { body } = await server.api("GET", "/api/channels/members:1/presence");
    assert.deepEqual(body.members, [{ userId: "ann", connectionId, data: { name: "Ann" } }]);
    assert.equal((await as({ type: "subscribe", channel: "more", id: "x" })).body.channel, "more");
    await server.publish("more", 2);
    assert.equal((await source.next()).data.payload, 2);
    assert.equal((await as({ type: "unsubscribe", channel: "more" })).body.type, "ack");
    assert.equal((await as({ type: "unsubscribe", channel: "more" })).body.code, "NOT_SUBSCRIBED");
  });

  test("a poll's session is one as well", async () => {
    const first = await poll("channel=members:2", { headers: bearer("bob") });
    const as = (message) => send(message, { headers: bearer("bob"), query: `?connectionId=${first.connectionId}` });
    assert.equal((await as({ type: "publish", channel: "members:2", payload: "mine" })).status, 200);
    assert.deepEqual(payloads(await poll(`channel=members:2&cursor=${first.cursor}`, { headers: bearer("bob") })), ["mine"]);
  });

  test("nobody speaks for another user's session", async () => {
    const first = await poll("channel=members:3", { headers: bearer("ann") });
    for (const headers of [bearer("bob"), undefined]) {
      const answer = await send({ type: "publish", channel: "members:3", payload: 1 }, { headers, query: `?connectionId=${first.connectionId}` });
      assert.deepEqual([answer.status, answer.body.code], [403, "FORBIDDEN"]);
    }
    const nowhere = await send({ type: "ping" , id: 1 }, { query: "?connectionId=nobody.here" });
    assert.equal(nowhere.body.type, "pong");
    assert.equal((await send({ type: "publish", channel: "a", payload: 1 }, { query: "?connectionId=nobody.here" })).status, 403);
  });

  for (const [body, status, code] of [
    ["", 400, "INVALID_MESSAGE"],
    ["nonsense", 400, "INVALID_MESSAGE"],
    ["[]", 400, "INVALID_MESSAGE"],
    ["{}", 400, "MISSING_TYPE"],
    ['{"type":"dance"}', 400, "UNKNOWN_TYPE"],
    ['{"type":"event","event":"x","payload":1}', 400, "UNKNOWN_TYPE"],
    ['{"type":"publish","channel":"#x","payload":1}', 400, "INVALID_CHANNEL"],
    ['{"type":"subscribe","channel":"a"}', 400, "INVALID_MESSAGE"],
    [JSON.stringify({ type: "publish", channel: "a", payload: "x".repeat(70_000) }), 413, "PAYLOAD_TOO_LARGE"],
  ]) {
    test(`${body.slice(0, 50)} is HTTP ${status} ${code}`, async () => {
      const answer = await send(body);
      assert.deepEqual([answer.status, (answer.body.error ?? answer.body).code], [status, code]);
    });
  }

  test("a bad token is 401, GET is 405", async () => {
    assert.equal((await send({ type: "ping" }, { headers: { authorization: "Bearer x.y.z" } })).status, 401);
    assert.equal((await fetch(`${server.origin}/send`)).status, 405);
  });

  test("too many without a session is 429, for this user only", async () => {
    const strict = await Server.start({ limits: { messages_per_second: 1, burst: 3 } });
    try {
      const say = (sub) => fetch(`${strict.origin}/send`, { method: "POST", headers: bearer(sub), body: '{"type":"publish","channel":"a","payload":1}' });
      const statuses = (await Promise.all(count(30).map(() => say("ann")))).map(({ status }) => status);
      assert.ok(statuses.includes(429), statuses.join());
      assert.equal((await say("bob")).status, 200);
    } finally {
      await strict.stop();
    }
  });
});

describe("one channel, every native transport", () => {
  before(async () => { server = await start(); });
  after(() => server.stop());
  afterEach(() => { closeAll(); closeClients(); });

  test("each one's message reaches all the others, once and in order", async () => {
    const ws = await Client.connect(server);
    await ws.subscribe("all");
    const source = new Source(`${server.origin}/sse?channel=all`);
    await source.next("ready");
    let { cursor } = await poll("channel=all");
    for (const n of count(30)) {
      if (n % 3 === 0) await ws.publish("all", n);
      else if (n % 3 === 1) await send({ type: "publish", channel: "all", payload: n });
      else await server.publish("all", n);
    }
    const polled = [];
    while (polled.length < 30) {
      const next = await poll(`channel=all&cursor=${cursor}`);
      polled.push(...payloads(next));
      cursor = next.cursor;
    }
    const heard = [];
    while (heard.length < 30) heard.push((await ws.message("all")).payload);
    assert.deepEqual([polled, heard, await source.payloads(30)], [count(30), count(30), count(30)]);
  });
});
