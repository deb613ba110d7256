import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, expect, test } from "vitest";
import { WebSocket } from "ws";
import { describeWithServer, Server } from "../support/server.js";

const FOLDER = new URL("../.readme/", import.meta.url);

/** The examples, by the language that they are marked with. */
const examples = [
  ...readFileSync(new URL("../../README.md", import.meta.url), "utf8").matchAll(/```(tsx?)\n(.*?)```/gs),
];

beforeAll(() => mkdirSync(FOLDER, { recursive: true }));
afterAll(() => rmSync(FOLDER, { recursive: true, force: true }));

const write = (at: number, language: string, code: string) => {
  const file = new URL(`example${at}.${language}`, FOLDER);
  writeFileSync(file, code);
  return file;
};

test("the examples of the README have the types that they claim", () => {
  const files = examples.map(([, language = "", code = ""], at) => write(at, language, code).pathname);
  expect(files.length).toBeGreaterThan(8);
  const config = new URL("tsconfig.json", FOLDER);
  const paths = Object.fromEntries(
    ["", "/core", "/msgpack", "/react"].map((entry) => [
      `@starling/client${entry}`,
      [`../../src/${entry.slice(1) || "index"}`],
    ]),
  );
  const compilerOptions = { paths, module: "ESNext", moduleResolution: "bundler", noUnusedLocals: false };
  writeFileSync(config, JSON.stringify({ extends: "../../tsconfig.json", compilerOptions, include: ["*"] }));
  const { stdout, status } = spawnSync("node_modules/.bin/tsc", ["-p", config.pathname], { encoding: "utf8" });
  expect([status, stdout]).toEqual([0, ""]);
}, 180_000);

describeWithServer("the examples of the README run", () => {
  let server: Server;
  const before = (globalThis as { WebSocket?: unknown }).WebSocket;
  beforeAll(async () => {
    server = await Server.start();
    Object.assign(globalThis, { WebSocket });
  });
  afterAll(async () => {
    Object.assign(globalThis, { WebSocket: before });
    await server.stop();
  });

  for (const [at, [, language = "", code = ""]] of examples.entries()) {
    if (language !== "ts") continue;
    test(`example ${at + 1}`, async () => {
      const file = write(at + 100, language, code.replaceAll("http://localhost:8080", server.origin));
      await import(/* @vite-ignore */ file.pathname);
    });
  }
});
