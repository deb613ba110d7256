// `POST /send`: whatever is wrong, the answer is the protocol's error object (section 7 of the contract).

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { mint } from "../harness/jwt.mjs";
import { Server } from "../harness/server.mjs";

const LARGE = JSON.stringify({ type: "publish", channel: "a", payload: "x".repeat(70_000) });
const bearer = { authorization: `Bearer ${mint({ sub: "ann", app: "1" })}` };

let server;
before(async () => {
  server = await Server.start({ origins: { allow: ["https://app.example"] }, auth: { anonymous: false } });
});
after(() => server.stop());

for (const [what, status, code, { headers = bearer, body = '{"type":"ping"}' }] of [
  ["a page that may not use the server", 403, "FORBIDDEN", { headers: { ...bearer, origin: "https://evil.example" } }],
  ["nobody", 401, "AUTH_REQUIRED", { headers: {} }],
  ["an invalid token", 401, "TOKEN_INVALID", { headers: { authorization: "Bearer x.y.z" } }],
  ["a body beyond max_payload", 413, "PAYLOAD_TOO_LARGE", { body: LARGE }],
  ["a body that is no message", 400, "INVALID_MESSAGE", { body: "[]" }],
]) {
  test(`${what} is told ${status} ${code}`, async () => {
    const answer = await fetch(`${server.origin}/send`, { method: "POST", headers, body });
    const { type, code: told, message, ...more } = await answer.json();
    assert.deepEqual([answer.status, type, told, typeof message, more], [status, "error", code, "string", {}]);
  });
}
