// Everything that must hold for a change to land, in this order; the first failure ends it. STARLING_BIN names the
// server that the integration tests run against.

import { spawnSync } from "node:child_process";

const STEPS = [
  ["format and lint", "biome", "check", "--error-on-warnings", "."],
  ["types", "tsc", "--noEmit"],
  ["build", "tsdown"],
  ["size", process.execPath, "scripts/size.mjs"],
  ["package", "publint", "--strict"],
  ["types of the package", "attw", "--pack", ".", "--profile", "node16"],
  ["documentation", "typedoc"],
  ["tests", "vitest", "run"],
];

for (const [name, command, ...args] of STEPS) {
  console.log(`\n=== ${name}`);
  const { status } = spawnSync(command, args, { stdio: "inherit" });
  if (status !== 0) {
    console.error(`=== ${name} FAILED`);
    process.exit(1);
  }
}
