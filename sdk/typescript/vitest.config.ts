import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const source = (name: string) => fileURLToPath(new URL(`src/${name}.ts`, import.meta.url));

export default defineConfig({
  // For the examples of the README, which import the package by its name.
  resolve: {
    alias: [
      { find: /^@starling\/client$/, replacement: source("index") },
      { find: /^@starling\/client\/(\w+)$/, replacement: source("$1") },
    ],
  },
  test: {
    include: ["test/**/*.test.{ts,tsx}"],
    testTimeout: 90_000,
    hookTimeout: 90_000,
    // The tests of one file wait for sockets; more workers than that only compete for the processor.
    maxWorkers: 2,
  },
});
