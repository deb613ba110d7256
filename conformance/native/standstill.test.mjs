// A process that stands still (a paused machine, a debugger) was deaf itself: its clients are not to blame for the silence.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Client, closeAll } from "../harness/client.mjs";
import { Server, eventually } from "../harness/server.mjs";

describe("a node that stood still for longer than interval and timeout", () => {
  let server;
  before(async () => { server = await Server.start({ heartbeat: { interval: "2s", timeout: "2s" } }); });
  after(async () => {
    closeAll();
    await server.stop();
  });

  test("keeps its connections, and still finds those that are dead", { timeout: 300_000 }, async () => {
    const [alive, dead] = [await Client.connect(server), await Client.connect(server)];
    for (const client of [alive, dead]) await client.subscribe("still");
    server.signal("SIGSTOP");
    dead.socket.pause(); // It will not answer any more.
    await new Promise((done) => setTimeout(done, 12_000));
    server.signal("SIGCONT");
    // The dead one is found in the usual way, by a heartbeat that nobody answers.
    await eventually(async () => (await server.api("GET", "/api/channels/still")).body.members === 1, "the end of the dead one", 30_000);
    assert.equal(alive.end, undefined, "still connected");
    await server.publish("still", "here");
    assert.equal((await alive.message("still")).payload, "here");
  });
});
