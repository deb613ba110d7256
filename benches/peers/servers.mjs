// Starts Starling and its peers on free ports, each pinned to the first core, with the limits out of the way.

import { spawn } from "node:child_process";
import { mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createConnection, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
const LISTENS_WITHIN = 180_000; // milliseconds

// Every channel is open, none keeps history; one worker, because the peers have one thread.
const CONFIGURATION = `
[auth]
anonymous = true
[limits]
messages_per_second = 1_000_000
burst = 1_000_000
[backpressure]
queue_messages = 100_000
queue_bytes = "64MiB"
[[apps]]
id = "1"
key = "app-key"
secret = "app-secret-0123456789abcdef0123456789"
[[channels]]
match = "*"
subscribe = "anyone"
publish = "anyone"
`;

function freePort() {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once("error", fail);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

const isListening = (port) => new Promise((done) => {
  const socket = createConnection(port, "127.0.0.1");
  socket.once("connect", () => { socket.destroy(); done(true); });
  socket.once("error", () => done(false));
});

/** By name: how it is started, and the app that Pusher clients name. */
const KINDS = {
  starling: {
    command: (folder, port, { starling }) => {
      writeFileSync(join(folder, "starling.toml"), CONFIGURATION);
      return [starling, "serve", "--config", join(folder, "starling.toml"), "--listen", `127.0.0.1:${port}`];
    },
    env: () => ({ STARLING__SERVER__WORKERS: "1" }),
    app: ["1", "app-key", "app-secret-0123456789abcdef0123456789"],
  },
  "socket.io": { command: (_, port) => [process.execPath, join(HERE, "socketio.mjs"), `${port}`, "node"] },
  "socket.io on uWebSockets": { command: (_, port) => [process.execPath, join(HERE, "socketio.mjs"), `${port}`, "uws"] },
  soketi: {
    command: () => [process.execPath, join(HERE, "node_modules/@soketi/soketi/bin/server.js"), "start"],
    env: (port, other) => ({ SOKETI_HOST: "127.0.0.1", SOKETI_PORT: `${port}`, SOKETI_METRICS_SERVER_PORT: `${other}`, SOKETI_DEFAULT_APP_ENABLE_CLIENT_MESSAGES: "true" }),
    app: ["app-id", "app-key", "app-secret"],
  },
};

const running = new Set();
process.once("exit", () => running.forEach((server) => server.child.kill("SIGKILL")));

export class Server {
  static async start(kind, options) {
    const { command, env = () => ({}), app } = KINDS[kind];
    const server = new Server();
    server.kind = kind;
    server.app = app;
    server.folder = mkdtempSync(join(tmpdir(), "starling-peers-"));
    const [port, other] = [await freePort(), await freePort()];
    server.url = `http://127.0.0.1:${port}`;
    const log = join(server.folder, "log");
    const output = openSync(log, "w");
    server.child = spawn("taskset", ["--cpu-list", "0", ...command(server.folder, port, options)], {
      env: { ...process.env, ...env(port, other) }, stdio: ["ignore", output, output],
    });
    running.add(server);
    let exited;
    server.exited = new Promise((done) => server.child.once("close", (code) => { exited = { code }; done(); }));
    for (const end = Date.now() + LISTENS_WITHIN; !(await isListening(port)); ) {
      if (exited || Date.now() > end) throw new Error(`${kind} does not listen:\n${readFileSync(log, "utf8").slice(-2000)}`);
      await new Promise((again) => setTimeout(again, 50));
    }
    return server;
  }

  /** `taskset` has become the server. */
  get pid() {
    return this.child.pid;
  }

  async stop() {
    this.child.kill("SIGKILL");
    running.delete(this);
    await this.exited;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
