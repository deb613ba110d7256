// One member of a channel for each way to speak to the server, all with the same face: `say` publishes JSON text as it
// is, `heard` has every message of the channel in its order.

import { encode } from "@msgpack/msgpack";

import { Client, JSON_PROTOCOL, MSGPACK_PROTOCOL } from "../harness/client.mjs";
import { mint } from "../harness/jwt.mjs";
import { CLIENTS, connect as connectPhoenix, ok } from "../phoenix/client.mjs";
import { Raw } from "../pusher/harness.mjs";
import { arrives, ask, connect as connectSocketIo } from "../socketio/socket.mjs";
import { Source } from "../streams/source.mjs";

const PATIENCE = 60_000; // milliseconds

/** What a member hears. A message is `{ event, payload, text }`: `text` is how it arrived, before anybody parsed it. */
class Heard {
  messages = [];
  #look = () => {};

  push(message) {
    this.messages.push(message);
    this.#look();
  }

  /** All of them, as soon as there are `count`. */
  of(count, who) {
    return new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`${who} heard ${this.messages.length} of ${count}: ${JSON.stringify(this.messages.map(({ payload }) => payload)).slice(0, 2000)}`)), PATIENCE);
      this.#look = () => {
        if (this.messages.length < count) return;
        clearTimeout(timer);
        done(this.messages.slice());
      };
      this.#look();
    });
  }
}

async function native(server, channel, user) {
  const client = await Client.connect(server, { user, protocols: [JSON_PROTOCOL] });
  await client.subscribe(channel);
  const heard = new Heard();
  client.socket.on("message", (data) => {
    const message = JSON.parse(data.toString());
    if (message.type === "message") heard.push({ event: message.event, payload: message.payload, encoding: message.encoding, text: data.toString() });
  });
  const say = async (event, json) => client.raw(`{"type":"publish","channel":"${channel}","event":"${event}","payload":${json}}`);
  return { heard, say };
}

async function msgpack(server, channel, user) {
  const client = await Client.connect(server, { user, protocols: [MSGPACK_PROTOCOL] });
  await client.subscribe(channel);
  const heard = new Heard();
  (async () => {
    for (;;) {
      const { event, payload } = await client.next({ type: "message" });
      heard.push({ event, payload });
    }
  })().catch(() => {});
  const say = async (event, json) => client.socket.send(encode({ type: "publish", channel, event, payload: JSON.parse(json) }));
  const sayBytes = async (event, bytes) => client.socket.send(encode({ type: "publish", channel, event, payload: bytes }));
  return { heard, say, sayBytes, hearsBytes: true };
}

const socketIo = (transports) => async (server, channel, user) => {
  const auth = user === undefined ? {} : { token: mint({ sub: user }) };
  const socket = connectSocketIo(server, { transports, auth });
  await arrives(socket, "connect");
  const heard = new Heard();
  let text;
  socket.io.engine.on("packet", ({ type, data }) => { if (type === "message" && typeof data === "string") text = data; });
  socket.onAny((event, payload) => { if (!/^presence_/.test(event)) heard.push({ event, payload, text }); });
  await ask(socket, "subscribe", channel);
  // The engine directly: numbers that JavaScript cannot hold keep their digits.
  const say = async (event, json) => socket.io.engine.write(`2["publish","${channel}","${event}",${json}]`);
  const sayBytes = (event, bytes) => ask(socket, "publish", channel, event, Buffer.from(bytes));
  return { heard, say, sayBytes, hearsBytes: true, socket };
};

const phoenix = (lib, options) => async (server, channel, user) => {
  let text;
  const { Serializer } = lib;
  const socket = connectPhoenix(server, { lib, user, ...options });
  // Set here, because the options of these names do not concern long-polling.
  socket.decode = (raw, then) => {
    text = typeof raw === "string" ? raw : undefined;
    Serializer.decode(raw, then);
  };
  // A payload that is text is JSON already.
  socket.encode = (message, then) => {
    if (typeof message.payload !== "string") return Serializer.encode(message, then);
    const { join_ref, ref, topic, event, payload } = message;
    return then(`${JSON.stringify([join_ref ?? null, ref, topic, event]).slice(0, -1)},${payload}]`);
  };
  const joined = socket.channel(channel);
  const heard = new Heard();
  const onMessage = joined.onMessage.bind(joined);
  joined.onMessage = (event, payload, ref, joinRef) => {
    if (!/^(phx_|chan_|presence_)/.test(event)) heard.push({ event, payload, text });
    return onMessage(event, payload, ref, joinRef);
  };
  await ok(joined.join());
  const say = async (event, json) => { joined.push(event, json); };
  const sayBytes = (event, bytes) => ok(joined.push(event, Uint8Array.from(bytes).buffer));
  return { heard, say, sayBytes, hearsBytes: !options.longpoll, socket, channel: joined };
};

async function pusher(server, channel) {
  const raw = await Raw.connect(server);
  await raw.join(channel);
  const heard = new Heard();
  raw.socket.on("message", (data) => {
    const frame = JSON.parse(`${data}`);
    if (frame.channel === channel && !frame.event.startsWith("pusher")) heard.push({ event: frame.event, payload: JSON.parse(frame.data), text: frame.data });
  });
  // Client events have names of their own, and do not come back.
  const say = async (event, json) => raw.send(`{"event":"${event}","channel":"${channel}","data":${json}}`);
  return { heard, say, isDeafToItself: true };
}

async function post(server, connectionId, message, user) {
  const headers = user === undefined ? {} : { authorization: `Bearer ${mint({ sub: user })}` };
  const answer = await fetch(`${server.origin}/send?connectionId=${connectionId}`, { method: "POST", headers, body: message });
  if (answer.status !== 200) throw new Error(`POST /send: ${answer.status} ${await answer.text()}`);
}

const upstream = (server, channel, connectionId, user) => (event, json) =>
  post(server, connectionId, `{"type":"publish","channel":"${channel}","event":"${event}","payload":${json}}`, user);

async function sse(server, channel, user) {
  const token = user === undefined ? undefined : mint({ sub: user });
  const texts = [];
  const source = new Source(`${server.origin}/sse?channel=${encodeURIComponent(channel)}`, { token });
  const heard = new Heard();
  source.source.addEventListener("message", ({ data }) => {
    const { event, payload, encoding } = JSON.parse(data);
    texts.push(data);
    heard.push({ event, payload, encoding, text: data });
  });
  const { connectionId } = (await source.next("ready")).data;
  return { heard, say: upstream(server, channel, connectionId, user) };
}

async function poll(server, channel, user) {
  const headers = user === undefined ? {} : { authorization: `Bearer ${mint({ sub: user })}` };
  const path = `${server.origin}/poll?channel=${encodeURIComponent(channel)}`;
  const { cursor, connectionId } = await (await fetch(path, { headers })).json();
  const heard = new Heard();
  const ended = new AbortController();
  let at = cursor;
  (async () => {
    while (!ended.signal.aborted) {
      const answer = await fetch(`${path}&cursor=${encodeURIComponent(at)}&timeout=20`, { headers, signal: ended.signal });
      const text = await answer.text();
      const { cursor, messages } = JSON.parse(text);
      at = cursor;
      for (const { event, payload, encoding } of messages) heard.push({ event, payload, encoding, text });
    }
  })().catch(() => {});
  return { heard, say: upstream(server, channel, connectionId, user), end: () => ended.abort() };
}

/** By name: a function that joins, and gives the member. */
export const VOICES = {
  "native": native,
  "native, MessagePack": msgpack,
  "Socket.IO": socketIo(["websocket"]),
  "Socket.IO, polling": socketIo(["polling"]),
  "Phoenix": phoenix(CLIENTS[1][1], {}),
  "Phoenix 1.7": phoenix(CLIENTS[0][1], {}),
  "Phoenix, long-poll": phoenix(CLIENTS[1][1], { longpoll: true }),
  "Pusher": pusher,
  "SSE": sse,
  "long-polling": poll,
};

