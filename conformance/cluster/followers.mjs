// Clients that come back: one for each protocol that can carry a position, over each transport. Each keeps a `Record`.
//
// A follower is `{ record, stop }`. None of them mends anything: what arrives is written down as it is.

import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { createInterface } from "node:readline";

import { decode, encode } from "@msgpack/msgpack";
import { EventSource } from "eventsource";
import { io } from "socket.io-client";
import WebSocket from "ws";

import { JSON_PROTOCOL, MSGPACK_PROTOCOL } from "../harness/client.mjs";
import { binary } from "../harness/server.mjs";
import { CLIENTS, connect as phoenix } from "../phoenix/client.mjs";
import { Record } from "./ledger.mjs";

const AGAIN = 100; // milliseconds between attempts
const SILENCE = 10_000; // milliseconds without a word, after which a connection is given up
const pause = (time = AGAIN) => new Promise((done) => setTimeout(done, time));

function follower(name, channels, run) {
  const self = {
    record: new Record(name, channels),
    stopped: false,
    stop() {
      self.stopped = true;
      self.end?.();
    },
  };
  run(self);
  return self;
}

/** The native protocol over a WebSocket. */
export function native(name, entry, channels, { msgpack = false } = {}) {
  return follower(name, channels, (self) => {
    const { record } = self;
    const open = () => {
      const socket = new WebSocket(`${entry.ws}/ws`, [msgpack ? MSGPACK_PROTOCOL : JSON_PROTOCOL], { handshakeTimeout: SILENCE });
      const send = (message) => socket.send(msgpack ? encode(message) : JSON.stringify(message));
      let heard = Date.now();
      const watch = setInterval(() => {
        if (Date.now() - heard > SILENCE) socket.terminate();
        else if (socket.readyState === WebSocket.OPEN) send({ type: "ping" });
      }, SILENCE / 4);
      self.end = () => socket.terminate();
      socket.on("error", () => {});
      socket.on("open", () => {
        for (const channel of channels) send({ type: "subscribe", id: channel, channel, recover: record.position(channel) });
      });
      socket.on("message", (data) => {
        heard = Date.now();
        const message = msgpack ? decode(data) : JSON.parse(data.toString());
        if (message.type === "message") record.take(message.channel, message);
        else if (message.type === "ack" && message.recovered === false) record.tell(`recovered: false on ${message.channel}`);
        else if (message.type === "gap") record.tell(`gap of ${message.missed} on ${message.channel}`);
        else if (message.type === "error" || message.type === "unsubscribed") socket.terminate();
      });
      socket.on("close", async () => {
        clearInterval(watch);
        await pause();
        if (self.stopped) return;
        record.returns += 1;
        open();
      });
    };
    open();
  });
}

/** Server-sent events, by the EventSource that browsers have. */
export function sse(name, entry, channels) {
  return follower(name, channels, (self) => {
    const { record } = self;
    let cursor;
    const open = () => {
      const query = channels.map((channel) => `channel=${encodeURIComponent(channel)}`).join("&");
      const source = new EventSource(`${entry.origin}/sse?${query}${cursor === undefined ? "" : `&cursor=${encodeURIComponent(cursor)}`}`);
      let isFirst = true;
      self.end = () => source.close();
      source.addEventListener("ready", (event) => {
        if (!isFirst) record.returns += 1;
        isFirst = false;
        cursor = event.lastEventId;
        for (const [channel, { recovered }] of Object.entries(JSON.parse(event.data).channels)) {
          if (recovered === false) record.tell(`recovered: false on ${channel}`);
        }
      });
      source.addEventListener("gap", (event) => record.tell(`gap: ${event.data}`));
      source.addEventListener("unsubscribed", (event) => record.tell(`unsubscribed: ${event.data}`));
      source.addEventListener("message", (event) => {
        cursor = event.lastEventId;
        const message = JSON.parse(event.data);
        record.take(message.channel, message);
      });
      source.addEventListener("error", async (event) => {
        // Refused (503 while its node's broker is away): the browser's own reconnect ends there, the page's begins.
        if (source.readyState !== EventSource.CLOSED || event.data !== undefined) return;
        await pause();
        if (self.stopped) return;
        record.returns += 1;
        open();
      });
    };
    open();
  });
}

/** Native long-polling. */
export function poll(name, entry, channels) {
  return follower(name, channels, async (self) => {
    const { record } = self;
    const query = channels.map((channel) => `channel=${encodeURIComponent(channel)}`).join("&");
    let cursor;
    while (!self.stopped) {
      try {
        const answer = await fetch(`${entry.origin}/poll?${query}&timeout=5${cursor === undefined ? "" : `&cursor=${encodeURIComponent(cursor)}`}`, {
          signal: AbortSignal.timeout(SILENCE),
        });
        if (answer.status !== 200) throw new Error(`HTTP ${answer.status}`);
        const body = await answer.json();
        if (!body.recovered && cursor !== undefined) record.tell(`recovered: false`);
        cursor = body.cursor;
        for (const message of body.messages) {
          if (message.type === "message") record.take(message.channel, message);
          else if (message.type !== "drain") record.tell(JSON.stringify(message));
        }
      } catch {
        record.returns += 1;
        await pause();
      }
    }
  });
}

/** phoenix.js, as its users write it: a join's parameters are a function that says where it stands. */
export function phoenixChannels(name, entry, channels, { lib = CLIENTS[1][1], longpoll = false } = {}) {
  return follower(name, channels, (self) => {
    const { record } = self;
    const socket = phoenix(entry, { lib, longpoll, params: { meta: "1" }, heartbeatIntervalMs: SILENCE / 2, timeout: SILENCE });
    // With long-polling the option `decode` is not looked at.
    socket.decode = (raw, done) => {
      const [join_ref, ref, topic, event, payload, meta] = JSON.parse(raw);
      done({ join_ref, ref, topic, event, payload: meta ? { payload, ...meta } : payload });
    };
    self.end = () => socket.disconnect();
    socket.onClose(() => { record.returns += 1; });
    for (const topic of channels) {
      const channel = socket.channel(topic, () => ({ recover: record.position(topic) }));
      channel.on("message", (message) => record.take(topic, message));
      channel.on("gap", ({ missed }) => record.tell(`gap of ${missed} on ${topic}`));
      channel.join().receive("ok", ({ recovered }) => {
        if (recovered === false) record.tell(`recovered: false on ${topic}`);
      });
    }
  });
}

/**
 * socket.io-client. On the node that it left the server restores its session; elsewhere it subscribes with a position,
 * which is the last argument of each message.
 */
export function socketio(name, entry, channels, transports) {
  return follower(name, channels, (self) => {
    const { record } = self;
    const socket = io(entry.origin, { forceNew: true, transports, reconnectionDelay: AGAIN, reconnectionDelayMax: 5 * AGAIN, timeout: SILENCE });
    self.end = () => socket.disconnect();
    socket.on("message", (payload, { channel }, position) => {
      const at = position.lastIndexOf(":");
      record.take(channel, { epoch: position.slice(0, at), offset: Number(position.slice(at + 1)), payload });
    });
    socket.on("gap", (gap) => record.tell(`gap: ${JSON.stringify(gap)}`));
    socket.on("disconnect", () => { record.returns += 1; });
    socket.on("unsubscribed", () => socket.io.engine.close());
    socket.on("connect", async () => {
      if (socket.recovered) return;
      for (const channel of channels) {
        const recover = record.position(channel);
        const { id } = socket;
        const answer = await socket.timeout(SILENCE).emitWithAck("subscribe", channel, recover ? { recover } : {}).catch(() => ({ ok: false }));
        if (socket.id !== id) return;
        if (!answer.ok) return socket.io.engine.close();
        if (answer.recovered === false) record.tell(`recovered: false on ${channel}`);
      }
    });
  });
}

const SDK = new URL(process.env.STARLING_SDK ?? "../../sdk/typescript/dist/index.js", import.meta.url);
/** The TypeScript client, if it is built. */
export const sdk = existsSync(SDK) ? await import(SDK) : null;

/** The TypeScript client over one transport. */
export function typescript(name, entry, channels, transport) {
  return follower(name, channels, (self) => {
    const { record } = self;
    const client = new sdk.Client(entry.origin, { transports: [sdk[transport]()], environment: { WebSocket }, backoff: { base: AGAIN, cap: 5 * AGAIN } });
    self.end = () => client.close();
    client.on("status", ({ state }) => { if (state === "waiting") record.returns += 1; });
    for (const channel of channels) {
      const room = client.channel(channel);
      room.onMessage((message) => record.take(channel, message));
      room.watch("recovered", ({ recovered }) => { if (!recovered) record.tell(`recovered: false on ${channel}`); });
      room.watch("gap", ({ missed }) => record.tell(`gap of ${missed} on ${channel}`));
      room.watch("unsubscribed", (error) => record.tell(`unsubscribed: ${error.code}`));
      room.subscribe({ timeout: 0 }).catch((error) => record.tell(`subscribe: ${error.code}`));
    }
  });
}

/** The command `starling subscribe`, which is the Rust client. */
export function command(name, entry, channels) {
  return follower(name, channels, (self) => {
    const { record } = self;
    const child = spawn(binary(), ["subscribe", ...channels, "--url", entry.origin], { stdio: ["ignore", "pipe", "pipe"] });
    self.end = () => child.kill("SIGKILL");
    process.once("exit", self.end);
    createInterface({ input: child.stdout }).on("line", (line) => {
      const message = JSON.parse(line);
      record.take(message.channel, message);
    });
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (line.includes("connected again")) record.returns += 1;
      if (/may be missing|were left out|ended the subscription/.test(line)) record.tell(line);
    });
    child.once("close", (code) => { if (!self.stopped) record.tell(`ended with ${code}`); });
  });
}

/** One follower of each kind. */
export function allKinds(entry, channels) {
  const followers = [
    native("native, JSON", entry, channels),
    native("native, MessagePack", entry, channels, { msgpack: true }),
    sse("event stream", entry, channels),
    poll("native poll", entry, channels),
    ...CLIENTS.flatMap(([name, lib]) => [
      phoenixChannels(`${name}, WebSocket`, entry, channels, { lib }),
      phoenixChannels(`${name}, long-poll`, entry, channels, { lib, longpoll: true }),
    ]),
    socketio("socket.io, WebSocket", entry, channels, ["websocket"]),
    socketio("socket.io, polling", entry, channels, ["polling"]),
    socketio("socket.io, upgrade", entry, channels, ["polling", "websocket"]),
    command("starling subscribe", entry, channels),
  ];
  if (sdk) for (const transport of ["websocket", "sse", "poll"]) followers.push(typescript(`TypeScript client, ${transport}`, entry, channels, transport));
  return followers;
}
