import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Client, type ClientOptions, poll, type ServerEvent, sse, type Transport } from "../../src/index.js";
import { EventReader } from "../../src/transport/events.js";
import { HttpServer } from "../support/http-server.js";
import { connected, node, until } from "../support/platform.js";

let server: HttpServer;
const clients: Client[] = [];

beforeEach(async () => {
  server = await HttpServer.start();
});
afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await server.stop();
});

function make(options: ClientOptions = {}): Client {
  const client = new Client(server.origin, { backoff: { base: 10, cap: 50 }, environment: node, ...options });
  clients.push(client);
  return client;
}

/** The payloads of the next `count` messages. */
async function next(messages: AsyncIterator<{ payload: unknown }>, count: number): Promise<unknown[]> {
  const payloads = [];
  while (payloads.length < count) payloads.push((await messages.next()).value.payload);
  return payloads;
}

for (const [name, transport] of [
  ["sse", sse],
  ["poll", poll],
] as [string, () => Transport][]) {
  describe(name, () => {
    test("subscribes, publishes, receives", async () => {
      const client = make({ transports: [transport()] });
      const room = client.channel("room");
      const messages = room.messages();
      expect(await room.subscribe()).toMatchObject({ position: { epoch: "e", offset: 0 } });
      expect(client.status).toMatchObject({ state: "connected", transport: name });
      const acks = await Promise.all([1, 2, 3].map((payload) => room.publish("message", payload)));
      expect(acks.map(({ position }) => position?.offset)).toEqual([1, 2, 3]);
      server.publish("room", "from elsewhere");
      expect(await next(messages, 4)).toEqual([1, 2, 3, "from elsewhere"]);
      await room.unsubscribe();
      server.publish("room", "unheard");
      expect(await room.publish("message", 5)).toMatchObject({ position: { offset: 6 } });
      expect((await messages.next()).done).toBe(true);
    });

    test("after a lost connection: everything once, in order", async () => {
      const client = make({ transports: [transport()] });
      const room = client.channel("room");
      await room.subscribe();
      const messages = room.messages();
      for (let round = 0; round < 5; round++) {
        server.publish("room", round * 2);
        server.cut();
        server.publish("room", round * 2 + 1);
        expect(await next(messages, 2)).toEqual([round * 2, round * 2 + 1]);
      }
    });

    test("what comes down before the answer to its subscription waits for it", async () => {
      server.hurries = true;
      const client = make({ transports: [transport()] });
      const room = client.channel("room");
      await room.subscribe();
      const messages = room.messages();
      server.cut();
      for (let n = 1; n <= 5; n++) server.publish("room", n);
      expect(await next(messages, 5)).toEqual([1, 2, 3, 4, 5]);
    });

    test("refusals of one channel are that channel's", async () => {
      const client = make({ transports: [transport()] });
      await expect(client.channel("refused").subscribe()).rejects.toMatchObject({ code: "FORBIDDEN" });
      expect(client.status.state).toBe("connected");
      await expect(client.request("x", 1)).rejects.toMatchObject({ code: "UNKNOWN_TYPE" });
    });

    test("what is too large to be read is refused to who sent it", async () => {
      const room = make({ transports: [transport()] }).channel("room");
      await room.subscribe();
      await expect(room.publish("message", "x".repeat(70_000))).rejects.toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
      expect(await room.publish("message", 1)).toMatchObject({ position: { offset: 1 } });
    });

    test("a refused token is not tried for ever", async () => {
      server.token = "good";
      const client = make({ transports: [transport()], token: () => "bad" });
      client.connect();
      const status = await until(client, ({ state }) => state === "failed");
      expect(status.error?.code).toBe("TOKEN_INVALID");
      expect(server.seen).toEqual([`/${name}`, `/${name}`]);
    });

    test("the token is in a header, never in the address", async () => {
      server.token = "good";
      const client = make({ transports: [transport()], token: "good" });
      await client.channel("room").subscribe();
    });

    test("notices: a gap, the end of a subscription", async () => {
      const room = make({ transports: [transport()] }).channel("room");
      await room.subscribe();
      const gap = new Promise((done) => room.watch("gap", done));
      const end = new Promise((done) => room.watch("unsubscribed", done));
      server.notice({ type: "gap", channel: "room", missed: 2 });
      server.notice({ type: "unsubscribed", channel: "room", code: "FORBIDDEN", message: "go" });
      expect(await gap).toEqual({ missed: 2, announced: true });
      expect(await end).toMatchObject({ code: "FORBIDDEN" });
    });

    test("what the application asks is replied to", async () => {
      const client = make({ transports: [transport()] });
      await client.channel("room").subscribe();
      const errors: unknown[] = [];
      client.on("error", (error) => errors.push(error));
      const asked = new Promise<ServerEvent>((done) => client.on("event", done));
      server.notice({ type: "event", event: "really?", payload: 1, ack: 7 });
      (await asked).reply?.(true);
      await client.channel("room").publish("message", 1);
      expect(server.bodies.filter(({ type }) => type === "reply")).toEqual([{ type: "reply", ack: 7, payload: true }]);
      expect([client.status.state, errors]).toEqual(["connected", []]);
    });

    test("each request has a signal of its own, and all of them end with close()", async () => {
      const signals: AbortSignal[] = [];
      const spied: typeof fetch = (url, init) => {
        if (init?.signal) signals.push(init.signal);
        return fetch(url, init);
      };
      const client = make({ transports: [transport()], environment: { ...node, fetch: spied } });
      const room = client.channel("room");
      await room.subscribe();
      for (let n = 0; n < 5; n++) await room.publish("message", n);
      expect(signals.length).toBeGreaterThanOrEqual(7);
      expect(new Set(signals).size).toBe(signals.length);
      client.close();
      expect(signals.some(({ aborted }) => aborted)).toBe(true);
    });

    test("close() ends its requests", async () => {
      const client = make({ transports: [transport()] });
      await client.channel("room").subscribe();
      client.close();
      expect(client.status.state).toBe("closed");
    });
  });
}

test("a WebSocket that is not let through: SSE, with everything that was asked for", async () => {
  const client = make();
  const room = client.channel("room");
  const publish = room.publish("message", 1);
  await room.subscribe();
  await publish;
  expect(client.status.transport).toBe("sse");
  expect(server.seen.slice(0, 2)).toEqual(["upgrade", "/sse"]);
});

test("a stream that is not let through either, or is held back: long-polling", async () => {
  for (const how of ["status", "buffer"]) {
    if (how === "status") server.sseStatus = 502;
    else [server.sseStatus, server.sseBuffers] = [200, true];
    const client = make({ connectTimeout: 300 });
    client.connect();
    expect((await connected(client)).transport).toBe("poll");
  }
});

test("a platform without WebSocket begins with SSE", async () => {
  const client = make({ environment: { WebSocket: undefined } });
  client.connect();
  expect((await connected(client)).transport).toBe("sse");
  expect(server.seen[0]).toBe("/sse");
});

test("event streams in pieces of any size, with every kind of line end", () => {
  for (const [stream, events] of [
    ["data: a\n\n", [["message", "a"]]],
    ["data:a\r\n\r\n", [["message", "a"]]],
    [
      "data: a\r\rdata:  b\r\r",
      [
        ["message", "a"],
        ["message", " b"],
      ],
    ],
    [
      "event: x\ndata: 1\ndata: 2\n\ndata: 3\n\n",
      [
        ["x", "1\n2"],
        ["message", "3"],
      ],
    ],
    [": comment\n\nevent: lonely\n\ndata\n\n", [["message", ""]]],
    ["id: 1\nretry: 5\nunknown: x\ndata: ü\n\ndata: unfinished\n", [["message", "ü"]]],
  ] as [string, [string, string][]][]) {
    for (let size = 1; size <= stream.length; size++) {
      const reader = new EventReader();
      const got: string[][] = [];
      for (let at = 0; at < stream.length; at += size) {
        for (const { event, data } of reader.read(stream.slice(at, at + size))) got.push([event, data]);
      }
      // A line that ends in a lone carriage return is known to have ended only with what follows.
      for (const { event, data } of reader.read("\n")) got.push([event, data]);
      expect(got.slice(0, events.length), `${JSON.stringify(stream)} in pieces of ${size}`).toEqual(events);
    }
  }
});

test("a session that the server does not know any more is a lost connection, not a refused channel", async () => {
  const client = make({ transports: [sse()] });
  const room = client.channel("room");
  await room.subscribe();
  server.forget();
  await room.publish("message", 1);
  expect(room.isSubscribed).toBe(true);
  expect(server.seen.filter((path) => path === "/sse").length).toBe(2);
});

test("why a stream ends is what the server said before", async () => {
  const client = make({ transports: [sse()] });
  await client.channel("room").subscribe();
  const failed = until(client, ({ state }) => state === "failed");
  server.notice({ type: "error", code: "FORBIDDEN", message: "disconnected by the application" });
  await new Promise(setImmediate);
  await new Promise(setImmediate);
  server.cut();
  expect((await failed).error?.code).toBe("FORBIDDEN");
});

test("an answer whose head comes and whose body does not is no answer", async () => {
  // The seconds that an answer may take, in a hundredth of the time.
  const setTimeout = (task: () => void, delay: number) =>
    globalThis.setTimeout(task, delay >= 20_000 ? delay / 100 : delay);
  for (const [transport, path] of [
    [sse(), "/send"],
    [poll(), "/send"],
    [poll(), "/poll"],
  ] as [Transport, string][]) {
    const client = make({ transports: [transport], environment: { ...node, setTimeout } });
    const room = client.channel(`${transport.name}${path}`);
    const messages = room.messages();
    await room.subscribe();
    server.stalls.add(path);
    // The poll under way is answered, and the one after it stalls.
    if (path === "/poll") server.publish(room.name, 0);
    const published = path === "/send" ? room.publish("message", 1) : undefined;
    await until(client, ({ state }) => state === "waiting");
    await connected(client);
    await published;
    server.publish(room.name, 2);
    expect((await next(messages, 2)).at(-1)).toBe(2);
    client.close();
  }
});
