import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { Client, type ClientOptions, type Member, websocket } from "../../src/index.js";
import { msgpack } from "../../src/msgpack.js";
import { connected, node, until } from "../support/platform.js";
import { describeWithServer, mint, Server } from "../support/server.js";

describeWithServer("the real server", () => {
  let server: Server;
  const clients: Client[] = [];

  beforeAll(async () => {
    server = await Server.start();
  });
  afterAll(() => server?.stop());
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
  });

  function make(options: ClientOptions = {}, url = server.origin): Client {
    const client = new Client(url, { backoff: { base: 20, cap: 200 }, environment: node, ...options });
    clients.push(client);
    return client;
  }

  test("who one is: nobody, or the user of the token", async () => {
    const anonymous = make();
    anonymous.connect();
    expect(await connected(anonymous)).toMatchObject({ userId: null });
    const ann = make({ token: mint({ sub: "ann" }) });
    ann.connect();
    expect(await connected(ann)).toMatchObject({ userId: "ann", transport: "websocket" });
    const sub = make({ token: mint({ sub: "bob" }), transports: [websocket({ token: "subprotocol" })] });
    sub.connect();
    expect(await connected(sub)).toMatchObject({ userId: "bob" });
  });

  test("a bad token: once more with a fresh one, then failed", async () => {
    let asked = 0;
    const client = make({ token: () => `bad${asked++}` });
    client.connect();
    const status = await until(client, ({ state }) => state === "failed");
    expect([status.error?.code, asked]).toEqual(["TOKEN_INVALID", 2]);
  });

  test("a token that expires is renewed, and the connection lives on", async () => {
    let asked = 0;
    const client = make({
      token: async () => {
        asked++;
        return mint({ sub: "ann" }, 3);
      },
    });
    client.connect();
    const first = await connected(client);
    await expect.poll(() => asked, { timeout: 20_000 }).toBeGreaterThan(3);
    expect(client.status.connectionId).toBe(first.connectionId);
  });

  test("refused channels say why; those that want a user let one in", async () => {
    await expect(make().channel("private:1").subscribe()).rejects.toMatchObject({ code: "AUTH_REQUIRED" });
    await make({ token: mint({ sub: "ann" }) })
      .channel("private:1")
      .subscribe();
    await expect(make().channel("plain:1").history()).rejects.toMatchObject({ code: "NO_HISTORY" });
    await expect(make().channel("").subscribe()).rejects.toMatchObject({ code: "INVALID_CHANNEL" });
    await expect(make().request("sum", [1, 2])).rejects.toMatchObject({ code: "UNKNOWN_TYPE" });
  });

  for (const [name, options] of [
    ["JSON", {}],
    ["MessagePack", { codec: msgpack }],
  ] as [string, ClientOptions][]) {
    test(`payloads of every kind in ${name}`, async () => {
      const room = make(options).channel<{ any: unknown }>(`payloads:${name}`);
      const messages = room.messages();
      await room.subscribe();
      const payloads = [null, true, 0, -1, 1.5, "ü🐦", [], [1, [2]], {}, { a: { b: null } }, new Uint8Array([0, 255])];
      for (const payload of payloads) await room.publish("any", payload);
      for (const payload of payloads) expect((await messages.next()).value.payload).toEqual(payload);
      const history = await room.history({ limit: 2 });
      expect(history.messages.map(({ payload }) => payload)).toEqual(payloads.slice(-2));
    });
  }

  test("rewind, history and where to go on", async () => {
    for (let n = 1; n <= 5; n++) await server.publish("log", n);
    const room = make().channel("log");
    const messages = room.messages();
    await room.subscribe({ rewind: 2 });
    expect([(await messages.next()).value.payload, (await messages.next()).value.payload]).toEqual([4, 5]);
    expect((await room.history({ after: 1, limit: 2 })).messages.map(({ payload }) => payload)).toEqual([2, 3]);
    const { position } = room;
    await server.publish("log", 6);
    const later = make().channel("log");
    const more = later.messages();
    expect((await later.subscribe({ recover: position })).recovered).toBe(true);
    expect((await more.next()).value.payload).toBe(6);
  });

  test("echo: false is not heard again, also after a reconnect, and is no gap", async () => {
    const client = make();
    const room = client.channel("echo");
    const gaps: unknown[] = [];
    room.watch("gap", (gap) => gaps.push(gap));
    const messages = room.messages();
    await room.subscribe();
    await room.publish("n", "unheard", { echo: false });
    await room.publish("n", "heard");
    expect((await messages.next()).value.payload).toBe("heard");
    await room.publish("n", "unheard", { echo: false });
    const { connectionId } = client.status;
    await server.api(`connections/${connectionId}/disconnect`, {});
    await until(client, ({ state }) => state === "failed");
    const again = room.messages();
    client.connect();
    await room.publish("n", "heard again");
    expect((await again.next()).value.payload).toBe("heard again");
    expect(gaps).toEqual([]);
  });

  test("the same messageId is one message", async () => {
    const room = make().channel("twice");
    const first = await room.publish("n", 1, { messageId: "same" });
    expect(await room.publish("n", 1, { messageId: "same" })).toEqual(first);
  });

  test("presence is a live set", async () => {
    const watcher = make().channel("people");
    await watcher.subscribe({ presence: true });
    const names = () =>
      [...watcher.presence.members.values()].map(({ data }) => (data as { name: string }).name).sort();
    const when = async (expected: string[]) => {
      while (JSON.stringify(names()) !== JSON.stringify(expected)) {
        await new Promise<void>((changed) => {
          const off = watcher.presence.onChange(() => {
            off();
            changed();
          });
        });
      }
    };
    const [ann, bob] = [make({ token: mint({ sub: "ann" }) }), make({ token: mint({ sub: "bob" }) })];
    await ann.channel("people").subscribe({ data: { name: "Ann" } });
    await bob.channel("people").subscribe();
    await bob.channel("people").presence.enter({ name: "Bob" });
    await when(["Ann", "Bob"]);
    await bob.channel("people").presence.update({ name: "Robert" });
    await when(["Ann", "Robert"]);
    expect((await watcher.presence.get()).map(({ userId }: Member) => userId).sort()).toEqual(["ann", "bob"]);
    await bob.channel("people").presence.leave();
    ann.close();
    await when([]);
  });

  test("messages to the user; disconnected by the application, the client stays away", async () => {
    const client = make({ token: () => mint({ sub: "uma" }) });
    const message = new Promise((done) => client.on("message", done));
    client.connect();
    await connected(client);
    await server.api("users/uma/publish", { payload: "for you" });
    expect(await message).toMatchObject({ channel: "#user:uma", payload: "for you" });
    await server.api("users/uma/disconnect", {});
    expect((await until(client, ({ state }) => state === "failed")).error?.code).toBe("FORBIDDEN");
  });

  test("too large a publish is refused, and does not come back for ever", async () => {
    const client = make();
    const room = client.channel("large");
    await expect(room.publish("n", "x".repeat(100_000))).rejects.toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
    await room.publish("n", "small");
  });

  test("a restart is announced, waited for and survived", async () => {
    const first = await Server.start();
    const client = make({}, first.origin);
    const room = client.channel("restart");
    const drained = new Promise((done) => client.on("drain", done));
    await room.subscribe();
    const stopped = first.terminate();
    expect(await drained).toMatchObject({ reconnectIn: expect.any(Number) });
    await stopped;
    const second = await Server.start({ port: first.port });
    const recovered = new Promise((done) => room.watch("recovered", done));
    const publish = room.publish("n", 1);
    expect(await recovered).toEqual({ recovered: false });
    await publish;
    await second.stop();
    await first.stop();
  });
});
