// One room, every way to speak to the server: each one's message reaches all the others, once, in order, intact.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { closeAll as closeNative } from "../harness/client.mjs";
import { OPEN_RULE, Server } from "../harness/server.mjs";
import { disconnectAll } from "../phoenix/client.mjs";
import { closeAll as closePusher } from "../pusher/harness.mjs";
import { closeAll as closeSocketIo } from "../socketio/socket.mjs";
import { closeAll as closeStreams } from "../streams/source.mjs";
import { VOICES } from "./voices.mjs";

const DIGITS = "12345678901234567890.10";
const TEXT = "é \u2028 😀 \" \\ </script>";
const EVENT = "client-said"; // what Pusher lets clients say
const EACH = 20;

let server;
before(async () => {
  server = await Server.start({
    channels: [{ match: "private-plain-*", subscribe: "anyone", publish: "anyone" }, OPEN_RULE],
  });
});

let members = {};
const end = () => {
  Object.values(members).forEach((member) => member.end?.());
  disconnectAll();
  closeSocketIo();
  closePusher();
  closeStreams();
  closeNative();
};
after(async () => {
  end();
  await server.stop();
});

async function everybody(channel) {
  members = {};
  for (const [name, join] of Object.entries(VOICES)) members[name] = await join(server, channel);
  return members;
}

for (const [what, prefix] of [["with history", "private-room-"], ["without history", "private-plain-"]]) {
  describe(`a room ${what}`, () => {
    let rooms = 0;
    const room = () => `${prefix}${(rooms += 1)}`;

    test("everybody hears everybody, all at the same time", async () => {
      const all = await everybody(room());
      const speaks = async ([name, { say }]) => {
        for (let n = 1; n <= EACH; n += 1) await say(EVENT, JSON.stringify({ from: name, n, text: TEXT }));
      };
      await Promise.all(Object.entries(all).map(speaks));
      const names = Object.keys(all);
      const orders = {};
      for (const [name, { heard, isDeafToItself }] of Object.entries(all)) {
        const others = names.filter((other) => !isDeafToItself || other !== name);
        const messages = await heard.of(others.length * EACH, name);
        assert.equal(messages.length, others.length * EACH, `${name} heard each once`);
        for (const { event, payload } of messages) {
          assert.equal(event, EVENT);
          assert.equal(payload.text, TEXT, name);
        }
        for (const other of others) {
          const numbers = messages.filter(({ payload }) => payload.from === other).map(({ payload }) => payload.n);
          assert.deepEqual(numbers, Array.from({ length: EACH }, (_, at) => at + 1), `${name} heard ${other} in order`);
        }
        orders[name] = messages.map(({ payload }) => `${payload.from} ${payload.n}`);
      }
      // Not only each speaker's order: there is one for the whole room.
      for (const [name, order] of Object.entries(orders)) {
        const expected = orders.native.filter((line) => order.includes(line));
        assert.deepEqual(order, expected, `${name} heard the room's order`);
      }
      end();
    });

    test("numbers keep their digits, whoever sends them", async () => {
      const all = await everybody(room());
      // MessagePack has its own numbers.
      const speakers = Object.entries(all).filter(([name]) => name !== "native, MessagePack");
      for (const [name, { say, isDeafToItself }] of speakers) {
        const counts = Object.entries(all).map(([other, { heard }]) => [other, heard, heard.messages.length]);
        await say(EVENT, `{"from":"${name}","big":${DIGITS},"small":1e-7,"z":1,"a":[9007199254740993,-0]}`);
        for (const [other, heard, before] of counts) {
          if (other === name && isDeafToItself) continue;
          const message = (await heard.of(before + 1, other))[before];
          assert.equal(message.payload.from, name);
          if (message.text === undefined) continue;
          assert.ok(message.text.replaceAll("\\", "").includes(`"big":${DIGITS},"small":1e-7,"z":1,"a":[9007199254740993,-0]`), `${name} → ${other}: ${message.text}`);
        }
      }
      end();
    });

    test("bytes arrive as bytes where the protocol has them, as base64 elsewhere", async () => {
      const all = await everybody(room());
      const bytes = Uint8Array.from({ length: 300 }, (_, at) => at % 256);
      const base64 = Buffer.from(bytes).toString("base64");
      for (const [name, { sayBytes }] of Object.entries(all)) {
        if (sayBytes === undefined) continue;
        const counts = Object.entries(all).map(([other, member]) => [other, member, member.heard.messages.length]);
        await sayBytes(EVENT, bytes);
        for (const [other, { heard, hearsBytes }, before] of counts) {
          const { payload, encoding } = (await heard.of(before + 1, other))[before];
          const way = `${name} → ${other}: ${JSON.stringify(payload).slice(0, 100)}`;
          if (hearsBytes) assert.deepEqual(Uint8Array.from(new Uint8Array(payload)), bytes, way);
          else if (other === "Pusher") assert.equal(payload, base64, way);
          else if (other === "Phoenix, long-poll") assert.deepEqual(payload, { data: base64, encoding: "base64" }, way);
          else assert.deepEqual([payload, encoding], [base64, "base64"], way);
        }
      }
      end();
    });

    test("what the HTTP API publishes reaches everybody", async () => {
      const channel = room();
      const all = await everybody(channel);
      for (let n = 1; n <= 50; n += 1) await server.publish(channel, { n }, { event: EVENT });
      for (const [name, { heard }] of Object.entries(all)) {
        const numbers = (await heard.of(50, name)).map(({ payload }) => payload.n);
        assert.deepEqual(numbers, Array.from({ length: 50 }, (_, at) => at + 1), name);
      }
      end();
    });
  });
}
