// Runs python/test_native.py against a server. PYTHON names the interpreter (conformance/run makes a virtual environment).

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { test } from "node:test";

import { APP, Server } from "../harness/server.mjs";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const PYTHON = process.env.PYTHON ?? [here("../.venv/bin/python")].find(existsSync) ?? "python3";

test("the suite in Python", async () => {
  const server = await Server.start();
  try {
    const child = spawn(PYTHON, [here("python/test_native.py")], {
      env: { ...process.env, STARLING_URL: server.origin, STARLING_KEY: APP.key, STARLING_SECRET: APP.secret },
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
