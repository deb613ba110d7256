// Socket.IO 5 by hand, against the example server: connecting, leaving, events, acks, attachments, and bad input.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Suite } from "./suite.mjs";

let suite;
before(async () => { suite = await Suite.start(); });
after(() => suite.stop());

const PATH = "/socket.io/";

async function connected() {
  const socket = await suite.opened(PATH);
  socket.send("40");
  assert.match(await socket.next(), /^40\{/);
  assert.equal(await socket.next(), '42["auth",{}]');
  return socket;
}

describe("connect", () => {
  for (const [packet, begin, auth] of [
    ["40", "40", '42["auth",{}]'],
    ['40{"token":"123"}', "40", '42["auth",{"token":"123"}]'],
    ["40/custom,", "40/custom,", '42/custom,["auth",{}]'],
    ['40/custom,{"name":"abc"}', "40/custom,", '42/custom,["auth",{"name":"abc"}]'],
  ]) {
    test(packet, async () => {
      const socket = await suite.opened(PATH);
      socket.send(packet);
      const answer = await socket.next();
      assert.ok(answer.startsWith(begin));
      const handshake = JSON.parse(answer.slice(begin.length));
      assert.deepEqual(Object.keys(handshake), ["sid"]);
      assert.equal(typeof handshake.sid, "string");
      assert.equal(await socket.next(), auth);
      socket.close();
    });
  }

  test("a namespace that there is not", async () => {
    const socket = await suite.opened(PATH);
    socket.send("40/random");
    assert.equal(await socket.next(), '44/random,{"message":"Invalid namespace"}');
    socket.close();
  });

  test("what is no handshake", async () => {
    const socket = await suite.opened(PATH);
    socket.send("4abc");
    await socket.closed;
  });

  test("nothing", async () => {
    const socket = await suite.opened(PATH);
    await assert.rejects(socket.next());
  });
});

describe("disconnect", () => {
  test("from the main namespace, the connection stays", async () => {
    const socket = await connected();
    socket.send("41");
    assert.equal(await socket.next({ pings: true }), "2");
    socket.close();
  });

  test("from another namespace, the main one stays", async () => {
    const socket = await connected();
    socket.send("40/custom");
    assert.match(await socket.next(), /^40\/custom,/);
    assert.equal(await socket.next(), '42/custom,["auth",{}]');
    socket.send("41/custom", '42["message","message to main namespace"]');
    assert.equal(await socket.next(), '42["message-back","message to main namespace"]');
    socket.close();
  });
});

describe("messages", () => {
  for (const [sent, received] of [
    [['42["message",1,"2",{"3":[true]}]'], ['42["message-back",1,"2",{"3":[true]}]']],
    [['42["message"]'], ['42["message-back"]']],
    [['42["message",[1,2]]'], ['42["message-back",[1,2]]']],
    [['42["message",12345678901234567890.50]'], ['42["message-back",12345678901234567890.50]']],
    [['42456["message-with-ack",1,"2",{"3":[false]}]'], ['43456[1,"2",{"3":[false]}]']],
    [
      ['452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
      ['452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
    ],
    [
      ['452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
      ['462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', Buffer.from([1, 2, 3]), Buffer.from([4, 5, 6])],
    ],
    [
      ['451-["message",{"a":[{"num":0,"_placeholder":true}]}]', Buffer.from([7])],
      ['451-["message-back",{"a":[{"_placeholder":true,"num":0}]}]', Buffer.from([7])],
    ],
  ]) {
    test(sent[0], async () => {
      const socket = await connected();
      socket.send(...sent);
      for (const packet of received) assert.deepEqual(await socket.next(), packet);
      socket.close();
    });
  }

  test("twenty attachments", async () => {
    const socket = await connected();
    const mentions = Array.from({ length: 20 }, (_, num) => ({ _placeholder: true, num }));
    socket.send(`4520-${JSON.stringify(["message", ...mentions])}`);
    for (let n = 0; n < 20; n += 1) socket.send(Buffer.from([n]));
    assert.equal(await socket.next(), `4520-${JSON.stringify(["message-back", ...mentions])}`);
    for (let n = 0; n < 20; n += 1) assert.deepEqual(await socket.next(), Buffer.from([n]));
    socket.close();
  });

  test("an ack for nothing is nobody's, an event without a handler is told so", async () => {
    const socket = await connected();
    socket.send("4399[1]", "4399999999999999999999[1]", "43[1]", '427["unknown"]');
    const answer = await socket.next();
    assert.equal(JSON.parse(answer.slice(3))[0].error.code, "UNKNOWN_TYPE");
    socket.close();
  });

  test("deep JSON", async () => {
    const socket = await connected();
    socket.send(`421["message",${"[".repeat(20_000)}${"]".repeat(20_000)}]`);
    assert.equal(JSON.parse((await socket.next()).slice(3))[0].error.code, "INVALID_MESSAGE");
    socket.close();
  });
});

describe("what closes the connection", () => {
  for (const packets of [
    ["4abc"],
    ["42{}"],
    ['42abc["message-with-ack",1,"2",{"3":[false]}]'],
    ["40"],
    ["40/custom,[]"],
    ['42/other,["message"]'],
    ["41/other,"],
    ["44"],
    ['42["connect"]'],
    ["2"],
    ["2probe"],
    ["5"],
    ["x"],
    ['451000000000-["message",{"_placeholder":true,"num":0}]'],
    ['451-["message"]'],
    ['45-["message"]'],
    ['451-["message",{"_placeholder":true,"num":1}]', Buffer.from([1])],
    ['451-["message",{"_placeholder":true,"num":0}]', "3"],
    [Buffer.from([1])],
    [`421${"0".repeat(30)}["message"]`],
  ]) {
    test(String(packets[0]).slice(0, 60), async () => {
      const socket = await connected();
      socket.send(...packets);
      await socket.closed;
    });
  }
});
