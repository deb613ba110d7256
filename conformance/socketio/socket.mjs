// The official Socket.IO client, with what tests want from it: nothing shared between connections, events as promises.

import { io } from "socket.io-client";

const WITHIN = 60_000; // milliseconds

const open = new Set();

/** Connects to a namespace. `options` are the client's own. */
export function connect(server, options = {}, namespace = "/") {
  const socket = io(`${server.origin}${namespace}`, { forceNew: true, transports: ["websocket"], reconnection: false, ...options });
  open.add(socket);
  return socket;
}

/** Connects, and waits until it is. */
export async function connected(server, options, namespace) {
  const socket = connect(server, options, namespace);
  await arrives(socket, "connect");
  return socket;
}

/** Closes everything that `connect` has opened. */
export function closeAll() {
  for (const socket of open) {
    socket.io.reconnection(false);
    socket.disconnect();
    socket.io.engine?.close();
  }
  open.clear();
}

/** The arguments of the next event of this name, or of the next for which `wanted` says so. */
export function arrives(emitter, event, wanted = () => true, within = WITHIN) {
  return new Promise((done, fail) => {
    const finish = (settle, value) => {
      clearTimeout(timer);
      emitter.off(event, listener);
      emitter.off("connect_error", failed);
      settle(value);
    };
    const listener = (...args) => {
      if (wanted(...args)) finish(done, args);
    };
    const failed = (error) => finish(fail, error);
    const timer = setTimeout(() => finish(fail, new Error(`no ${event} within ${within} ms`)), within);
    emitter.on(event, listener);
    if (event === "connect") emitter.on("connect_error", failed);
  });
}

/** Emits, and returns the ack. */
export function ask(socket, ...args) {
  return socket.timeout(WITHIN).emitWithAck(...args);
}

/** Everything that arrives under a name, as lists of arguments; `of(n)` waits until there are so many. */
export function collect(socket, event) {
  const seen = [];
  let check = () => {};
  socket.on(event, (...args) => {
    seen.push(args);
    check();
  });
  seen.of = (count) =>
    new Promise((done, fail) => {
      const timer = setTimeout(() => fail(new Error(`${seen.length} of ${count} ${event}s`)), WITHIN);
      check = () => {
        if (seen.length < count) return;
        clearTimeout(timer);
        done(seen.slice());
      };
      check();
    });
  return seen;
}

/** Every way in which the official client gets through. */
export const WAYS = [
  ["WebSocket", { transports: ["websocket"] }],
  ["polling", { transports: ["polling"] }],
  ["upgrade", { transports: ["polling", "websocket"] }],
];
