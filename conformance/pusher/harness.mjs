// What the tests of this folder share: the official client against our server, and a socket without any client.

import { createHmac } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import vm from "node:vm";

import PusherServer from "pusher";
import PusherClient from "pusher-js";
import WebSocket from "ws";

import { APP, eventually } from "../harness/server.mjs";

export { APP, PusherServer };
export const PATIENCE = 60_000; // milliseconds until a wait has failed
export const MASTER_KEY = Buffer.alloc(32, 7).toString("base64");

/** The build with encryption exists for browsers and their workers only: here it runs as in a worker. */
function encryptedBuild() {
  const file = createRequire(import.meta.url).resolve("pusher-js/dist/worker/pusher-with-encryption.worker.js");
  const scope = {
    WebSocket, setTimeout, clearTimeout, setInterval, clearInterval, console, fetch, crypto, Uint8Array, TextDecoder,
    addEventListener() {}, removeEventListener() {}, navigator: { onLine: true }, location: { protocol: "http:" },
  };
  scope.self = scope;
  vm.runInContext(readFileSync(file, "utf8"), vm.createContext(scope));
  return scope.Pusher;
}
const PusherEncrypted = encryptedBuild();

const open = new Set();
/** Ends every client that the tests of this file have left open. */
export function closeAll() {
  for (const end of open) end();
  open.clear();
}

/** The official server SDK against `server`. */
export function sdk(server, { app = APP, ...options } = {}) {
  return new PusherServer({
    appId: app.id, key: app.key, secret: app.secret, host: "127.0.0.1", port: `${server.port}`, useTLS: false,
    encryptionMasterKeyBase64: MASTER_KEY, ...options,
  });
}

/** `promise`, or a failure that says what was awaited. */
export function soon(promise, what) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what} did not come`)), PATIENCE);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The first event of this name on something that binds, with what else is told of it. */
export const told = (target, name) => soon(new Promise((done) => {
  const handler = (data, metadata) => {
    target.unbind(name, handler);
    done({ data, metadata });
  };
  target.bind(name, handler);
}), `the event ${name}`);

/** The first event of this name on something that binds. */
export const event = (target, name) => told(target, name).then(({ data }) => data);

/** pusher-js, which gets its signatures from the server SDK, as a web page does from its backend. */
export function client(server, { user, userInfo, signIn, encrypted = false, app = APP, key = app.key, ...options } = {}) {
  const backend = sdk(server, { app });
  const channelData = user === undefined ? undefined : { user_id: user, ...(userInfo ? { user_info: userInfo } : {}) };
  const Client = encrypted ? PusherEncrypted : PusherClient;
  const pusher = new Client(key, {
    cluster: "", wsHost: "127.0.0.1", wsPort: server.port, forceTLS: false, enabledTransports: ["ws"], disableStats: true,
    channelAuthorization: {
      customHandler: ({ socketId, channelName }, done) => {
        const data = channelName.startsWith("presence-") ? channelData : undefined;
        done(null, backend.authorizeChannel(socketId, channelName, data));
      },
    },
    userAuthentication: { customHandler: ({ socketId }, done) => done(null, backend.authenticateUser(socketId, signIn)) },
    ...options,
  });
  open.add(() => pusher.disconnect());
  return pusher;
}

/** pusher-js, connected. */
export async function connected(server, options) {
  const pusher = client(server, options);
  await soon(new Promise((done) => {
    if (pusher.connection.state === "connected") done();
    pusher.connection.bind("connected", () => done());
  }), "a connection");
  return pusher;
}

/** Subscribes, and waits until that succeeded. */
export async function subscribed(pusher, name) {
  const channel = pusher.subscribe(name);
  if (!channel.subscribed) await event(channel, "pusher:subscription_succeeded");
  return channel;
}

/** A WebSocket to `/app/{key}` that remembers what it was told. */
export class Raw {
  frames = [];
  #waiting = new Set();

  static async connect(server, { key = APP.key, query = "?protocol=7&client=js&version=8.6.0", established = true, ...options } = {}) {
    const raw = new Raw();
    raw.socket = new WebSocket(`${server.ws}/app/${key}${query}`, { perMessageDeflate: false, ...options });
    open.add(() => raw.socket.terminate());
    raw.closed = new Promise((done) => raw.socket.once("close", (code, reason) => {
      done({ code, reason: `${reason}` });
      raw.#wake();
    }));
    raw.closed.then((how) => { raw.end = how; });
    raw.socket.on("message", (data) => {
      raw.frames.push(JSON.parse(`${data}`));
      raw.#wake();
    });
    await soon(Promise.race([once(raw.socket, "open"), once(raw.socket, "error").then(([error]) => { throw error; })]), "a WebSocket");
    if (established) {
      const frame = await raw.next("pusher:connection_established");
      raw.hello = JSON.parse(frame.data);
      raw.id = raw.hello.socket_id;
    }
    return raw;
  }

  #wake() {
    for (const look of this.#waiting) look();
  }

  /** Takes the first frame of this event (and channel) that was not taken yet. */
  next(name, channel) {
    return soon(new Promise((done, fail) => {
      const look = () => {
        const at = this.frames.findIndex((frame) => frame.event === name && (channel === undefined || frame.channel === channel));
        if (at >= 0) {
          this.#waiting.delete(look);
          done(this.frames.splice(at, 1)[0]);
        } else if (this.end) {
          this.#waiting.delete(look);
          fail(new Error(`closed with ${this.end.code} before ${name}: ${JSON.stringify(this.frames)}`));
        }
      };
      this.#waiting.add(look);
      look();
    }), `${name} (there is: ${JSON.stringify(this.frames)})`);
  }

  send(message) {
    this.socket.send(typeof message === "string" ? message : JSON.stringify(message));
  }

  /** Everything that the server said before it answers a ping. */
  async settled() {
    this.send({ event: "pusher:ping", data: {} });
    await this.next("pusher:pong");
    return this.frames;
  }

  sign(channel, data, app = APP) {
    const text = [this.id, channel, ...(data === undefined ? [] : [data])].join(":");
    return `${app.key}:${createHmac("sha256", app.secret).update(text).digest("hex")}`;
  }

  subscribe(channel, { data, auth } = {}) {
    const channelData = data === undefined ? undefined : typeof data === "string" ? data : JSON.stringify(data);
    const signature = /^(private|presence)-/.test(channel) ? this.sign(channel, channelData) : undefined;
    this.send({ event: "pusher:subscribe", data: { channel, auth: auth ?? signature, channel_data: channelData } });
  }

  async join(channel, options) {
    this.subscribe(channel, options);
    return this.next("pusher_internal:subscription_succeeded", channel);
  }
}

/** A server that collects the webhooks it is sent. */
export async function hookListener() {
  const requests = [];
  const listener = createServer((request, response) => {
    let rawBody = "";
    request.setEncoding("utf8").on("data", (text) => { rawBody += text; }).on("end", () => {
      requests.push({ headers: request.headers, rawBody });
      response.end();
    });
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  open.add(() => listener.close());
  return {
    url: `http://127.0.0.1:${listener.address().port}/hooks`,
    requests,
    /** The first event that fits, wherever it stands. */
    event: (fits) => eventually(() => requests.flatMap(({ rawBody }) => JSON.parse(rawBody).events).find(fits), "a webhook", PATIENCE),
  };
}
