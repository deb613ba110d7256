// Starts one of the example programs, which take the address to listen on as their first argument.

import { spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import { binary, eventually, freePort } from "./server.mjs";

const REPOSITORY = resolve(dirname(fileURLToPath(import.meta.url)), "../..");

/** The binary: what the environment variable `override` names, or beside the server's own; built if it is not there. */
function program(name, override) {
  const beside = process.env[override] ?? join(dirname(binary()), name);
  if (existsSync(beside)) return beside;
  const built = spawnSync("cargo", ["build", "--quiet", "-p", name], { cwd: REPOSITORY, stdio: "inherit" });
  if (built.status !== 0) throw new Error(`${name} could not be built`);
  return join(process.env.CARGO_TARGET_DIR ?? join(REPOSITORY, "target"), "debug", name);
}

const running = new Set();
process.once("exit", () => running.forEach((child) => child.kill("SIGKILL")));

export class Example {
  /** `env` is added to the environment; `args` follow the address. */
  static async start(name, { override = `${name.toUpperCase().replaceAll("-", "_")}_BIN`, args = [], env = {}, port } = {}) {
    const example = new Example();
    example.port = port ?? await freePort();
    const listen = `127.0.0.1:${example.port}`;
    example.child = spawn(program(name, override), [listen, ...args], { stdio: ["ignore", "ignore", "inherit"], env: { ...process.env, ...env } });
    running.add(example.child);
    example.exited = new Promise((done) => example.child.once("close", done));
    example.origin = `http://${listen}`;
    example.ws = `ws://${listen}`;
    await eventually(() => fetch(`${example.origin}/readyz`).then(() => true, () => false), name);
    return example;
  }

  async stop() {
    this.child.kill("SIGKILL");
    running.delete(this.child);
    await this.exited;
  }
}
