import { describe, expect, test } from "vitest";
import type { ClientMessage } from "../../src/index.js";
import { msgpack } from "../../src/msgpack.js";

const bytes = (hex: string) => Uint8Array.from(hex.match(/../g) ?? [], (byte) => Number.parseInt(byte, 16));
const hex = (of: Uint8Array) => [...of].map((byte) => byte.toString(16).padStart(2, "0")).join("");
const encode = (value: unknown) => hex(msgpack.encode(value as ClientMessage) as Uint8Array);

describe("exact bytes, both ways", () => {
  for (const [value, wire] of [
    [null, "c0"],
    [false, "c2"],
    [true, "c3"],
    [0, "00"],
    [127, "7f"],
    [128, "cc80"],
    [255, "ccff"],
    [256, "cd0100"],
    [65_535, "cdffff"],
    [65_536, "ce00010000"],
    [4_294_967_295, "ceffffffff"],
    [4_294_967_296, "cf0000000100000000"],
    [Number.MAX_SAFE_INTEGER, "cf001fffffffffffff"],
    [2n ** 64n - 1n, "cfffffffffffffffff"],
    [-1, "ff"],
    [-32, "e0"],
    [-33, "d0df"],
    [-128, "d080"],
    [-129, "d1ff7f"],
    [-32_768, "d18000"],
    [-32_769, "d2ffff7fff"],
    [-2_147_483_648, "d280000000"],
    [-2_147_483_649, "d3ffffffff7fffffff"],
    [-(2n ** 63n), "d38000000000000000"],
    [0.5, "cb3fe0000000000000"],
    ["", "a0"],
    ["ü", "a2c3bc"],
    ["x".repeat(31), `bf${"78".repeat(31)}`],
    ["x".repeat(32), `d920${"78".repeat(32)}`],
    ["x".repeat(256), `da0100${"78".repeat(256)}`],
    [new Uint8Array([1, 2]), "c4020102"],
    [new Uint8Array(256), `c50100${"00".repeat(256)}`],
    [[], "90"],
    [[1, [2]], "92019102"],
    [Array(16).fill(0), `dc0010${"00".repeat(16)}`],
    [{}, "80"],
    [{ a: 1, b: { c: null } }, "82a16101a16281a163c0"],
  ] as const) {
    test(`${typeof value} ${wire.slice(0, 24)}`, () => {
      expect(encode(value)).toBe(wire);
      expect(msgpack.decode(bytes(wire))).toEqual(value);
    });
  }
});

test("lengths of 2^16 and more", () => {
  const text = "x".repeat(65_536);
  expect(msgpack.decode(msgpack.encode(text as never))).toBe(text);
  const array = Array(65_536).fill(1);
  expect(msgpack.decode(msgpack.encode(array as never))).toEqual(array);
});

test("what JSON does with it: undefined, dates, and numbers that are none", () => {
  expect(encode({ a: undefined, b: 1 })).toBe("81a16201");
  expect(msgpack.decode(msgpack.encode(new Date(0) as never))).toBe("1970-01-01T00:00:00.000Z");
  expect(encode([Number.NaN, Number.POSITIVE_INFINITY])).toBe("92c0c0");
});

test("what cannot be sent is told", () => {
  expect(() => encode(() => {})).toThrow(TypeError);
  expect(() => encode(2n ** 64n)).toThrow(TypeError);
});

test("a member __proto__ is a member", () => {
  const value = msgpack.decode(bytes("81a95f5f70726f746f5f5f01")) as object;
  expect(Object.keys(value)).toEqual(["__proto__"]);
  expect(Object.getPrototypeOf(value)).toBe(Object.prototype);
});

describe("bytes that are no message", () => {
  for (const [name, wire] of [
    ["nothing", ""],
    ["too short a number", "ce0000"],
    ["too short a text", "a2c3"],
    ["a length that lies", "ddffffffff"],
    ["a map that lies", "dfffffffff"],
    ["bytes behind it", "c0c0"],
    ["no UTF-8", "a1ff"],
    ["the type that never is", "c1"],
    ["an extension", "d40001"],
    ["a name that is a number", "810101"],
    ["100,000 deep", "91".repeat(100_000)],
  ] as const) {
    test(name, () => expect(() => msgpack.decode(bytes(wire))).toThrow());
  }
  test("text", () => expect(() => msgpack.decode("{}")).toThrow(TypeError));
});
