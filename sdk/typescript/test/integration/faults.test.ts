import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { Client, type ClientOptions } from "../../src/index.js";
import { connected, node, until } from "../support/platform.js";
import { FaultProxy } from "../support/proxy.js";
import { describeWithServer, Server } from "../support/server.js";

describeWithServer("behind a network that fails", () => {
  let server: Server;
  let proxy: FaultProxy;
  const clients: Client[] = [];

  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server?.stop());
  beforeEach(async () => {
    proxy = await FaultProxy.start(server.port);
  });
  afterEach(async () => {
    for (const client of clients.splice(0)) client.close();
    await proxy.stop();
  });

  function make(url = proxy.origin, options: ClientOptions = {}): Client {
    const client = new Client(url, {
      backoff: { base: 20, cap: 200 },
      heartbeat: { interval: 300, timeout: 300 },
      stableAfter: 500,
      ...options,
      environment: { ...node, ...options.environment },
    });
    clients.push(client);
    return client;
  }

  test("1000 messages during 50 cuts arrive exactly once and in order", async () => {
    const reader = make().channel<{ n: number }>("cuts");
    const recovered: boolean[] = [];
    reader.watch("recovered", (event) => recovered.push(event.recovered));
    reader.watch("gap", (gap) => expect(gap).toBe("no gap"));
    await reader.subscribe();
    const got: number[] = [];
    const all = new Promise<void>((done) => {
      reader.on("n", ({ payload }) => {
        if (got.push(payload) >= 1000) done();
      });
    });
    // The writer goes through the same proxy and is cut just as often.
    const writer = make().channel<{ n: number }>("cuts");
    const acks: Promise<unknown>[] = [];
    for (let cut = 0; cut < 50; cut++) {
      for (let n = cut * 20; n < cut * 20 + 20; n++) acks.push(writer.publish("n", n));
      await Promise.race(acks.slice(-10));
      proxy.cut();
      await Promise.all(clients.map(connected));
    }
    await Promise.all(acks);
    await all;
    expect(got).toEqual(Array.from({ length: 1000 }, (_, n) => n));
    expect(recovered.length).toBeGreaterThan(10);
    expect(recovered.every(Boolean)).toBe(true);
    const offsets = (await writer.history({ limit: 1 })).position?.offset;
    expect(offsets).toBe(1000);
  }, 180_000);

  test("messages published by others while the client is away are recovered", async () => {
    const channel = make().channel("away");
    await channel.subscribe();
    const messages = channel.messages();
    proxy.treatment = "refuse";
    proxy.cut();
    for (let n = 1; n <= 100; n++) await server.publish("away", n);
    proxy.treatment = "pass";
    for (let n = 1; n <= 100; n++) expect((await messages.next()).value.payload).toBe(n);
  });

  test("more was missed than the history keeps: recovered is false", async () => {
    const channel = make().channel("short:1");
    await channel.subscribe();
    proxy.treatment = "refuse";
    proxy.cut();
    for (let n = 1; n <= 10; n++) await server.publish("short:1", n);
    const recovered = new Promise((done) => channel.watch("recovered", done));
    proxy.treatment = "pass";
    expect(await recovered).toEqual({ recovered: false });
    const next = channel.messages().next();
    await server.publish("short:1", "live");
    expect((await next).value.payload).toBe("live");
  });

  for (const fault of ["blackhole", "halfOpen"] as const) {
    test(`a connection that is dead without a word (${fault}) is found and replaced`, async () => {
      const client = make();
      const channel = client.channel(fault);
      await channel.subscribe();
      const messages = channel.messages();
      const lost = until(client, ({ state }) => state === "waiting");
      const start = Date.now();
      proxy[fault]();
      await server.publish(fault, "meanwhile");
      const publish = channel.publish("mine", 1);
      await lost;
      expect(Date.now() - start).toBeLessThan(2000);
      await publish;
      expect((await messages.next()).value.payload).toBe("meanwhile");
      expect((await messages.next()).value.payload).toBe(1);
    });
  }

  test("a slow network is no dead one", async () => {
    const client = make(proxy.origin, { heartbeat: { interval: 200, timeout: 2000 } });
    proxy.delay = 150;
    const channel = client.channel("slow");
    await channel.subscribe();
    for (let n = 0; n < 5; n++) await channel.publish("n", n);
    expect([client.status.state, proxy.connections]).toEqual(["connected", 1]);
  });

  test("a network that swallows everything: given up, and tried again", async () => {
    proxy.treatment = "swallow";
    const client = make(proxy.origin, { connectTimeout: 300 });
    client.connect();
    await until(client, ({ error }) => error?.code === "TIMEOUT");
    proxy.treatment = "pass";
    proxy.cut();
    await connected(client);
  });

  test("nothing stays after close(): no socket, no timer", async () => {
    const timers = new Set<unknown>();
    const client = make(proxy.origin, {
      environment: {
        setTimeout: (task, delay) => {
          const timer = setTimeout(() => {
            timers.delete(timer);
            task();
          }, delay);
          timers.add(timer);
          return timer;
        },
        clearTimeout: (timer) => {
          timers.delete(timer);
          clearTimeout(timer as NodeJS.Timeout);
        },
      },
    });
    await client.channel("leak").subscribe({ presence: true, data: {} });
    client
      .channel("leak")
      .publish("x", 1)
      .catch(() => {});
    client.close();
    expect(timers.size).toBe(0);
    while (proxy.open > 0) await new Promise(setImmediate);
  });
});
