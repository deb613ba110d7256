// What the files of this folder have in common: a suite runs once for each broker, in a file of its own, so that no file
// takes long.

import assert from "node:assert/strict";
import { before, describe } from "node:test";

import { isInstalled } from "../harness/broker.mjs";

/** Describes what needs a broker: skipped aloud where it is not installed, and failed there in CI. */
export function describeOn(kind, title, body) {
  const skip = !isInstalled(kind) && !process.env.CI ? `${kind} is not installed: THESE TESTS WERE SKIPPED` : false;
  describe(`${title}, ${kind}`, { skip }, () => {
    before(() => assert.ok(isInstalled(kind), `CI needs ${kind}`));
    body();
  });
}

export const count = (n, from = 1) => Array.from({ length: n }, (_, at) => at + from);
