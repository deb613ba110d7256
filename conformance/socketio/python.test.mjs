// Runs python/test_socketio.py against a server. PYTHON names the interpreter (conformance/run makes a virtual environment).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import { mint } from "../harness/jwt.mjs";
import { Server } from "../harness/server.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PYTHON = process.env.PYTHON ?? [here("../.venv/bin/python")].find(existsSync) ?? "python3";

test("python-socketio", async () => {
  const server = await Server.start({ origins: { allow: ["*"] } }); // The Python WebSocket client sends one.
  try {
    const child = spawn(PYTHON, [here("python/test_socketio.py")], {
      env: { ...process.env, STARLING_URL: server.origin, STARLING_TOKEN: mint({ sub: "python" }) },
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (text) => { output += text; });
    const code = await new Promise((done) => child.once("close", done));
    assert.equal(code, 0, output);
    console.log(output.trim().split("\n").slice(-3).join(" "));
  } finally {
    await server.stop();
  }
});
