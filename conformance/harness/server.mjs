// Starts the real binary with a configuration of the test's own, and stops it again whatever happens.
//
// STARLING_BIN names the binary; otherwise $CARGO_TARGET_DIR/{debug,release}/starling, then target/{debug,release}/starling.

import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { toToml } from "./toml.mjs";

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const READY_WITHIN = 60_000; // milliseconds

export const APP = { id: "1", key: "key-one", secret: "secret-of-app-one-0123456789abcdef" };
export const OPEN_RULE = { match: "*", subscribe: "anyone", publish: "anyone", presence: true, history: { size: 1000, ttl: "1h" } };

/** What a test gets when it asks for nothing else: one app, anonymous clients, every channel open, no rate limit in the way. */
export const DEFAULTS = {
  server: { shutdown_grace: "5s" },
  auth: { anonymous: true },
  limits: { messages_per_second: 1_000_000, burst: 1_000_000 },
  apps: [APP],
  channels: [OPEN_RULE],
};

export function binary() {
  const folders = [process.env.CARGO_TARGET_DIR, join(REPOSITORY, "target")].filter(Boolean);
  const candidates = folders.flatMap((folder) => ["debug", "release"].map((profile) => join(folder, profile, "starling")));
  const found = process.env.STARLING_BIN ?? candidates.find(existsSync);
  if (!found || !existsSync(found)) throw new Error(`no starling binary: set STARLING_BIN or build one (looked at ${found ?? candidates.join(", ")})`);
  return resolve(found);
}

/** A port that the kernel says is free now. */
export function freePort() {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once("error", fail);
    probe.listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => done(port));
    });
  });
}

/** Sections given replace single keys of the default ones; lists (`apps`, `channels`) replace the whole list. */
export function withDefaults(config) {
  const merged = { ...DEFAULTS };
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined) delete merged[name];
    else merged[name] = Array.isArray(value) ? value : { ...DEFAULTS[name], ...value };
  }
  return merged;
}

const running = new Set();
const killAll = () => {
  for (const server of running) server.child.kill("SIGKILL");
};
process.once("exit", killAll);
for (const signal of ["SIGINT", "SIGTERM"]) {
  process.once(signal, () => {
    killAll();
    process.exit(1);
  });
}

/** Polls `attempt` until it returns something truthy. For states that announce themselves to nobody. */
export async function eventually(attempt, what = "the expected state", within = 60_000) {
  const deadline = Date.now() + within;
  for (;;) {
    const result = await attempt();
    if (result) return result;
    if (Date.now() > deadline) throw new Error(`${what} did not come within ${within} ms`);
    await new Promise((again) => setTimeout(again, 20));
  }
}

export class Server {
  #output = "";

  /**
   * @param config sections of starling.toml, merged over DEFAULTS; `files`: further files beside it
   * @param options `args` replace `--config …`; `env`; `ready: false` does not wait; `port`: that of an earlier server
   */
  static async start(config = {}, { args, env = {}, ready = true, files = {}, port } = {}) {
    const server = new Server();
    server.port = port ?? await freePort();
    server.folder = mkdtempSync(join(tmpdir(), "starling-conformance-"));
    for (const [name, text] of Object.entries(files)) writeFileSync(join(server.folder, name), text);
    if (args === undefined) server.configure(config);
    const listen = `127.0.0.1:${server.port}`;
    server.child = spawn(binary(), ["serve", ...(args ?? ["--config", server.configFile]), "--listen", listen], {
      cwd: server.folder,
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(server);
    for (const stream of [server.child.stdout, server.child.stderr]) {
      stream.setEncoding("utf8").on("data", (text) => { server.#output += text; });
    }
    server.exited = new Promise((done) => server.child.once("close", (code, signal) => {
      running.delete(server);
      done({ code, signal });
    }));
    server.origin = `http://${listen}`;
    server.ws = `ws://${listen}`;
    server.app = (config.apps ?? DEFAULTS.apps)[0];
    if (ready) await server.ready();
    return server;
  }

  get configFile() {
    return join(this.folder, "starling.toml");
  }

  get pid() {
    return this.child.pid;
  }

  /** Everything the process has written so far. */
  get log() {
    return this.#output;
  }

  /** Writes the configuration anew, for a reload. */
  configure(config) {
    writeFileSync(this.configFile, toToml(withDefaults(config)));
  }

  async ready() {
    let exited = null;
    this.exited.then((how) => { exited = how; });
    await eventually(async () => {
      if (exited) throw new Error(`the server exited (${JSON.stringify(exited)}) before it was ready:\n${this.log}`);
      return fetch(`${this.origin}/readyz`).then((answer) => answer.status === 200, () => false);
    }, "/readyz 200", READY_WITHIN).catch((error) => {
      this.child.kill("SIGKILL");
      throw new Error(`${error.message}\n${this.log}`);
    });
  }

  signal(name) {
    this.child.kill(name);
  }

  /** Kills the process and removes its folder. */
  async stop() {
    this.child.kill("SIGKILL");
    await this.exited;
    rmSync(this.folder, { recursive: true, force: true });
  }

  /** A call of the HTTP API. `body` is an object, or a string that is sent as it is. */
  async api(method, path, body, { app = this.app, headers } = {}) {
    const authorization = `Basic ${Buffer.from(`${app.key}:${app.secret}`).toString("base64")}`;
    const answer = await fetch(`${this.origin}${path}`, {
      method,
      headers: headers ?? { authorization, ...(body === undefined ? {} : { "content-type": "application/json" }) },
      body: body === undefined || typeof body === "string" ? body : JSON.stringify(body),
    });
    const text = await answer.text();
    let parsed;
    try {
      parsed = text === "" ? undefined : JSON.parse(text);
    } catch {
      // Not JSON: `text` tells.
    }
    return { status: answer.status, headers: answer.headers, text, body: parsed };
  }

  /** Publishes through the HTTP API and returns the first result. */
  async publish(channel, payload, more = {}, options) {
    const { status, body, text } = await this.api("POST", "/api/publish", { channel, payload, ...more }, options);
    if (status !== 200) throw new Error(`publish to ${channel}: HTTP ${status} ${text}`);
    return body.results[0];
  }

  /** The text of `/metrics`. */
  async metrics() {
    const { status, text } = await this.api("GET", "/metrics");
    if (status !== 200) throw new Error(`/metrics: HTTP ${status} ${text}`);
    return text;
  }

  /** The sum of the samples of one metric whose labels contain every one of `labels`. */
  async metric(name, labels = {}) {
    let sum = 0;
    for (const line of (await this.metrics()).split("\n")) {
      const [, sample, set = "", value] = line.match(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/) ?? [];
      if (sample !== name) continue;
      if (Object.entries(labels).every(([label, wanted]) => set.includes(`${label}="${wanted}"`))) sum += Number(value);
    }
    return sum;
  }
}
