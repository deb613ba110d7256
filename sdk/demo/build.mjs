// Bundles the clients that the demo page shows side by side, and this repository's own, into one compressed file of the
// server's assets, which is committed: nothing is downloaded when the server is built or runs.
//
// node build.mjs           writes it. A package that is not installed is left out, and the page shows no column for it.
// node build.mjs --check   fails when it is not what the sources and the pinned packages give, or beyond its bound.

import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync, gzipSync } from "node:zlib";
import { rolldown } from "rolldown";

const HERE = dirname(fileURLToPath(import.meta.url));
const OUTPUT = resolve(HERE, "../../crates/starling/assets/demo/clients.js.gz");
/** The most that the server grows by, in bytes. */
const BOUND = 64_000;

/** What the page imports: a name, the package, what it is called there. */
const CLIENTS = [
  ["io", "socket.io-client", "io"],
  ["PhoenixSocket", "phoenix", "Socket"],
  ["Pusher", "pusher-js", "default"],
];


/** The version of an installed package. */
function version(name) {
  try {
    return JSON.parse(readFileSync(join(HERE, "node_modules", name, "package.json"), "utf8")).version;
  } catch {
    return undefined;
  }
}

async function bundle() {
  const entry = join(HERE, "clients.js");
  const lines = ['export { Client, json, websocket } from "../typescript/src/core.ts";'];
  const notes = ["@starling/client"];
  for (const [name, from, as] of CLIENTS) {
    const installed = version(from);
    if (installed === undefined) lines.push(`export const ${name} = undefined;`);
    else {
      lines.push(`export { ${as} as ${name} } from ${JSON.stringify(from)};`);
      notes.push(`${from} ${installed}`);
    }
  }
  const virtual = {
    name: "entry",
    resolveId: (id) => (id === entry ? entry : undefined),
    load: (id) => (id === entry ? lines.join("\n") : undefined),
  };
  const bundled = await rolldown({ input: entry, plugins: [virtual], platform: "browser" });
  const { output } = await bundled.generate({ format: "esm", minify: true });
  const banner = `// Made by sdk/demo/build.mjs of ${notes.join(", ")}; all of them under the MIT licence. Do not edit.\n`;
  return banner + output[0].code;
}

const code = await bundle();
if (process.argv.includes("--check")) {
  if (gunzipSync(readFileSync(OUTPUT)).toString() !== code) {
    console.error(`${OUTPUT} is out of date: run node sdk/demo/build.mjs`);
    process.exit(1);
  }
} else {
  writeFileSync(OUTPUT, gzipSync(code, { level: 9 }));
}
const bytes = readFileSync(OUTPUT).length;
console.log(`${bytes > BOUND ? "TOO LARGE" : "ok"}  ${bytes} of ${BOUND} bytes, ${code.length} unpacked`);
if (bytes > BOUND) process.exit(1);
