// Mints JSON Web Tokens with node:crypto alone, also wrong ones.

import { createHmac, createSign, generateKeyPairSync, sign } from "node:crypto";

import { APP } from "./server.mjs";

const encode = (of) => Buffer.from(typeof of === "string" ? of : JSON.stringify(of)).toString("base64url");

export const seconds = () => Math.floor(Date.now() / 1000);

const SIGN = {
  HS256: (input, key) => createHmac("sha256", key).update(input).digest(),
  HS384: (input, key) => createHmac("sha384", key).update(input).digest(),
  HS512: (input, key) => createHmac("sha512", key).update(input).digest(),
  RS256: (input, key) => createSign("RSA-SHA256").update(input).sign(key),
  ES256: (input, key) => createSign("SHA256").update(input).sign({ key, dsaEncoding: "ieee-p1363" }),
  EdDSA: (input, key) => sign(null, Buffer.from(input), key),
  none: () => Buffer.alloc(0),
};

/** A token for `claims`, by default good for an hour and signed with the first app's secret. */
export function mint(claims, { alg = "HS256", key = APP.secret, header = {} } = {}) {
  const input = `${encode({ alg, typ: "JWT", ...header })}.${encode({ iat: seconds(), exp: seconds() + 3600, ...claims })}`;
  return `${input}.${SIGN[alg](input, key).toString("base64url")}`;
}

/** A fresh key pair for `alg`: `{ privateKey, publicPem, jwk }`. */
export function keyPair(alg) {
  const pair = {
    RS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
    ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
    EdDSA: () => generateKeyPairSync("ed25519"),
  }[alg]();
  return {
    privateKey: pair.privateKey,
    publicPem: pair.publicKey.export({ type: "spki", format: "pem" }),
    jwk: { ...pair.publicKey.export({ format: "jwk" }), alg, use: "sig" },
  };
}
