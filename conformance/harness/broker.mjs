// Real brokers on free ports, in folders of their own, stopped whatever happens.

import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { eventually, freePort } from "./server.mjs";

const running = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

const KINDS = {
  redis: {
    program: "redis-server",
    args: (port, folder) => ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always"],
    url: (port) => `redis://127.0.0.1:${port}`,
  },
  nats: {
    program: "nats-server",
    args: (port, folder) => ["-a", "127.0.0.1", "-p", `${port}`, "-js", "-sd", folder],
    url: (port) => `nats://127.0.0.1:${port}`,
  },
};

/** The kinds that are installed. */
export const kinds = Object.keys(KINDS);
export const isInstalled = (kind) => spawnSync("sh", ["-c", `command -v ${KINDS[kind].program}`]).status === 0;

/** One broker. Its data outlive a restart. */
export class Broker {
  /** `more`: arguments of the program, after those that every test has. */
  static async start(kind, more = []) {
    const broker = new Broker();
    broker.kind = KINDS[kind];
    broker.more = more;
    broker.port = await freePort();
    broker.folder = mkdtempSync(join(tmpdir(), `starling-${kind}-`));
    broker.url = broker.kind.url(broker.port);
    await broker.begin();
    return broker;
  }

  async begin() {
    this.child = spawn(this.kind.program, [...this.kind.args(this.port, this.folder), ...this.more], { stdio: "ignore" });
    running.add(this.child);
    const { child } = this;
    this.exited = new Promise((done) => child.once("close", () => { running.delete(child); done(); }));
    await eventually(() => new Promise((done) => {
      const probe = connect(this.port, "127.0.0.1", () => { probe.destroy(); done(true); });
      probe.on("error", () => done(false));
    }), this.kind.program);
  }

  signal(name) {
    this.child.kill(name);
  }

  /** Removes its data. It must not be running. */
  wipe() {
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder);
  }

  /** Ends it without warning; the data stay. */
  async kill() {
    this.child.kill("SIGCONT");
    this.child.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
