// Authentication: on the upgrade, as first message, renewal, expiry, tickets, anonymous connections (contract 3, 5, 11).

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { after, before, describe, test } from "node:test";

import { Client, closeAll, JSON_PROTOCOL } from "../harness/client.mjs";
import { keyPair, mint, seconds } from "../harness/jwt.mjs";
import { APP, Server } from "../harness/server.mjs";

after(closeAll);

describe("a server that wants a token on the upgrade", () => {
  let server;
  before(async () => { server = await Server.start({ auth: { anonymous: false, when: "upgrade" } }); });
  after(() => server.stop());

  test("Authorization: Bearer makes auth_ack the first frame", async () => {
    const exp = seconds() + 600;
    const client = await Client.connect(server, { user: "ann", claims: { exp } });
    const first = await client.next();
    assert.equal(first.type, "auth_ack");
    assert.equal(first.userId, "ann");
    assert.equal(typeof first.connectionId, "string");
    assert.equal(first.expiresAt, exp * 1000, "expiresAt is Unix milliseconds");
  });

  test("a token may be offered as the subprotocol bearer.JWT, and starling.v1.json is the one selected", async () => {
    const client = await Client.connect(server, { protocols: [JSON_PROTOCOL, `bearer.${mint({ sub: "bea" })}`] });
    assert.equal(client.socket.protocol, JSON_PROTOCOL);
    assert.equal((await client.next()).userId, "bea");
  });

  test("no token is HTTP 401", async () => {
    await Client.refused(server, 401);
  });

  const wrong = {
    "not a JWT": () => "nonsense",
    "three empty parts": () => "..",
    "signed with another secret": () => mint({ sub: "eve" }, { key: "another secret, long enough to be one" }),
    "alg none": () => mint({ sub: "eve" }, { alg: "none" }),
    "alg None, in capitals, with the signature cut": () => {
      const [, claims] = mint({ sub: "eve" }).split(".");
      return `${Buffer.from('{"alg":"NONE"}').toString("base64url")}.${claims}.`;
    },
    expired: () => mint({ sub: "eve", exp: seconds() - 120 }),
    "not valid yet": () => mint({ sub: "eve", nbf: seconds() + 600 }),
    "without sub": () => mint({}),
    "sub of the wrong type": () => mint({ sub: 7 }),
    "for another app": () => mint({ sub: "eve", app: "999" }),
    "claims changed after signing": () => {
      const [head, , signature] = mint({ sub: "ann" }).split(".");
      return `${head}.${Buffer.from(JSON.stringify({ sub: "root", exp: seconds() + 600 })).toString("base64url")}.${signature}`;
    },
  };
  for (const [name, token] of Object.entries(wrong)) {
    test(`a bad token is HTTP 401: ${name}`, async () => {
      await Client.refused(server, 401, { token: token() });
      await Client.refused(server, 401, { protocols: [JSON_PROTOCOL, `bearer.${token()}`] });
    });
  }

  for (const alg of ["HS256", "HS384", "HS512"]) {
    test(`${alg}: the app's secret signs, another does not`, async () => {
      await Client.user(server, "ann", { token: mint({ sub: "ann" }, { alg }) });
      await Client.refused(server, 401, { token: mint({ sub: "ann" }, { alg, key: `${APP.secret}x` }) });
      const [, claims, signature] = mint({ sub: "ann" }, { alg }).split(".");
      const other = Buffer.from(JSON.stringify({ alg: alg === "HS256" ? "HS512" : "HS256", typ: "JWT" })).toString("base64url");
      await Client.refused(server, 401, { token: `${other}.${claims}.${signature}` });
    });
  }

  test("?token= is off by default", async () => {
    await Client.refused(server, 401, { query: `?token=${mint({ sub: "ann" })}` });
  });

  test("a ticket is good once", async () => {
    const headers = { authorization: `Bearer ${mint({ sub: "tia", info: { name: "Tia" } })}` };
    const answer = await fetch(`${server.origin}/ticket`, { method: "POST", headers });
    assert.equal(answer.status, 200);
    const { ticket, expiresIn } = await answer.json();
    assert.equal(typeof ticket, "string");
    assert.equal(expiresIn, 30);
    const client = await Client.connect(server, { query: `?ticket=${encodeURIComponent(ticket)}` });
    assert.equal((await client.next()).userId, "tia");
    await Client.refused(server, 401, { query: `?ticket=${encodeURIComponent(ticket)}` });
  });

  test("a ticket needs a valid token, and an invented ticket is HTTP 401", async () => {
    assert.equal((await fetch(`${server.origin}/ticket`, { method: "POST" })).status, 401);
    const headers = { authorization: "Bearer nonsense" };
    assert.equal((await fetch(`${server.origin}/ticket`, { method: "POST", headers })).status, 401);
    await Client.refused(server, 401, { query: "?ticket=invented" });
  });

  test("a ticket does not outlive the token it was made from", async () => {
    const exp = seconds() + 600;
    const headers = { authorization: `Bearer ${mint({ sub: "tia", exp })}` };
    const { ticket } = await (await fetch(`${server.origin}/ticket`, { method: "POST", headers })).json();
    const client = await Client.connect(server, { query: `?ticket=${encodeURIComponent(ticket)}` });
    assert.equal((await client.next({ type: "auth_ack" })).expiresAt, exp * 1000);
  });

  test("a token without exp does not expire", async () => {
    const client = await Client.user(server, "ann", { claims: { exp: undefined } });
    assert.ok(client.ack.expiresAt === undefined || client.ack.expiresAt === null, JSON.stringify(client.ack));
  });

  test("an expired token ends the connection: TOKEN_EXPIRED, then close 4002", async () => {
    const client = await Client.user(server, "ann", { claims: { exp: seconds() + 5 } });
    assert.equal((await client.next({ type: "error" })).code, "TOKEN_EXPIRED");
    await client.closes(4002);
  });

  test("auth sent again renews the token, for the same user only", async () => {
    const client = await Client.user(server, "ann", { claims: { exp: seconds() + 6 } });
    const exp = seconds() + 900;
    client.send({ type: "auth", token: mint({ sub: "ann", exp }) });
    const ack = await client.next({ type: "auth_ack" });
    assert.equal(ack.userId, "ann");
    assert.equal(ack.expiresAt, exp * 1000);
    assert.equal(ack.connectionId, client.connectionId);
    // The first token's time passes: a second connection, which is not renewed, tells when.
    const watch = await Client.user(server, "ann", { claims: { exp: seconds() + 6 } });
    await watch.closes(4002);
    assert.deepEqual(await client.settled(), []);
  });

  for (const [name, token, codes] of [
    ["another user", () => mint({ sub: "bob" }), ["TOKEN_INVALID", "FORBIDDEN"]],
    ["a bad signature", () => mint({ sub: "ann" }, { key: "not the secret of this app" }), ["TOKEN_INVALID"]],
    ["an expired token", () => mint({ sub: "ann", exp: seconds() - 100 }), ["TOKEN_EXPIRED"]],
  ]) {
    test(`a failed renewal (${name}) is an error, and the connection lives on`, async () => {
      const client = await Client.user(server, "ann");
      await client.subscribe("renewal");
      await client.fails({ type: "auth", token: token() }, ...codes);
      await client.publish("renewal", 1);
      assert.equal((await client.message("renewal")).userId, "ann");
    });
  }

  test("after a failed renewal the first token's expiry still counts", async () => {
    const client = await Client.user(server, "ann", { claims: { exp: seconds() + 5 } });
    await client.fails({ type: "auth", token: mint({ sub: "bob" }) }, "TOKEN_INVALID", "FORBIDDEN");
    await client.closes(4002);
  });

  test("a renewal with an id has exactly one answer with that id", async () => {
    const client = await Client.user(server, "ann");
    client.send({ type: "auth", token: mint({ sub: "ann" }), id: "renew" });
    const answers = [await client.next({ id: "renew" }), ...(await client.settled()).filter(({ id }) => id === "renew")];
    assert.equal(answers.length, 1, JSON.stringify(answers));
    assert.ok(["ack", "auth_ack"].includes(answers[0].type));
  });

  test("a token is never written to the log", async () => {
    const token = mint({ sub: "secretive" });
    await Client.user(server, "secretive", { token });
    await Client.refused(server, 401, { query: `?token=${token}&ticket=should-not-be-logged` });
    assert.ok(!server.log.includes(token.split(".")[2]));
    assert.ok(!server.log.includes("should-not-be-logged"));
  });
});

describe("a server where a token may come on the upgrade or as the first message (when = any)", () => {
  let server;
  before(async () => { server = await Server.start({ auth: { anonymous: false, timeout: "4s" } }); });
  after(() => server.stop());

  test("the first message authenticates", async () => {
    const client = await Client.connect(server);
    const exp = seconds() + 60;
    client.send({ type: "auth", token: mint({ sub: "ann", exp }) });
    const ack = await client.next();
    assert.deepEqual({ type: ack.type, userId: ack.userId, expiresAt: ack.expiresAt }, { type: "auth_ack", userId: "ann", expiresAt: exp * 1000 });
    await client.subscribe("first");
  });

  test("anything else before it is AUTH_REQUIRED", async () => {
    const client = await Client.connect(server);
    await client.fails({ type: "subscribe", channel: "early" }, "AUTH_REQUIRED");
  });

  test("nothing at all: an error, then close 4001", async () => {
    const client = await Client.connect(server);
    assert.equal((await client.next({ type: "error" })).code, "AUTH_REQUIRED");
    await client.closes(4001);
  });

  test("a bad token: TOKEN_INVALID, then close 4003", async () => {
    const client = await Client.connect(server);
    client.send({ type: "auth", token: "nonsense" });
    assert.equal((await client.next({ type: "error" })).code, "TOKEN_INVALID");
    await client.closes(4003);
  });

  test("an expired token: TOKEN_EXPIRED, then close 4002", async () => {
    const client = await Client.connect(server);
    client.send({ type: "auth", token: mint({ sub: "ann", exp: seconds() - 100 }) });
    assert.equal((await client.next({ type: "error" })).code, "TOKEN_EXPIRED");
    await client.closes(4002);
  });

  test("auth without a token is no way in", async () => {
    const client = await Client.connect(server);
    client.send({ type: "auth" });
    assert.equal((await client.next({ type: "error" })).code, "AUTH_REQUIRED");
  });

  test("a token on the upgrade works as well, and a bad one is HTTP 401", async () => {
    await Client.user(server, "ann");
    await Client.refused(server, 401, { token: "nonsense" });
  });
});

describe("a server that wants the first message to authenticate", () => {
  let server;
  before(async () => { server = await Server.start({ auth: { anonymous: false, when: "first_message", timeout: "4s" } }); });
  after(() => server.stop());

  test("a token on the upgrade is ignored", async () => {
    const client = await Client.connect(server, { user: "ann" });
    await client.fails({ type: "subscribe", channel: "x" }, "AUTH_REQUIRED");
    const other = await Client.connect(server, { token: "nonsense" });
    other.send({ type: "auth", token: mint({ sub: "bob" }) });
    assert.equal((await other.next({ type: "auth_ack" })).userId, "bob");
  });

  test("close 4001 comes after the timeout, though pings were sent", async () => {
    const client = await Client.connect(server);
    client.send({ type: "ping" });
    await client.closes(4001);
  });
});

describe("anonymous connections", () => {
  let server;
  before(async () => { server = await Server.start({ auth: { anonymous: true, query_token: true } }); });
  after(() => server.stop());

  test("an anonymous connection just starts", async () => {
    const client = await Client.connect(server);
    await client.subscribe("lobby");
    await client.publish("lobby", "hi");
    const message = await client.message("lobby");
    assert.ok(message.userId === undefined || message.userId === null);
  });

  test("auth without a token is answered with userId null", async () => {
    const client = await Client.connect(server);
    client.send({ type: "auth" });
    const ack = await client.next();
    assert.equal(ack.type, "auth_ack");
    assert.equal(ack.userId, null);
    assert.equal(typeof ack.connectionId, "string");
  });

  test("an anonymous connection may become a user's", async () => {
    const client = await Client.connect(server);
    client.send({ type: "auth", token: mint({ sub: "late" }) });
    assert.equal((await client.next({ type: "auth_ack" })).userId, "late");
  });

  test("a bad token is refused also where none is needed", async () => {
    await Client.refused(server, 401, { token: "nonsense" });
  });

  test("?token= works where query_token allows it", async () => {
    const client = await Client.connect(server, { query: `?token=${mint({ sub: "quinn" })}` });
    assert.equal((await client.next()).userId, "quinn");
    await Client.refused(server, 401, { query: "?token=nonsense" });
  });
});

describe("public keys", () => {
  const keys = { RS256: keyPair("RS256"), ES256: keyPair("ES256"), EdDSA: keyPair("EdDSA") };
  for (const alg of Object.keys(keys)) {
    describe(alg, () => {
      let server;
      before(async () => {
        const app = { ...APP, jwt: [{ alg, public_key: "jwt.pem", issuer: "https://issuer.example", audience: "starling" }] };
        server = await Server.start({ apps: [app], auth: { anonymous: false, when: "upgrade" } }, { files: { "jwt.pem": keys[alg].publicPem } });
      });
      after(() => server.stop());
      const claims = { sub: "kay", iss: "https://issuer.example", aud: "starling" };

      test("a token signed with the private key is good", async () => {
        await Client.user(server, "kay", { token: mint(claims, { alg, key: keys[alg].privateKey }) });
        await Client.user(server, "kay", { token: mint({ ...claims, aud: ["other", "starling"] }, { alg, key: keys[alg].privateKey }) });
      });

      test("the app's secret no longer signs user tokens", async () => {
        await Client.refused(server, 401, { token: mint(claims) });
      });

      test("the public key is no HMAC secret", async () => {
        for (const key of [keys[alg].publicPem, keys[alg].publicPem.trim()]) {
          await Client.refused(server, 401, { token: mint(claims, { key }) });
        }
      });

      test("issuer, audience and the signature itself are checked", async () => {
        const key = keys[alg].privateKey;
        await Client.refused(server, 401, { token: mint({ ...claims, iss: "https://other.example" }, { alg, key }) });
        await Client.refused(server, 401, { token: mint({ ...claims, aud: "other" }, { alg, key }) });
        await Client.refused(server, 401, { token: mint({ sub: "kay" }, { alg, key }) });
        await Client.refused(server, 401, { token: mint(claims, { alg, key: keyPair(alg).privateKey }) });
        await Client.refused(server, 401, { token: mint(claims, { alg: "none" }) });
      });
    });
  }

  test("several keys, among them a JWKS file", async () => {
    const jwks = JSON.stringify({ keys: [{ ...keys.ES256.jwk, kid: "es" }, { ...keys.EdDSA.jwk, kid: "ed" }] });
    const app = { ...APP, jwt: [{ alg: "RS256", public_key: "jwt.pem" }, { jwks: "keys.json" }] };
    const server = await Server.start({ apps: [app], auth: { anonymous: false, when: "upgrade" } },
      { files: { "jwt.pem": keys.RS256.publicPem, "keys.json": jwks } });
    try {
      await Client.user(server, "a", { token: mint({ sub: "a" }, { alg: "RS256", key: keys.RS256.privateKey }) });
      await Client.user(server, "b", { token: mint({ sub: "b" }, { alg: "ES256", key: keys.ES256.privateKey, header: { kid: "es" } }) });
      await Client.user(server, "c", { token: mint({ sub: "c" }, { alg: "EdDSA", key: keys.EdDSA.privateKey, header: { kid: "ed" } }) });
      await Client.refused(server, 401, { token: mint({ sub: "d" }, { alg: "EdDSA", key: keys.EdDSA.privateKey, header: { kid: "es" } }) });
      const forged = mint({ sub: "d" }, { alg: "HS256", key: createHmac("sha256", "x").digest(), header: { kid: "es" } });
      await Client.refused(server, 401, { token: forged });
    } finally {
      await server.stop();
    }
  });
});

describe("several apps", () => {
  const other = { id: "2", key: "key-two", secret: "secret-of-app-two-0123456789abcdef" };
  let server;
  before(async () => { server = await Server.start({ apps: [APP, other], auth: { anonymous: false, when: "upgrade" } }); });
  after(() => server.stop());

  test("a token names its app in app, or by kid = the app's key", async () => {
    await Client.user(server, "ann", { claims: { app: "1" } });
    await Client.user(server, "ann", { token: mint({ sub: "ann", app: "2" }, { key: other.secret }) });
    await Client.user(server, "ann", { token: mint({ sub: "ann" }, { key: other.secret, header: { kid: "key-two" } }) });
  });

  test("a token signed with one app's secret is no good for another", async () => {
    await Client.refused(server, 401, { token: mint({ sub: "ann", app: "2" }) });
    await Client.refused(server, 401, { token: mint({ sub: "ann" }, { header: { kid: "key-two" } }) });
    await Client.refused(server, 401, { token: mint({ sub: "ann", app: "1" }, { key: other.secret, header: { kid: "key-two" } }) });
  });

  test("channels, presence and users of one app are invisible to another", async () => {
    const one = await Client.user(server, "ann", { claims: { app: "1" } });
    const two = await Client.user(server, "ann", { token: mint({ sub: "ann", app: "2" }, { key: other.secret }) });
    await one.subscribe("shared", { presence: true, data: {} });
    await two.subscribe("shared", { presence: true, data: {} });
    assert.equal((await two.ok({ type: "presence", channel: "shared", action: "get" })).members.length, 1);
    await one.publish("shared", "for app one");
    await server.publish("shared", "over HTTP for app one");
    await server.api("POST", "/api/users/ann/publish", { payload: "to ann of app one" });
    await server.publish("shared", "for app two", {}, { app: other });
    const got = await two.until({ type: "message", payload: "for app two" });
    assert.deepEqual(got.filter(({ type }) => type === "message").map(({ payload }) => payload), ["for app two"]);
    assert.deepEqual((await server.api("GET", "/api/channels/shared", undefined, { app: other })).body.members, 1);
    const { messages } = await two.ok({ type: "history", channel: "shared" });
    assert.deepEqual(messages.map(({ payload }) => payload), ["for app two"]);
    await server.api("POST", `/api/connections/${one.connectionId}/disconnect`, undefined, { app: other });
    await server.api("POST", "/api/users/ann/disconnect", undefined, { app: other });
    await two.closes(4003);
    await one.settled();
  });

  test("the credentials of one app do not open the API as another", async () => {
    const mixed = { key: other.key, secret: APP.secret };
    assert.equal((await server.api("GET", "/api/channels", undefined, { app: mixed })).status, 401);
  });
});
