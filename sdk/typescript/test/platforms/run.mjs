// Runs smoke.mjs on Deno and Bun, as their npm packages bring them, against the server that STARLING_BIN names. Wants the
// package built (`npm run build`).

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const HERE = dirname(fileURLToPath(import.meta.url));
/** How long a platform may take, in milliseconds: more means that it does not end by itself. */
const PATIENCE = 120_000;
const PLATFORMS = [
  ["node", process.execPath, []],
  ["deno", join(HERE, "node_modules/.bin/deno"), ["run", "--allow-net", "--allow-read", "--no-lock"]],
  ["bun", join(HERE, "node_modules/.bin/bun"), ["run"]],
];

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

const listen = `127.0.0.1:${await freePort()}`;
const server = spawn(process.env.STARLING_BIN ?? "starling", ["serve", "--dev", "--listen", listen], {
  stdio: "ignore",
});
process.once("exit", () => server.kill("SIGKILL"));

/** Waits until the server is ready, or has given up. */
async function ready() {
  for (;;) {
    if (server.exitCode !== null) throw new Error(`the server ended with ${server.exitCode}`);
    const answer = await fetch(`http://${listen}/readyz`).catch(() => undefined);
    if (answer?.ok) return;
    await new Promise((again) => setTimeout(again, 50));
  }
}

await ready();
let failed = false;
for (const [name, command, args] of PLATFORMS) {
  // Node before 22 has no WebSocket of its own.
  if (name === "node" && typeof WebSocket === "undefined") continue;
  console.log(`=== ${name}`);
  const options = { stdio: "inherit", timeout: PATIENCE, cwd: HERE };
  const { status, error } = spawnSync(command, [...args, "smoke.mjs", `http://${listen}`], options);
  if (status === 0) continue;
  failed = true;
  console.error(`=== ${name} FAILED${error ? `: ${error.message}` : ""}`);
}
process.exit(failed ? 1 : 0);
