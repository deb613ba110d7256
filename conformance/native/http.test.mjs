// HTTP as real clients speak it: curl, chunked bodies, TLS with a certificate that changes, and what nobody should send (contract 3, 4, 8).

import assert from "node:assert/strict";
import { execFile, execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";

import { Client, closeAll, JSON_PROTOCOL } from "../harness/client.mjs";
import { RawSocket } from "../harness/raw.mjs";
import { APP, eventually, Server } from "../harness/server.mjs";

after(closeAll);

describe("curl", () => {
  let server;
  before(async () => { server = await Server.start(); });
  after(() => server.stop());
  const curl = async (...args) => (await promisify(execFile)("curl", ["-sS", "-m", "15", "-u", `${APP.key}:${APP.secret}`, ...args], { maxBuffer: 1 << 26 })).stdout;

  test("publishes with -d alone, whatever content type curl makes of it", async () => {
    const client = await Client.connect(server);
    await client.subscribe("curl");
    const answer = JSON.parse(await curl("-d", '{"channel":"curl","payload":"hello"}', `${server.origin}/api/publish`));
    assert.equal(answer.results[0].offset, 1);
    assert.equal((await client.message("curl")).payload, "hello");
  });

  test("a large batch (Expect: 100-continue), and the same chunked", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "starling-curl-")), "batch.json");
    writeFileSync(file, JSON.stringify({ messages: Array.from({ length: 100 }, (_, at) => ({ channel: "large", payload: `${at}${"x".repeat(50_000)}` })) }));
    for (const more of [["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"]]) {
      const answer = JSON.parse(await curl(...more, "-H", "content-type: application/json", "--data-binary", `@${file}`, `${server.origin}/api/batch`));
      assert.equal(answer.results.length, 100);
    }
  });

  test("HEAD, OPTIONS and a second request on one connection do no harm", async () => {
    await curl("-I", `${server.origin}/api/channels`);
    await curl("-X", "OPTIONS", `${server.origin}/api/publish`);
    const twice = await curl(`${server.origin}/api/channels`, `${server.origin}/api/channels`);
    assert.equal(twice.match(/"channels"/g).length, 2);
  });
});

describe("what nobody should send", () => {
  let server;
  before(async () => { server = await Server.start({ server: { handshake_timeout: "1s" } }); });
  after(() => server.stop());
  const head = `Host: x\r\nAuthorization: Bearer ${APP.secret}\r\n`;

  for (const [name, text] of [
    ["two lengths", `POST /api/publish HTTP/1.1\r\n${head}Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}`],
    ["a length and chunks", `POST /api/publish HTTP/1.1\r\n${head}Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /api/stats HTTP/1.1\r\n${head}\r\n`],
    ["a negative length", `POST /api/publish HTTP/1.1\r\n${head}Content-Length: -1\r\n\r\n`],
    ["a chunk of nonsense", `POST /api/publish HTTP/1.1\r\n${head}Transfer-Encoding: chunked\r\n\r\nzz\r\n`],
    ["a header without a colon", `GET /api/stats HTTP/1.1\r\n${head}nonsense\r\n\r\n`],
    ["another version", `GET /api/stats HTTP/9.9\r\n${head}\r\n`],
    ["a URL of 100 kB", `GET /api/channels?prefix=${"x".repeat(100_000)} HTTP/1.1\r\n${head}\r\n`],
  ]) {
    test(`4xx or the end of the connection: ${name}`, async () => {
      const raw = await RawSocket.open(server);
      raw.socket.on("error", () => {});
      raw.write(text);
      const answer = await raw.head().catch(() => "ended");
      assert.match(answer, /^HTTP\/1\.[01] [45]\d\d|^ended$/);
      raw.destroy();
      assert.equal((await server.api("GET", "/api/stats")).status, 200);
    });
  }

  test("a body that never comes does not hold a connection for ever", async () => {
    const raw = await RawSocket.open(server);
    raw.socket.on("error", () => {});
    raw.write(`POST /api/publish HTTP/1.1\r\n${head}Content-Length: 1000\r\n\r\n{`);
    await raw.end();
  });

  test("a body beyond every limit is refused before it has come", async () => {
    const raw = await RawSocket.open(server);
    raw.socket.on("error", () => {});
    raw.write(`POST /api/batch HTTP/1.1\r\n${head}Content-Length: 1000000000000\r\n\r\n{`);
    assert.match(await raw.head(), /^HTTP\/1\.1 4(00|13) /);
    raw.destroy();
  });
});

describe("TLS", () => {
  /** A self-signed certificate for 127.0.0.1 whose subject is `name`. */
  function certificate(folder, name) {
    execFileSync("openssl", ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", `/CN=${name}`,
      "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")], { stdio: "ignore" });
    return readFileSync(join(folder, "cert.pem"));
  }

  test("wss and https; a renewed certificate comes with SIGHUP, and nobody is dropped", async () => {
    const folder = mkdtempSync(join(tmpdir(), "starling-tls-"));
    const first = certificate(folder, "first");
    const files = { "cert.pem": first, "key.pem": readFileSync(join(folder, "key.pem")) };
    const server = await Server.start({ tls: { cert: "cert.pem", key: "key.pem" } }, { files, ready: false });
    try {
      const secure = { ...server, ws: server.ws.replace("ws:", "wss:"), port: server.port };
      const subject = (ca) => new Promise((done) => {
        const call = request({ host: "127.0.0.1", port: server.port, path: "/readyz", ca, agent: false }, (answer) => {
          answer.resume();
          done(answer.statusCode === 200 ? answer.socket.getPeerCertificate().subject.CN : `HTTP ${answer.statusCode}`);
        });
        call.on("error", (error) => done(error.code));
        call.end();
      });
      await eventually(async () => (await subject(first)) === "first", "TLS");
      const client = await Client.connect(secure, { ca: first });
      await client.subscribe("tls");
      const payload = "x".repeat(50_000);
      await client.publish("tls", payload);
      assert.equal((await client.message("tls")).payload, payload);

      const second = certificate(folder, "second");
      for (const name of ["key.pem", "cert.pem"]) writeFileSync(join(server.folder, name), readFileSync(join(folder, name)));
      server.signal("SIGHUP");
      await eventually(async () => (await subject(second)) === "second", "the new certificate");
      const newcomer = await Client.connect(secure, { ca: second, perMessageDeflate: { threshold: 0 } });
      await newcomer.subscribe("tls");
      await newcomer.publish("tls", "to both");
      for (const of of [client, newcomer]) assert.equal((await of.message("tls")).payload, "to both");

      // Plain text to a TLS port ends there, and harms nobody.
      const plain = await RawSocket.open(server);
      plain.socket.on("error", () => {});
      plain.write(plain.handshake(server));
      await plain.end();
      await client.settled();
      const drained = client.closes(1012);
      server.signal("SIGTERM");
      await client.next({ type: "drain" });
      await drained;
      assert.equal((await server.exited).code, 0);
    } finally {
      await server.stop();
    }
  });
});

test("three hundred clients in one channel each get every message once", async () => {
  const server = await Server.start();
  try {
    const clients = [];
    for (let at = 0; at < 300; at += 50) {
      clients.push(...await Promise.all(Array.from({ length: 50 }, () => Client.connect(server, { protocols: [JSON_PROTOCOL] }))));
    }
    await Promise.all(clients.map((client) => client.subscribe("crowd")));
    assert.equal((await server.api("GET", "/api/channels/crowd")).body.members, 300);
    const messages = Array.from({ length: 100 }, (_, payload) => ({ channel: "crowd", payload }));
    assert.equal((await server.api("POST", "/api/batch", { messages })).status, 200);
    await Promise.all(clients.map(async (client) => {
      const got = (await client.until({ type: "message", offset: 100 })).map(({ payload }) => payload);
      assert.deepEqual(got, messages.map(({ payload }) => payload));
    }));
    server.signal("SIGTERM");
    await Promise.all(clients.map((client) => client.closes(1012)));
    assert.equal((await server.exited).code, 0);
  } finally {
    await server.stop();
  }
});
