import { existsSync, readFileSync } from "node:fs";
import { createServer, type Server as HttpListener } from "node:http";
import { type Browser, chromium, type Page } from "playwright-core";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import type * as Starling from "../../src/index.js";
import { FaultProxy } from "../support/proxy.js";
import { describeWithServer, Server } from "../support/server.js";

const CHROMIUM =
  process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"];
const DIST = new URL("../../dist/", import.meta.url);

const PAGE = `<!doctype html><title>test</title>
<script type="module">globalThis.starling = await import("/index.js")</script>`;

/** What the page's own script keeps for the tests. */
interface Window {
  starling: typeof Starling;
  client: Starling.Client;
  room: Starling.Channel<{ n: number }>;
  got: number[];
  recovered: boolean[];
  states: string[];
}

/** The built bundle as a page loads it. */
function serveDist(): Promise<HttpListener> {
  const listener = createServer(({ url = "/" }, response) => {
    const file = new URL(`.${url}`, DIST);
    if (url !== "/" && existsSync(file)) {
      response.writeHead(200, { "content-type": "text/javascript" }).end(readFileSync(file));
    } else if (url === "/") {
      response.writeHead(200, { "content-type": "text/html" }).end(PAGE);
    } else response.writeHead(404).end();
  });
  return new Promise((done) => listener.listen(0, "127.0.0.1", () => done(listener)));
}

describeWithServer("the built bundle in Chromium", () => {
  let server: Server;
  let browser: Browser;
  let pages: HttpListener;
  let proxy: FaultProxy;
  let page: Page;
  const complaints: string[] = [];

  beforeAll(async () => {
    if (!CHROMIUM) throw new Error("no Chromium: CHROMIUM must name one");
    if (!existsSync(new URL("index.js", DIST))) throw new Error("no dist/: run `npm run build` first");
    server = await Server.start();
    pages = await serveDist();
    browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
  });
  afterAll(async () => {
    await browser?.close();
    pages?.close();
    await server?.stop();
  });

  beforeEach(async () => {
    proxy = await FaultProxy.start(server.port);
    page = await (await browser.newContext()).newPage();
    page.on("pageerror", (error) => complaints.push(error.message));
    await page.goto(`http://127.0.0.1:${(pages.address() as { port: number }).port}/`);
  });
  afterEach(async () => {
    await page.context().close();
    await proxy.stop();
    expect(complaints.splice(0)).toEqual([]);
  });

  /** Makes a client in the page, and a channel that collects. `only`: with WebSocket and nothing to fall back to. */
  async function start(channel: string, options: Starling.ClientOptions = {}, only = false): Promise<void> {
    await page.waitForFunction(() => "starling" in globalThis);
    await page.evaluate(
      async ({ origin, channel, options, only }) => {
        const window = globalThis as unknown as Window;
        Object.assign(window, { got: [], recovered: [], states: [] });
        const tuned = { backoff: { base: 20, cap: 200 }, stableAfter: 500, ...options };
        const transports = only ? { transports: [window.starling.websocket()] } : {};
        window.client = new window.starling.Client(origin, { ...tuned, ...transports });
        window.client.on("status", ({ state }) => window.states.push(state));
        window.room = window.client.channel(channel);
        window.room.on("n", ({ payload }) => window.got.push(payload));
        window.room.watch("recovered", ({ recovered }) => window.recovered.push(recovered));
        await window.room.subscribe();
        window.states.length = 0;
      },
      { origin: proxy.origin, channel, options, only },
    );
  }

  const status = () => page.evaluate(() => (globalThis as unknown as Window).client.status);
  /** Resolves when the client has been in this state since the last call, however shortly. */
  const waitFor = (state: string) =>
    page.waitForFunction((wanted) => {
      const { states } = globalThis as unknown as Window;
      const at = states.indexOf(wanted);
      if (at >= 0) states.splice(0, at + 1);
      return at >= 0;
    }, state);

  test("1000 messages during 50 cuts arrive exactly once and in order", async () => {
    await start("browser-cuts", {}, true);
    for (let cut = 0; cut < 50; cut++) {
      // Half of them come from the page itself, whose own publishes are cut, too.
      const own = page.evaluate(
        (first) =>
          Promise.all(
            Array.from({ length: 10 }, (_, at) => (globalThis as unknown as Window).room.publish("n", first + at)),
          ),
        cut * 20,
      );
      proxy.cut();
      await own;
      for (let n = cut * 20 + 10; n < cut * 20 + 20; n++) await server.publish("browser-cuts", n, { event: "n" });
    }
    await page.waitForFunction(() => (globalThis as unknown as Window).got.length >= 1000);
    const { got, recovered } = await page.evaluate(() => {
      const { got, recovered } = globalThis as unknown as Window;
      return { got, recovered };
    });
    expect(got).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    expect(recovered.length).toBeGreaterThan(10);
    expect(recovered.every(Boolean)).toBe(true);
  }, 180_000);

  test("a network that goes away and comes back", async () => {
    await start("browser-offline", {
      heartbeat: { interval: 60_000, timeout: 300 },
      backoff: { base: 60_000, cap: 60_000 },
    });
    proxy.blackhole();
    // Nothing but the event tells of it: the next ping is a minute away.
    await page.context().setOffline(true);
    await waitFor("waiting");
    await page.context().setOffline(false);
    await waitFor("connected");
  });

  test("a page that is shown again asks whether its connection lives", async () => {
    await start("browser-shown", { heartbeat: { interval: 60_000, timeout: 300 } });
    proxy.blackhole();
    await page.evaluate(() => document.dispatchEvent(new Event("visibilitychange")));
    await waitFor("waiting");
    await waitFor("connected");
  });

  test("after close() no socket stays, and none is opened again", async () => {
    await start("browser-close");
    await page.evaluate(() => (globalThis as unknown as Window).client.close());
    while (proxy.open > 0) await new Promise(setImmediate);
    expect((await status()).state).toBe("closed");
  });

  for (const treatment of ["no-websocket", "kill-websocket"] as const) {
    test(`fallback (${treatment}), and the way back`, async () => {
      proxy.treatment = treatment;
      await start(`browser-${treatment}`, { upgradeAfter: 500 });
      await page.waitForFunction(() => (globalThis as unknown as Window).client.status.transport === "sse");
      await page.evaluate(() => (globalThis as unknown as Window).room.publish("n", 1));
      await server.publish(`browser-${treatment}`, 2, { event: "n" });
      await page.waitForFunction(() => (globalThis as unknown as Window).got.length === 2);
      proxy.treatment = "pass";
      await page.waitForFunction(() => (globalThis as unknown as Window).client.status.transport === "websocket");
      await server.publish(`browser-${treatment}`, 3, { event: "n" });
      await page.waitForFunction(() => (globalThis as unknown as Window).got.length === 3);
      expect(await page.evaluate(() => (globalThis as unknown as Window).got)).toEqual([1, 2, 3]);
    });
  }
});
