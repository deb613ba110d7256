// Runs python/test_phoenix.py against a server. PYTHON names the interpreter (conformance/run makes a virtual environment).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

import { APP, OPEN_RULE, Server } from "../harness/server.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PYTHON = process.env.PYTHON ?? [here("../.venv/bin/python")].find(existsSync) ?? "python3";

test("clients in Python", async () => {
  const server = await Server.start({ channels: [{ match: "users:*", subscribe: "authenticated", publish: "members" }, OPEN_RULE] });
  try {
    const child = spawn(PYTHON, [here("python/test_phoenix.py")], {
      env: { ...process.env, STARLING_URL: server.origin, STARLING_SECRET: APP.secret },
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => { output += text; });
    const code = await new Promise((done) => child.once("close", done));
    assert.equal(code, 0, output);
  } finally {
    await server.stop();
  }
});
