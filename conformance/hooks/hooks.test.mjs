// Hooks: what the backend is asked, and what its answers do. Contract sections 9 and 11.

import assert from "node:assert/strict";
import { after, afterEach, before, describe, test } from "node:test";

import { Backend } from "../harness/backend.mjs";
import { Client, closeAll, MSGPACK_PROTOCOL } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { eventually, OPEN_RULE, Server } from "../harness/server.mjs";

let backend;
let server;
before(async () => {
  backend = await Backend.start();
  server = await Server.start({
    hooks: { url: backend.hooks, timeout: "5s" },
    channels: [
      { match: "granted:*", subscribe: "granted", publish: "granted", history: { size: 10, ttl: "1h" } },
      { match: "closed:*", subscribe: "authenticated", publish: "nobody" },
      { match: "plain:*", subscribe: "anyone", publish: "anyone" },
      OPEN_RULE,
    ],
  });
});
after(async () => {
  closeAll();
  await server.stop();
  await backend.stop();
});
afterEach(() => backend.reset());

let next = 0;
const fresh = (kind = "room") => `${kind}:${++next}`;
const asked = (type) => backend.questions.filter((question) => question.type === type);
/** Answers questions of one type, and lets everything else go ahead. */
const answering = (type, answer) => {
  backend.answer = (question, ...more) => question.type !== type ? {} : typeof answer === "function" ? answer(question, ...more) : answer;
};
const REJECT = { reject: { code: "NO_SEAT", message: "the house is full" } };

describe("connect", () => {
  test("asks with the fields of the contract", async () => {
    const ann = await Client.user(server, "ann", { claims: { info: { name: "Ann" } } });
    assert.deepEqual(asked("connect"), [
      { type: "connect", app: "1", connectionId: ann.connectionId, userId: "ann", protocol: "native", data: { name: "Ann" } },
    ]);
  });

  test("an anonymous connection has no userId", async () => {
    await Client.connect(server);
    const [question] = asked("connect");
    assert.deepEqual(Object.keys(question).sort(), ["app", "connectionId", "protocol", "type"]);
  });

  test("a refusal is 403 with the code of the backend", async () => {
    answering("connect", REJECT);
    const refused = await Client.refused(server, 403, { user: "ann" });
    assert.deepEqual(JSON.parse(refused.body).error, REJECT.reject);
  });

  test("a refusal after the upgrade is an error, then 4003", async () => {
    const strict = await Server.start({ auth: { anonymous: false }, hooks: { url: backend.hooks } });
    try {
      answering("connect", REJECT);
      const client = await Client.connect(strict);
      client.send({ type: "auth", token: mint({ sub: "ann" }), id: 1 });
      await client.next({ type: "error", id: 1, code: "NO_SEAT" });
      await client.closes(4003);
    } finally {
      await strict.stop();
    }
  });

  test("the backend says who it is, and where it is a member", async () => {
    const room = fresh();
    answering("connect", { user: { id: "zoe", info: { vip: true } }, join: [room], publish: [{ channel: room, event: "hello", payload: 1.10 }] });
    const client = await Client.connect(server);
    await client.next({ type: "subscribed", channel: room }).catch(() => {});
    await server.publish(room, "for members");
    await client.message(room, { payload: "for members" });
    answering("connect", {});
    const own = await Client.connect(server);
    await own.subscribe(room, { presence: true });
    await client.ok({ type: "presence", channel: room, action: "enter" });
    const diff = await own.next({ type: "presence_diff", channel: room });
    assert.deepEqual([diff.joins[0].userId, diff.joins[0].data], ["zoe", { vip: true }]);
    await server.api("POST", "/api/users/zoe/publish", { payload: "to the user" });
    await client.next({ type: "message", payload: "to the user" });
  });
});

describe("subscribe", () => {
  test("asks with channel and data", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    await ann.subscribe(room, { data: { seat: 1 } });
    assert.deepEqual(asked("subscribe"), [
      { type: "subscribe", app: "1", connectionId: ann.connectionId, userId: "ann", protocol: "native", channel: room, data: { seat: 1 } },
    ]);
  });

  test("{} grants, a refusal refuses with its code", async () => {
    const ann = await Client.user(server, "ann");
    await ann.subscribe(fresh("granted"));
    answering("subscribe", REJECT);
    assert.equal((await ann.fails({ type: "subscribe", channel: fresh("granted") }, "NO_SEAT")).message, "the house is full");
    await ann.fails({ type: "subscribe", channel: fresh() }, "NO_SEAT");
  });

  test("what the rules refuse for good is not asked", async () => {
    const anonymous = await Client.connect(server);
    await anonymous.fails({ type: "subscribe", channel: "closed:1" }, "AUTH_REQUIRED");
    assert.deepEqual(asked("subscribe"), []);
  });

  test("join and leave", async () => {
    const [door, hall] = [fresh(), fresh()];
    const ann = await Client.user(server, "ann");
    await ann.subscribe(door);
    answering("subscribe", { leave: [door], join: [fresh()] });
    await ann.subscribe(hall);
    await ann.next({ type: "unsubscribed", channel: door });
    const { body } = await server.api("GET", `/api/connections/${ann.connectionId}`);
    assert.deepEqual(body.channels.sort(), [hall, `room:${next}`].sort());
  });

  test("requests of one connection stay in order while the backend thinks", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    answering("subscribe", () => new Promise((done) => setTimeout(done, 100, {})));
    ann.send({ type: "subscribe", channel: room, id: "s" });
    ann.send({ type: "publish", channel: room, payload: "mine", id: "p" });
    const got = await ann.until({ type: "message", channel: room });
    assert.deepEqual(got.map((message) => message.id).slice(0, 1), ["s"]);
  });
});

describe("publish", () => {
  test("asks with the payload as it is", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    await ann.publish(room, { text: "hi" }, { event: "say" });
    assert.deepEqual(asked("publish"), [
      { type: "publish", app: "1", connectionId: ann.connectionId, userId: "ann", protocol: "native", channel: room, event: "say", payload: { text: "hi" } },
    ]);
  });

  test("digits and white space of a payload arrive in both directions", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    let raw;
    backend.answer = (question, request, response) => {
      if (question.type !== "publish") return {};
      raw = question.payload;
      response.writeHead(200).end(`{"payload": {"n": 123456789012345678901234567890.10} }`);
      return undefined;
    };
    await ann.subscribe(room);
    await ann.publish(room, "x");
    await ann.message(room);
    assert.equal(raw, "x");
    assert.ok(ann.raws.some((text) => text.includes("123456789012345678901234567890.10")), "digits are kept");
  });

  test("bytes are base64, and can be answered", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann", { protocols: [MSGPACK_PROTOCOL] });
    await ann.subscribe(room);
    answering("publish", { payload: Buffer.from([9, 8, 7]).toString("base64"), encoding: "base64" });
    await ann.publish(room, new Uint8Array([1, 2, 255]));
    const [question] = asked("publish");
    assert.deepEqual([question.payload, question.encoding], ["AQL/", "base64"]);
    assert.deepEqual([...(await ann.message(room)).payload], [9, 8, 7]);
  });

  test("a payload is replaced, also by null", async () => {
    const room = fresh();
    const ann = await Client.user(server, "ann");
    await ann.subscribe(room);
    answering("publish", { payload: null });
    await ann.publish(room, "secret");
    assert.equal((await ann.message(room)).payload, null);
  });

  test("{} grants; a refusal reaches nobody", async () => {
    const room = fresh("granted");
    const ann = await Client.user(server, "ann");
    await ann.subscribe(room);
    await ann.publish(room, 1);
    answering("publish", REJECT);
    await ann.fails({ type: "publish", channel: room, payload: 2 }, "NO_SEAT");
    const { messages } = await ann.ok({ type: "history", channel: room });
    assert.deepEqual(messages.map((message) => message.payload), [1]);
    await ann.fails({ type: "publish", channel: "closed:1", payload: 3 }, "FORBIDDEN");
    assert.equal(asked("publish").length, 2, "what the rules refuse for good is not asked");
  });

  test("the server side is not asked", async () => {
    await server.publish(fresh(), 1);
    assert.deepEqual(asked("publish"), []);
  });
});

describe("event", () => {
  test("the reply is the sender's ack", async () => {
    const ann = await Client.user(server, "ann");
    await ann.subscribe("room:x");
    answering("event", (question) => ({ reply: { said: question.payload } }));
    const ack = await ann.ok({ type: "event", event: "add", payload: [1, 2], channel: "room:x" });
    assert.deepEqual(ack.payload, { said: [1, 2] });
    assert.deepEqual(asked("event"), [
      { type: "event", app: "1", connectionId: ann.connectionId, userId: "ann", protocol: "native", channel: "room:x", event: "add", payload: [1, 2] },
    ]);
  });

  test("no reply is an ack without payload; a refusal is an error", async () => {
    const ann = await Client.user(server, "ann");
    const ack = await ann.ok({ type: "event", event: "add", payload: 1 });
    assert.ok(ack.payload === undefined || ack.payload === null, JSON.stringify(ack));
    answering("event", REJECT);
    await ann.fails({ type: "event", event: "add", payload: 1 }, "NO_SEAT");
  });

  test("publish, with and without echo", async () => {
    const room = fresh();
    const [ann, bob] = [await Client.user(server, "ann"), await Client.user(server, "bob")];
    await ann.subscribe(room);
    await bob.subscribe(room);
    answering("event", { publish: [{ channel: room, event: "quiet", payload: 1, echo: false }, { channel: room, payload: 2 }] });
    await ann.ok({ type: "event", event: "go", payload: null });
    const seen = await bob.until({ type: "message", payload: 2 });
    assert.deepEqual(seen.map(({ event, payload }) => [event, payload]), [["quiet", 1], ["message", 2]]);
    await ann.message(room, { payload: 2 });
    assert.deepEqual((await ann.settled()).filter((message) => message.event === "quiet"), []);
  });

  for (const kind of ["room", "plain"]) {
    test(`who joins hears what the same answer publishes there (${kind})`, async () => {
      const ann = await Client.user(server, "ann");
      for (let turn = 0; turn < 5; turn += 1) {
        const channel = fresh(kind);
        answering("event", { join: [channel], publish: [{ channel, event: "welcome", payload: turn }], reply: "done" });
        await ann.ok({ type: "event", event: "go", payload: null });
        await ann.message(channel, { event: "welcome", payload: turn });
      }
    });
  }
});

test("who waits for the backend is not silent", async () => {
  const patient = await Server.start({ heartbeat: { interval: "1s", timeout: "2s" }, hooks: { url: backend.hooks, timeout: "10s", events: ["event"] } });
  try {
    const ann = await Client.user(patient, "ann");
    let hold;
    backend.answer = () => new Promise((done) => { hold = setTimeout(() => done({ reply: "late" }), 1000); });
    const acks = await Promise.all([1, 2, 3, 4].map(() => ann.ok({ type: "event", event: "slow", payload: null })));
    assert.deepEqual(acks.map(({ payload }) => payload), ["late", "late", "late", "late"]);
    clearTimeout(hold);
  } finally {
    await patient.stop();
  }
});

describe("bad answers", () => {
  const BAD = {
    "500": (question, request, response) => void response.writeHead(500).end("{}"),
    "302": (question, request, response) => void response.writeHead(302, { location: backend.hooks }).end(),
    "204": (question, request, response) => void response.writeHead(204).end(),
    "201 {}": (question, request, response) => void response.writeHead(201).end("{}"),
    "an empty body": () => "",
    "HTML": () => "<html>",
    "null": () => "null",
    "an array": () => [],
    "a misspelt member": () => ({ rejct: REJECT.reject }),
    "a reject of the wrong type": () => ({ reject: "no" }),
    "a join of the wrong type": () => ({ join: "room" }),
    "a publish of the wrong type": () => ({ publish: { channel: "x" } }),
    "a reserved channel": () => ({ join: ["#x"] }),
    "another hook's member": () => ({ user: { id: "ann" } }),
    "a connection that closes at once": (question, request, response) => void response.destroy(),
    "a connection that closes mid-body": (question, request, response) => {
      response.writeHead(200, { "content-length": 100 });
      response.write("{");
      setImmediate(() => response.destroy());
    },
    "an answer that stops mid-body": (question, request, response) => {
      response.writeHead(200, { "content-length": 100 });
      response.write("{");
    },
    "no answer in time": () => undefined,
  };
  for (const [name, answer] of Object.entries(BAD)) {
    test(`${name}: HOOK_FAILED, and the connection lives`, async () => {
      const ann = await Client.user(server, "ann");
      answering("subscribe", answer);
      await ann.fails({ type: "subscribe", channel: fresh() }, "HOOK_FAILED");
      backend.answer = () => ({});
      await ann.subscribe(fresh());
    });
  }

  test("10 MB are not read", async () => {
    const ann = await Client.user(server, "ann");
    let sent = 0;
    answering("subscribe", (question, request, response) => {
      response.writeHead(200, { "content-type": "application/json" });
      const chunk = Buffer.alloc(64 << 10, " ");
      const more = () => {
        while (sent < 10 << 20) {
          sent += chunk.length;
          if (!response.write(chunk)) return response.once("drain", more);
        }
        return response.end("{}");
      };
      more();
    });
    await ann.fails({ type: "subscribe", channel: fresh() }, "HOOK_FAILED");
    assert.ok(sent < 9 << 20, `${sent} bytes were taken`);
  });

  test("a failing connect is 403", async () => {
    answering("connect", BAD["500"]);
    const refused = await Client.refused(server, 403, { user: "ann" });
    assert.equal(JSON.parse(refused.body).error.code, "HOOK_FAILED");
  });
});

test("only what is configured is asked about", async () => {
  const quiet = await Server.start({ hooks: { url: backend.hooks, events: ["publish"] } });
  try {
    const ann = await Client.user(quiet, "ann");
    await ann.subscribe("room");
    await ann.publish("room", 1);
    await ann.fails({ type: "event", event: "x", payload: 1 }, "UNKNOWN_TYPE");
    assert.deepEqual(backend.questions.map((question) => question.type), ["publish"]);
  } finally {
    await quiet.stop();
  }
});

test("on_error = allow: the act goes ahead, and nothing is granted", async () => {
  const lenient = await Server.start({
    hooks: { url: backend.hooks, on_error: "allow" },
    channels: [{ match: "granted:*", subscribe: "granted", publish: "granted" }, OPEN_RULE],
  });
  try {
    backend.answer = (question, request, response) => void response.writeHead(500).end();
    const ann = await Client.user(lenient, "ann");
    await ann.subscribe("room");
    await ann.publish("room", 1);
    await ann.ok({ type: "event", event: "x", payload: 1 });
    await ann.fails({ type: "subscribe", channel: "granted:1" }, "FORBIDDEN");
  } finally {
    await lenient.stop();
  }
});

test("a dead backend is left alone, and asked again when it is back", async () => {
  const dead = await Backend.start();
  const { port } = dead;
  await dead.stop();
  const lonely = await Server.start({ hooks: { url: dead.hooks, events: ["event"], timeout: "1s" } });
  let back;
  try {
    const ann = await Client.user(lonely, "ann");
    const ask = () => ann.request({ type: "event", event: "x", payload: 1 });
    for (let n = 0; n < 12; n += 1) assert.equal((await ask()).code, "HOOK_FAILED");
    await eventually(() => /left alone and probed/.test(lonely.log), "the log line");
    assert.equal(await lonely.metric("starling_hook_circuit_open"), 1);
    assert.ok(await lonely.metric("starling_hook_seconds_count", { hook: "event", result: "not_asked" }) > 0);
    assert.equal(await lonely.metric("starling_hook_seconds_count", { hook: "event", result: "failed" }), 10);
    back = await Backend.start({ port });
    await eventually(async () => (await ask()).type === "ack", "an answer of the backend that is back");
    assert.equal(await lonely.metric("starling_hook_circuit_open"), 0);
    await eventually(() => /answers again/.test(lonely.log), "the log line");
  } finally {
    await lonely.stop();
    await back?.stop();
  }
});

test("more questions at once than the limit count as failed at once", async () => {
  const narrow = await Server.start({ hooks: { url: backend.hooks, events: ["event"], timeout: "10s", max_concurrent: 2 } });
  try {
    const waiting = [];
    backend.answer = () => new Promise((done) => waiting.push(done));
    const clients = await Promise.all(["a", "b", "c"].map((user) => Client.user(narrow, user)));
    const answers = clients.slice(0, 2).map((client) => client.ok({ type: "event", event: "x", payload: 1 }));
    await backend.until(() => waiting.length === 2, "two questions under way");
    await clients[2].fails({ type: "event", event: "x", payload: 1 }, "HOOK_FAILED");
    for (const done of waiting) done({});
    await Promise.all(answers);
    backend.answer = () => ({});
    await clients[2].ok({ type: "event", event: "x", payload: 1 });
  } finally {
    await narrow.stop();
  }
});

test("each app is signed for with its own secret", async () => {
  const other = { id: "2", key: "key-two", secret: "secret-of-app-two-0123456789abcdef" };
  const theirs = await Backend.start({ secret: other.secret });
  const two = await Server.start({ hooks: { url: theirs.hooks, events: ["connect"] }, apps: [other] });
  try {
    await Client.connect(two);
    assert.equal(theirs.questions[0].app, "2");
  } finally {
    await two.stop();
    await theirs.stop();
  }
});
