// The example as its README runs it: the real server, this backend, and WebSocket clients.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, before, test } from "node:test";
import { fileURLToPath } from "node:url";

import WebSocket from "ws";

import { backend } from "./server.js";

const HERE = dirname(fileURLToPath(import.meta.url));
const BINARY = process.env.STARLING_BIN ?? join(HERE, "../../target/debug/starling");
const SECRET = "express-example-secret";
const PATIENCE = 20_000; // milliseconds until a wait has failed

let express;
let server;
let folder;
let port;
const open = [];

const freePort = () => new Promise((done) => {
  const probe = createServer().listen(0, "127.0.0.1", () => {
    const { port: free } = probe.address();
    probe.close(() => done(free));
  });
});

async function eventually(attempt, what) {
  const deadline = Date.now() + PATIENCE;
  for (;;) {
    const result = await attempt();
    if (result) return result;
    if (Date.now() > deadline) throw new Error(`${what} did not come`);
    await new Promise((again) => setTimeout(again, 20));
  }
}

before(async () => {
  express = backend(SECRET).listen(0, "127.0.0.1");
  await new Promise((done) => express.once("listening", done));
  port = await freePort();
  folder = mkdtempSync(join(tmpdir(), "starling-express-"));
  const config = readFileSync(join(HERE, "starling.toml"), "utf8")
    .replaceAll("127.0.0.1:8080", `127.0.0.1:${port}`)
    .replaceAll("127.0.0.1:3000", `127.0.0.1:${express.address().port}`);
  writeFileSync(join(folder, "starling.toml"), config);
  server = spawn(BINARY, ["serve"], { cwd: folder, stdio: "inherit" });
  await eventually(() => fetch(`http://127.0.0.1:${port}/readyz`).then(({ ok }) => ok, () => false), "the server");
});
after(async () => {
  for (const client of open) client.socket.terminate();
  const ended = new Promise((done) => server.once("close", done));
  server.kill("SIGKILL");
  await ended;
  express.closeAllConnections();
  express.close();
  rmSync(folder, { recursive: true, force: true });
});

const base64 = (value) => Buffer.from(value).toString("base64url");
function token(user) {
  const head = `${base64(JSON.stringify({ alg: "HS256", typ: "JWT" }))}.${base64(JSON.stringify({ sub: user }))}`;
  return `${head}.${createHmac("sha256", SECRET).update(head).digest("base64url")}`;
}

/** A client that waits for what it expects. */
async function connect(user) {
  const headers = user ? { authorization: `Bearer ${token(user)}` } : {};
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws`, { headers });
  const received = [];
  let wake = () => {};
  socket.on("message", (data) => {
    received.push(JSON.parse(data));
    wake();
  });
  await new Promise((done, fail) => {
    socket.once("open", done);
    socket.once("unexpected-response", (request, response) => fail(new Error(`HTTP ${response.statusCode}`)));
    socket.once("error", fail);
  });
  const next = async (match) => {
    const deadline = setTimeout(() => wake(new Error(`waited in vain; received ${JSON.stringify(received)}`)), PATIENCE);
    try {
      for (;;) {
        const at = received.findIndex(match);
        if (at >= 0) return received.splice(at, 1)[0];
        const late = await new Promise((done) => { wake = done; });
        if (late) throw late;
      }
    } finally {
      clearTimeout(deadline);
    }
  };
  let id = 0;
  const ask = (message) => {
    id += 1;
    const mine = id;
    socket.send(JSON.stringify({ ...message, id: mine }));
    return next((answer) => answer.id === mine && answer.type !== "message");
  };
  const client = { socket, next, ask };
  open.push(client);
  return client;
}

const online = () => fetch(`http://127.0.0.1:${express.address().port}/online`).then((answer) => answer.json());

test("a chat whose rules are the backend's", async () => {
  const [ann, guest] = [await connect("ann"), await connect()];
  await assert.rejects(connect("mallory"), /HTTP 403/);

  assert.equal((await ann.ask({ type: "subscribe", channel: "room:staff" })).type, "ack");
  assert.equal((await guest.ask({ type: "subscribe", channel: "room:staff" })).code, "NOT_A_MEMBER");
  for (const client of [ann, guest]) assert.equal((await client.ask({ type: "subscribe", channel: "room:hall" })).type, "ack");

  assert.equal((await ann.ask({ type: "publish", channel: "room:hall", payload: { text: "  " } })).code, "EMPTY");
  await ann.ask({ type: "publish", channel: "room:hall", payload: { text: "  hello  " } });
  const said = await guest.next((message) => message.type === "message" && message.channel === "room:hall");
  assert.equal(said.payload.text, "hello");
  assert.ok(!Number.isNaN(Date.parse(said.payload.at)));

  const { payload } = await guest.ask({ type: "event", event: "roll", channel: "room:hall", payload: { sides: 2 } });
  assert.ok([1, 2].includes(payload.rolled));
  const rolled = await ann.next((message) => message.event === "rolled");
  assert.equal(rolled.payload.rolled, payload.rolled);
  assert.match(rolled.payload.by, /^guest-/);

  await eventually(async () => (await online()).rooms.join() === "room:hall,room:staff", "both rooms");
  assert.ok((await online()).users.includes("ann"));
  for (const client of [ann, guest]) client.socket.close();
  await eventually(async () => (await online()).rooms.length === 0, "empty rooms");
  await eventually(async () => !(await online()).users.includes("ann"), "ann gone");
});

test("nobody but Starling may call the backend", async () => {
  const body = JSON.stringify({ type: "connect", app: "1", connectionId: "x", protocol: "native" });
  const headers = { "content-type": "application/json", "starling-timestamp": `${Math.floor(Date.now() / 1000)}`, "starling-signature": "v1=00" };
  const answer = await fetch(`http://127.0.0.1:${express.address().port}/starling`, { method: "POST", headers, body });
  assert.equal(answer.status, 401);
});
