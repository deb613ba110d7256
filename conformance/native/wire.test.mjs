// Frames that no library would send, and handshakes that are none: what RFC 6455 asks for, and no harm to others.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { after, before, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { frame, OPCODE, RawSocket } from "../harness/raw.mjs";
import { Server } from "../harness/server.mjs";

let server;
let witness;
before(async () => {
  server = await Server.start();
  witness = await Client.connect(server);
  await witness.subscribe("witness");
});
after(async () => {
  closeAll();
  await server.stop();
});

const PING = '{"type":"ping","id":1}';
const closeFrame = (code, reason = "") => Buffer.concat([Buffer.from([code >> 8, code & 255]), Buffer.from(reason)]);
const close = (code, reason) => frame(OPCODE.close, closeFrame(code, reason));

async function pong(raw) {
  const { opcode, payload } = await raw.frame();
  assert.equal(opcode, OPCODE.text);
  assert.deepEqual(JSON.parse(payload.toString()), { type: "pong", id: 1 });
}

for (const [name, code, ...bytes] of [
  ["an unmasked frame", 1002, frame(OPCODE.text, PING, { mask: false })],
  ["an unmasked control frame", 1002, frame(OPCODE.ping, "", { mask: false })],
  ["reserved opcode 3", 1002, frame(3, PING)],
  ["reserved opcode 7", 1002, frame(7, PING)],
  ["reserved control opcode 11", 1002, frame(11, "")],
  ["reserved control opcode 15", 1002, frame(15, "")],
  ["RSV1 without an extension", 1002, frame(OPCODE.text, PING, { rsv: 4 })],
  ["RSV2", 1002, frame(OPCODE.text, PING, { rsv: 2 })],
  ["RSV3", 1002, frame(OPCODE.text, PING, { rsv: 1 })],
  ["RSV1 on a control frame", 1002, frame(OPCODE.ping, "", { rsv: 4 })],
  ["a control frame of 126 bytes", 1002, frame(OPCODE.ping, "x".repeat(126))],
  ["a control frame in fragments", 1002, frame(OPCODE.ping, "x", { fin: false })],
  ["a continuation of nothing", 1002, frame(OPCODE.continuation, PING)],
  ["a new message inside another", 1002, frame(OPCODE.text, "{", { fin: false }), frame(OPCODE.text, PING)],
  ["a close frame of one byte", 1002, frame(OPCODE.close, "x")],
  ["close code 999", 1002, close(999)],
  ["close code 1005", 1002, close(1005)],
  ["close code 1006", 1002, close(1006)],
  ["close code 1015", 1002, close(1015)],
  ["close code 2999", 1002, close(2999)],
  ["a close reason that is not UTF-8", 1007, frame(OPCODE.close, Buffer.concat([closeFrame(1000), Buffer.from([0xff])]))],
  ["text that is not UTF-8", 1007, frame(OPCODE.text, Buffer.from([0x7b, 0xff, 0x7d]))],
  ["an overlong encoding", 1007, frame(OPCODE.text, Buffer.from([0x22, 0xc0, 0xaf, 0x22]))],
  ["a surrogate in UTF-8", 1007, frame(OPCODE.text, Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]))],
  ["UTF-8 cut off at the end", 1007, frame(OPCODE.text, Buffer.from([0x22, 0xe2, 0x82]))],
  ["bad UTF-8 in a fragment that is not the last", 1007, frame(OPCODE.text, Buffer.from([0x22, 0xff]), { fin: false })],
  ["bad UTF-8 in a frame that is not yet whole", 1007, frame(OPCODE.text, Buffer.concat([Buffer.from([0x22, 0xff]), Buffer.alloc(1000, 0x20)])).subarray(0, 100)],
  ["a length with the highest bit set", 1002, Buffer.from([0x81, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0])],
  ["a frame of 4 exabytes announced", 1009, Buffer.from([0x81, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])],
]) {
  test(`close ${code}: ${name}`, async () => {
    const raw = await RawSocket.upgrade(server);
    raw.write(...bytes);
    const got = await raw.closeCode();
    // A length that no frame may have is a broken rule or too large, as one likes.
    assert.ok(got === code || (name.startsWith("a length") && got === 1009), `close ${got}`);
    raw.write(close(1000));
    await raw.end();
    await witness.publish("witness", name);
    assert.equal((await witness.message("witness")).payload, name);
  });
}

// Whoever does not answer is waited for: 5 s.
test("after a violation the connection ends as soon as the close was answered", async () => {
  const raw = await RawSocket.upgrade(server);
  raw.write(frame(3, PING));
  assert.equal(await raw.closeCode(), 1002);
  raw.write(close(1002));
  const answered = Date.now();
  await raw.end();
  assert.ok(Date.now() - answered < 4500, `it took ${Date.now() - answered} ms`);
});

test("a message in fragments, with control frames between them, one byte at a time", async () => {
  const raw = await RawSocket.upgrade(server);
  raw.write(frame(OPCODE.text, PING.slice(0, 5), { fin: false }), frame(OPCODE.ping, "between"), frame(OPCODE.continuation, "", { fin: false }),
    frame(OPCODE.continuation, PING.slice(5)));
  assert.deepEqual(await raw.frame().then(({ opcode, payload }) => [opcode, payload.toString()]), [OPCODE.pong, "between"]);
  await pong(raw);
  raw.socket.setNoDelay(true);
  for (const byte of frame(OPCODE.text, PING)) raw.write([byte]);
  await pong(raw);
  raw.destroy();
});

test("a character split between two fragments is one character", async () => {
  const raw = await RawSocket.upgrade(server);
  const bytes = Buffer.from('{"type":"ping","id":1,"x":"🐦"}');
  const middle = bytes.indexOf("🐦") + 2;
  raw.write(frame(OPCODE.text, bytes.subarray(0, middle), { fin: false }), frame(OPCODE.continuation, bytes.subarray(middle)));
  await pong(raw);
  raw.destroy();
});

test("frames that came together with the handshake are read", async () => {
  const raw = await RawSocket.open(server);
  raw.write(raw.handshake(server), frame(OPCODE.text, PING));
  assert.match(await raw.head(), /^HTTP\/1\.1 101 /);
  await pong(raw);
  raw.destroy();
});

test("ten thousand messages in one write are all answered", async () => {
  const raw = await RawSocket.upgrade(server);
  const one = frame(OPCODE.text, PING);
  raw.write(...Array(10_000).fill(one));
  for (let at = 0; at < 10_000; at++) await pong(raw);
  raw.destroy();
});

for (const [name, code, echoed] of [["1000", 1000, 1000], ["3000", 3000, 3000], ["4999", 4999, 4999], ["1001", 1001, 1001]]) {
  test(`the closing handshake with ${name}`, async () => {
    const raw = await RawSocket.upgrade(server);
    raw.write(close(code, "good bye"));
    assert.equal(await raw.closeCode(), echoed);
    await raw.end();
  });
}

test("a close frame without a code is answered", async () => {
  const raw = await RawSocket.upgrade(server);
  raw.write(frame(OPCODE.close));
  assert.ok([1000, 1005].includes(await raw.closeCode()));
  await raw.end();
});

for (const [name, status, change] of [
  ["no key", 400, { "Sec-WebSocket-Key": undefined }],
  ["a key that is not 16 bytes", 400, { "Sec-WebSocket-Key": "c2hvcnQ=" }],
  ["an old version", 426, { "Sec-WebSocket-Version": "8" }],
  ["no version", 400, { "Sec-WebSocket-Version": undefined }],
  ["no Upgrade", 426, { Upgrade: undefined, Connection: undefined }],
]) {
  test(`a handshake with ${name} is HTTP 4xx`, async () => {
    const raw = await RawSocket.open(server);
    raw.write(raw.handshake(server, { headers: change }));
    const head = await raw.head();
    const got = Number(head.match(/^HTTP\/1\.1 (\d+)/)[1]);
    assert.ok([400, 426, status].includes(got), head);
    if (status === 426 && name === "an old version") assert.match(head, /sec-websocket-version: 13/i);
    raw.destroy();
  });
}

test("noise instead of HTTP does no harm", async () => {
  for (let round = 0; round < 20; round++) {
    const raw = await RawSocket.open(server);
    raw.write(randomBytes(500));
    raw.socket.end();
    await raw.end();
  }
  await witness.settled();
});

test("noise instead of frames does no harm", async () => {
  for (let round = 0; round < 50; round++) {
    const raw = await RawSocket.upgrade(server);
    raw.write(randomBytes(1 + round * 7));
    raw.socket.end();
    await raw.end();
  }
  await witness.settled();
});
