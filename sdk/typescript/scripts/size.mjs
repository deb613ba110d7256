// Fails when what a page has to load grows beyond its bound: minified and compressed, as a bundler would serve it.

import { resolve } from "node:path";
import { gzipSync } from "node:zlib";
import { rolldown } from "rolldown";

const KB = 1000;
const PAGES = [
  ["WebSocket and JSON only", 'export { Client, websocket } from "./dist/core.js";', 8 * KB],
  ["with SSE and long-polling to fall back to", 'export { Client } from "./dist/index.js";', 10 * KB],
  ["the MessagePack codec", 'export * from "./dist/msgpack.js";', 3 * KB],
  ["the React hooks", 'export * from "./dist/react.js";', 2 * KB],
];

/** Bytes of `source`, bundled with what it imports. */
async function size(source) {
  const entry = resolve("page.js");
  const page = {
    name: "page",
    resolveId: (id) => (id === entry ? entry : undefined),
    load: (id) => (id === entry ? source : undefined),
  };
  const bundle = await rolldown({ input: entry, plugins: [page], external: ["react"], platform: "browser" });
  const { output } = await bundle.generate({ format: "esm", minify: true });
  return gzipSync(output[0].code, { level: 9 }).length;
}

let isTooLarge = false;
for (const [name, source, bound] of PAGES) {
  const bytes = await size(source);
  isTooLarge ||= bytes > bound;
  console.log(`${bytes > bound ? "TOO LARGE" : "ok"}  ${bytes} of ${bound} bytes  ${name}`);
}
if (isTooLarge) process.exit(1);
