// What every platform must be able to do, by standards only: both encodings and every transport, and then to end by
// itself, because no timer or listener is left. The argument is the server's address.

import { Client, poll, sse, websocket } from "../../dist/index.js";
import { msgpack } from "../../dist/msgpack.js";

const [origin] = (globalThis.Deno?.args ?? process.argv.slice(2)).slice(-1);

function check(holds, what) {
  if (!holds) throw new Error(`not so: ${what}`);
}

const WAYS = [
  ["WebSocket, JSON", { transports: [websocket()] }],
  ["WebSocket, MessagePack", { transports: [websocket()], codec: msgpack }],
  ["SSE", { transports: [sse()] }],
  ["long-polling", { transports: [poll()] }],
];

for (const [name, options] of WAYS) {
  const client = new Client(origin, options);
  const room = client.channel(`platform:${crypto.randomUUID()}`);
  const messages = room.messages();
  await room.subscribe({ presence: true, data: { name } });
  const bytes = new Uint8Array([0, 255]);
  await room.publish("said", { n: 1 });
  await room.publish("sent", bytes);
  const heard = [];
  for await (const message of messages) {
    heard.push(message);
    if (heard.length === 2) break;
  }
  check(heard[0].event === "said" && heard[0].payload.n === 1, `${name}: JSON`);
  check(heard[1].payload instanceof Uint8Array && heard[1].payload[1] === 255, `${name}: bytes`);
  check((await room.presence.get()).length === 1, `${name}: presence`);
  check((await room.history()).messages.length === 2, `${name}: history`);
  client.close();
  check(client.status.state === "closed", `${name}: closed`);
  console.log(`ok  ${name}`);
}
