import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from "vitest";
import { Client, type ClientOptions, poll, sse, type Transport } from "../../src/index.js";
import { connected, node, until } from "../support/platform.js";
import { FaultProxy } from "../support/proxy.js";
import { describeWithServer, mint, Server } from "../support/server.js";

describeWithServer("where WebSocket does not work", () => {
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

  function make(options: ClientOptions = {}): Client {
    const tuned = { backoff: { base: 20, cap: 200 }, stableAfter: 500 };
    const client = new Client(proxy.origin, { ...tuned, environment: node, ...options });
    clients.push(client);
    return client;
  }

  for (const [name, transport] of [
    ["sse", sse],
    ["poll", poll],
  ] as [string, () => Transport][]) {
    const transports = () => [transport()];

    test(`${name}: everything that WebSocket has`, async () => {
      const token = mint({ sub: "ann" });
      const client = make({ transports: transports(), token });
      const room = client.channel<{ n: unknown }>(`all:${name}`);
      const messages = room.messages();
      await server.publish(room.name, "before", { event: "n" });
      const subscribed = await room.subscribe({ rewind: 1, presence: true, data: { name: "Ann" } });
      expect(subscribed.position?.offset).toBe(1);
      expect(client.status.transport).toBe(name);
      const values = [1, "two", { three: 3 }, new Uint8Array([4])];
      for (const value of values) await room.publish("n", value);
      await room.publish("n", "unheard", { echo: false });
      await server.publish(room.name, "after", { event: "n" });
      for (const value of ["before", ...values, "after"]) expect((await messages.next()).value.payload).toEqual(value);
      await expect.poll(() => [...room.presence.members.values()].map(({ userId }) => userId)).toEqual(["ann"]);
      expect((await room.history({ limit: 1 })).messages[0]?.payload).toBe("after");
      await room.unsubscribe();
      await expect(client.channel("plain:x").history()).rejects.toMatchObject({ code: "NO_HISTORY" });
    });

    test(`${name}: 200 messages during 10 cuts, exactly once and in order`, async () => {
      const room = make({ transports: transports() }).channel<{ n: number }>(`cuts:${name}`);
      const messages = room.messages();
      await room.subscribe();
      for (let cut = 0; cut < 10; cut++) {
        const own = Array.from({ length: 10 }, (_, at) => room.publish("n", cut * 20 + at));
        proxy.cut();
        await Promise.all(own);
        for (let n = cut * 20 + 10; n < cut * 20 + 20; n++) await server.publish(room.name, n, { event: "n" });
      }
      for (let n = 0; n < 200; n++) expect((await messages.next()).value.payload).toBe(n);
    });

    test(`${name}: a bad token is not tried for ever; the application's disconnect is final`, async () => {
      const bad = make({ transports: transports(), token: () => "bad" });
      bad.connect();
      expect((await until(bad, ({ state }) => state === "failed")).error?.code).toBe("TOKEN_INVALID");
      const good = make({ transports: transports(), token: () => mint({ sub: `user-${name}` }) });
      good.connect();
      await connected(good);
      await server.api(`users/user-${name}/disconnect`, {});
      expect((await until(good, ({ state }) => state === "failed")).error?.code).toBe("FORBIDDEN");
    });

    test(`${name}: a token that expires is renewed`, async () => {
      let asked = 0;
      const client = make({
        transports: transports(),
        token: () => {
          asked++;
          return mint({ sub: "rita" }, 3);
        },
      });
      const room = client.channel("private:renewed");
      const messages = room.messages();
      await room.subscribe();
      await expect.poll(() => asked, { timeout: 20_000 }).toBeGreaterThan(3);
      await server.publish("private:renewed", 1);
      expect((await messages.next()).value.payload).toBe(1);
    });
  }

  for (const treatment of ["no-websocket", "kill-websocket"] as const) {
    test(`${treatment}: SSE instead, and back when it works again`, async () => {
      proxy.treatment = treatment;
      const client = make({ upgradeAfter: 300 });
      const room = client.channel(treatment);
      const messages = room.messages();
      await room.subscribe();
      await until(client, ({ transport }) => transport === "sse");
      await server.publish(treatment, 1);
      expect((await messages.next()).value.payload).toBe(1);
      proxy.treatment = "pass";
      await until(client, ({ transport }) => transport === "websocket");
      await server.publish(treatment, 2);
      expect((await messages.next()).value.payload).toBe(2);
    });
  }
});
