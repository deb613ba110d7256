// The example `game`, played with the official client over both transports.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { Example } from "../harness/example.mjs";
import { mint } from "../harness/jwt.mjs";
import { connect, disconnectAll, join, keeping, ok, outcome, refused, synced, VARIANTS } from "./client.mjs";

const SECRET = "the secret of the game, which only this test knows";
const NAME = "starling-example-game";

let game;
before(async () => { game = await Example.start(NAME, { env: { SECRET } }); });
after(async () => {
  disconnectAll();
  await game.stop();
});

const player = (user, variant) => connect(game, { ...variant, params: { token: mint({ sub: user }, { key: SECRET }) } });

let games = 0;
/** A game that nobody else plays, of those open to everybody. */
const fresh = () => `game:${(games += 1)}`;

for (const { name, ...variant } of VARIANTS) {
  describe(name, () => {
    test("who may join: guests in open games, players in league games, nobody in game 0 or elsewhere", async () => {
      const [guest, ann] = [connect(game, variant), player("ann", variant)];
      const topic = fresh();
      const { you, ...board } = (await join(guest, topic)).response;
      assert.match(you, /^guest-/);
      assert.deepEqual(board, { game: Number(topic.slice(5)), size: 100 });
      assert.equal((await join(ann, topic)).response.you, "ann");
      await refused(guest.channel("game:100").join(), "FORBIDDEN");
      assert.equal((await join(ann, "game:100")).response.game, 100);
      await refused(ann.channel("game:0").join(), "NO_SUCH_GAME");
      for (const unknown of ["game:x", "chess:1"]) {
        const [status, response] = await outcome(ann.channel(unknown).join());
        assert.equal(status, "error", `${unknown}: ${JSON.stringify(response)}`);
      }
    });

    test("a move reaches everybody in the game, the mover included, and nobody in another", async () => {
      const topic = fresh();
      const [ann, bob, cid] = ["ann", "bob", "cid"].map((user) => player(user, variant));
      const [hers, his, elsewhere] = [await join(ann, topic), await join(bob, topic), await join(cid, fresh())];
      for (let x = 1; x <= 10; x += 1) await ok(hers.push("move", { x, y: 2 * x }));
      for (const channel of [hers, his]) {
        for (let x = 1; x <= 10; x += 1) assert.deepEqual(await channel.next("player_moved"), { player: "ann", x, y: 2 * x });
      }
      await ok(his.push("move", { x: 99, y: 0 }));
      assert.deepEqual(await hers.next("player_moved"), { player: "bob", x: 99, y: 0 });
      await ok(elsewhere.push("ping", {}));
      assert.ok(!elsewhere.kept.some(({ event }) => event === "player_moved"));
    });

    test("moves that are none are answered with an error, and nobody is told", async () => {
      const channel = await join(player("ann", variant), fresh());
      await refused(channel.push("move", { x: 100, y: 0 }), "OFF_BOARD");
      for (const wrong of [{}, { x: "1", y: 2 }, { x: -1, y: 2 }, [1, 2, 3]]) {
        assert.equal((await outcome(channel.push("move", wrong)))[0], "error", JSON.stringify(wrong));
      }
      await ok(channel.push("move", { x: 1, y: 1 }));
      assert.deepEqual(await channel.next("player_moved"), { player: "ann", x: 1, y: 1 });
    });

    test("ping is answered with the time, to who asked only", async () => {
      const topic = fresh();
      const [hers, his] = [await join(player("ann", variant), topic), await join(player("bob", variant), topic)];
      const { time } = await ok(hers.push("ping", {}));
      assert.ok(Math.abs(time - Date.now()) < 60_000, String(time));
      await ok(his.push("ping", {}));
      assert.ok(![...hers.kept, ...his.kept].some(({ event }) => event === "ping"));
    });

    test("presence: who is online, since when, and who left", async () => {
      const topic = fresh();
      const sockets = {};
      const channels = {};
      const presences = {};
      for (const user of ["ann", "bob"]) {
        sockets[user] = player(user, variant);
        channels[user] = keeping(sockets[user].channel(topic));
        presences[user] = new sockets[user].lib.Presence(channels[user]);
        await ok(channels[user].join());
      }
      for (const presence of Object.values(presences)) {
        const state = await synced(presence, (state) => Object.keys(state).sort().join() === "ann,bob");
        for (const { metas: [{ online_at, status, phx_ref }] } of Object.values(state)) {
          assert.ok(Math.abs(online_at - Date.now()) < 60_000, String(online_at));
          assert.equal(status, "online");
          assert.equal(typeof phx_ref, "string");
        }
      }
      await ok(channels.bob.leave());
      await synced(presences.ann, (state) => Object.keys(state).join() === "ann");
    });
  });
}

test("a game that was restarted goes on with the same players", async () => {
  const own = await Example.start(NAME, { env: { SECRET } });
  const socket = connect(own, { params: () => ({ token: mint({ sub: "ann" }, { key: SECRET }) }) });
  const channel = await join(socket, fresh());
  await ok(channel.push("move", { x: 1, y: 1 }));
  await channel.next("player_moved");
  const rejoined = new Promise((done) => { channel.joinPush.receive("ok", done); });
  const { port } = own;
  await own.stop();
  const again = await Example.start(NAME, { env: { SECRET }, port });
  assert.equal((await rejoined).you, "ann");
  await ok(channel.push("move", { x: 2, y: 2 }));
  assert.deepEqual(await channel.next("player_moved"), { player: "ann", x: 2, y: 2 });
  socket.disconnect();
  await again.stop();
});
