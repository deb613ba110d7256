import { expect, test } from "vitest";
import { settle } from "../support/clock.js";
import { Rig } from "../support/rig.js";

const CLIENTS = 2000;

/** Random numbers that are the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state * 1_664_525 + 1_013_904_223) % 2 ** 32;
    return state / 2 ** 32;
  };
}

test("2000 clients that lose a server together come back spread out", async () => {
  const next = random(42);
  const rigs = Array.from({ length: CLIENTS }, () => new Rig({ environment: { random: next } }));
  for (const rig of rigs) rig.client.connect();
  await settle();
  // Six attempts in a row fail, as long as the server stays away.
  for (let attempt = 0; attempt < 6; attempt++) {
    const longest = Math.min(30_000, 1000 * 2 ** attempt);
    const delays: number[] = [];
    for (const rig of rigs) {
      await rig.socket.end();
      delays.push((rig.client.status.retryAt ?? 0) - rig.clock.now());
    }
    expect(Math.max(...delays)).toBeLessThanOrEqual(longest);
    // Evenly: each tenth of the time gets about a tenth of the clients (200 ± 5 standard deviations of 13).
    const tenths = Array.from({ length: 10 }, () => 0);
    for (const delay of delays) {
      const tenth = Math.min(9, Math.floor((delay / longest) * 10));
      tenths[tenth] = (tenths[tenth] ?? 0) + 1;
    }
    expect(Math.min(...tenths)).toBeGreaterThan(135);
    expect(Math.max(...tenths)).toBeLessThan(265);
    for (const rig of rigs) await rig.clock.advance(rig.clock.next ?? 0);
  }
  for (const rig of rigs) rig.client.close();
  expect(rigs.reduce((sum, rig) => sum + rig.clock.pending, 0)).toBe(0);
}, 60_000);

test("a restart that is announced brings each client back when it was told to", async () => {
  const next = random(7);
  const back: number[] = [];
  for (let client = 0; client < 200; client++) {
    const rig = new Rig({ environment: { random: next } });
    const socket = await rig.connected();
    const start = rig.clock.now();
    const reconnectIn = Math.floor(next() * 10_000);
    await socket.say({ type: "drain", reconnectIn });
    await rig.reconnected();
    back.push(rig.clock.now() - start - reconnectIn);
    rig.client.close();
  }
  expect(new Set(back)).toEqual(new Set([0]));
});
