// Publishers that do not give up: what was not acknowledged is sent again under the same id, until it is.
//
// A publisher is an async function that runs until `stopped()`, and enters each acknowledgement.

import WebSocket from "ws";

import { APP } from "../harness/server.mjs";
import { sdk } from "./followers.mjs";

const PATIENCE = 5_000; // milliseconds for one attempt
const AGAIN = 100;
const pause = (time) => new Promise((done) => setTimeout(done, time));

/** Publishes one message through the HTTP API, as often as it takes; returns the acknowledgement. */
export async function publishOverHttp(entry, channel, payload, messageId, acknowledgements, app = APP) {
  const authorization = `Basic ${Buffer.from(`${app.key}:${app.secret}`).toString("base64")}`;
  for (;;) {
    acknowledgements.tries += 1;
    try {
      const answer = await fetch(`${entry.origin}/api/publish`, {
        method: "POST", headers: { authorization, "content-type": "application/json" }, signal: AbortSignal.timeout(PATIENCE),
        body: JSON.stringify({ channel, payload, messageId }),
      });
      if (answer.status === 200) {
        const [result] = (await answer.json()).results;
        acknowledgements.add(channel, messageId, result);
        return result;
      }
      if (answer.status < 500) throw Object.assign(new Error(`HTTP ${answer.status} ${await answer.text()}`), { isFinal: true });
      await answer.body?.cancel();
    } catch (error) {
      if (error.isFinal) throw error;
    }
    await pause(AGAIN);
  }
}

/** Over the HTTP API. */
export async function http(entry, channels, acknowledgements, stopped, rest) {
  for (let n = 1; !stopped(); n += 1) {
    const channel = channels[n % channels.length];
    await publishOverHttp(entry, channel, { from: "http", n }, `http-${n}`, acknowledgements);
    await pause(rest);
  }
}

/** Over the native protocol; one at a time, so that what it said can be told from what was heard. */
export async function native(entry, channels, acknowledgements, stopped, rest) {
  let socket = null;
  let answered = () => {};
  const connected = () => new Promise((done) => {
    socket = new WebSocket(`${entry.ws}/ws`, { handshakeTimeout: PATIENCE });
    socket.on("error", () => {});
    socket.once("open", () => done(true));
    socket.on("message", (data) => answered(JSON.parse(data.toString())));
    socket.once("close", () => { done(false); answered(null); });
  });
  for (let n = 1; !stopped(); n += 1) {
    const [channel, messageId] = [channels[n % channels.length], `native-${n}`];
    for (;;) {
      if (socket?.readyState !== WebSocket.OPEN && !await connected()) { await pause(AGAIN); continue; }
      acknowledgements.tries += 1;
      const answer = await new Promise((done) => {
        const timer = setTimeout(() => socket.terminate(), PATIENCE);
        answered = (it) => { if (it === null || it.id === n) { clearTimeout(timer); done(it); } };
        socket.send(JSON.stringify({ type: "publish", id: n, channel, payload: { from: "native", n }, messageId }));
      });
      if (answer?.type === "ack") { acknowledgements.add(channel, messageId, answer); break; }
      await pause(AGAIN);
    }
    await pause(rest);
  }
  socket?.terminate();
}

/** With the TypeScript client, which retries by itself. */
export async function typescript(entry, channels, acknowledgements, stopped, rest) {
  const client = new sdk.Client(entry.origin, { environment: { WebSocket }, backoff: { base: AGAIN, cap: 5 * AGAIN } });
  for (let n = 1; !stopped(); n += 1) {
    const [channel, messageId] = [channels[n % channels.length], `typescript-${n}`];
    for (;;) {
      acknowledgements.tries += 1;
      const taken = await client.channel(channel).publish("message", { from: "typescript", n }, { messageId }).catch(() => null);
      if (taken) { acknowledgements.add(channel, messageId, taken.position); break; }
      await pause(AGAIN);
    }
    await pause(rest);
  }
  client.close();
}

export const allKinds = [http, native, ...(sdk ? [typescript] : [])];
