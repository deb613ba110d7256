/** The real server, started for a test and stopped whatever happens. STARLING_BIN names its binary. */

import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { describe } from "vitest";

const BINARY = process.env.STARLING_BIN;
const APP = { id: "1", key: "key-one", secret: "secret-of-app-one-0123456789abcdef" };
const READY_WITHIN = 20_000;

/** Tests that need the server: skipped aloud without one, failed in CI. */
export function describeWithServer(name: string, tests: () => void): void {
  if (BINARY && existsSync(BINARY)) describe(name, tests);
  else if (process.env.CI) {
    throw new Error(`STARLING_BIN must name the server's binary in CI (it is ${BINARY ?? "not set"})`);
  } else {
    console.warn(`SKIPPED: ${name}: STARLING_BIN does not name a binary (it is ${BINARY ?? "not set"})`);
    describe.skip(name, tests);
  }
}

/** A token for the app, good for `seconds`. */
export function mint(claims: Record<string, unknown>, seconds = 3600): string {
  const encode = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1000);
  const input = `${encode({ alg: "HS256", typ: "JWT" })}.${encode({ iat: now, exp: now + seconds, ...claims })}`;
  return `${input}.${createHmac("sha256", APP.secret).update(input).digest("base64url")}`;
}

const running = new Set<ChildProcess>();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

function freePort(): Promise<number> {
  return new Promise((done) => {
    const probe = createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address() as { port: number };
      probe.close(() => done(port));
    });
  });
}

export class Server {
  readonly port: number;
  readonly origin: string;
  #child: ChildProcess;
  #folder: string;
  #exited: Promise<void>;
  #log = "";

  private constructor(port: number, config: string) {
    this.port = port;
    this.origin = `http://127.0.0.1:${port}`;
    this.#folder = mkdtempSync(join(tmpdir(), "starling-sdk-"));
    const file = join(this.#folder, "starling.toml");
    writeFileSync(file, config);
    this.#child = spawn(resolve(BINARY ?? ""), ["serve", "--config", file, "--listen", `127.0.0.1:${port}`], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    running.add(this.#child);
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on("data", (text) => {
        this.#log += text;
      });
    }
    this.#exited = new Promise((done) => {
      this.#child.once("close", () => {
        running.delete(this.#child);
        done();
      });
    });
  }

  /** Starts a server where every channel is open, `plain:*` has no history, and `private:*` wants a user. */
  static async start({ port = 0, auth = "anonymous = true", extra = "" } = {}): Promise<Server> {
    const server = new Server(
      port || (await freePort()),
      `
      [server]
      shutdown_grace = "3s"
      [auth]
      ${auth}
      [origins]
      allow = ["*"]
      [limits]
      messages_per_second = 100000
      burst = 100000
      [[apps]]
      id = "${APP.id}"
      key = "${APP.key}"
      secret = "${APP.secret}"
      [[channels]]
      match = "plain:*"
      subscribe = "anyone"
      publish = "anyone"
      [[channels]]
      match = "short:*"
      subscribe = "anyone"
      publish = "anyone"
      history = { size = 5, ttl = "1h" }
      [[channels]]
      match = "private:*"
      subscribe = "authenticated"
      publish = "authenticated"
      presence = true
      history = { size = 1000, ttl = "1h" }
      [[channels]]
      match = "*"
      subscribe = "anyone"
      publish = "anyone"
      presence = true
      history = { size = 10000, ttl = "1h" }
      ${extra}`,
    );
    const deadline = Date.now() + READY_WITHIN;
    for (;;) {
      const isReady = await fetch(`${server.origin}/readyz`).then(
        ({ ok }) => ok,
        () => false,
      );
      if (isReady) return server;
      if (Date.now() > deadline || server.#child.exitCode !== null) throw new Error(`not ready:\n${server.#log}`);
      await new Promise((again) => setTimeout(again, 20));
    }
  }

  /** A call of the HTTP API. */
  async api(path: string, body: unknown): Promise<unknown> {
    const authorization = `Basic ${Buffer.from(`${APP.key}:${APP.secret}`).toString("base64")}`;
    const answer = await fetch(`${this.origin}/api/${path}`, {
      method: "POST",
      headers: { authorization, "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${path}: HTTP ${answer.status} ${text}`);
    return text === "" ? undefined : JSON.parse(text);
  }

  publish(channel: string, payload: unknown, more: Record<string, unknown> = {}): Promise<unknown> {
    return this.api("publish", { channel, payload, ...more });
  }

  /** Asks it to end; resolves when it did. */
  async terminate(): Promise<void> {
    this.#child.kill("SIGTERM");
    await this.#exited;
  }

  async stop(): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#exited;
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
