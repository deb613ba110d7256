// Through the real nginx of the system, with its default (buffering) settings for plain HTTP and the usual lines for WebSocket.

import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";

import { Client, closeAll as closeClients } from "../harness/client.mjs";
import { Server, eventually, freePort } from "../harness/server.mjs";
import { Source, closeAll } from "./source.mjs";

const nginx = spawnSync("sh", ["-c", "command -v nginx || ls /usr/sbin/nginx"], { encoding: "utf8" }).stdout.trim();
const skip = nginx === "" && !process.env.CI ? "nginx is not installed: THESE TESTS WERE SKIPPED" : false;

describe("behind nginx with default settings", { skip }, () => {
  let server, proxy, folder, behind;
  before(async () => {
    assert.notEqual(nginx, "", "CI needs nginx");
    server = await Server.start();
    folder = mkdtempSync(join(tmpdir(), "starling-nginx-"));
    const port = await freePort();
    writeFileSync(join(folder, "nginx.conf"), `
      daemon off; worker_processes 1; pid ${folder}/nginx.pid; error_log ${folder}/error.log;
      events { worker_connections 256; }
      http {
        access_log off;
        client_body_temp_path ${folder}/body; proxy_temp_path ${folder}/proxy; fastcgi_temp_path ${folder}/fastcgi;
        uwsgi_temp_path ${folder}/uwsgi; scgi_temp_path ${folder}/scgi;
        server {
          listen 127.0.0.1:${port};
          location / { proxy_pass http://127.0.0.1:${server.port}; }
          location /ws {
            proxy_pass http://127.0.0.1:${server.port};
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
          }
        }
      }`);
    proxy = spawn(nginx, ["-c", join(folder, "nginx.conf"), "-p", folder], { stdio: "ignore" });
    behind = { origin: `http://127.0.0.1:${port}`, ws: `ws://127.0.0.1:${port}` };
    await eventually(() => fetch(`${behind.origin}/healthz`).then(({ status }) => status === 200, () => false), "nginx");
  });
  after(async () => {
    closeAll();
    closeClients();
    if (proxy) {
      const gone = new Promise((done) => proxy.once("close", done));
      proxy.kill("SIGTERM");
      await gone;
    }
    if (folder) rmSync(folder, { recursive: true, force: true });
    await server?.stop();
  });

  test("an event stream is not held back", async () => {
    const source = new Source(`${behind.origin}/sse?channel=a`);
    await source.next("ready");
    for (const n of [1, 2, 3]) {
      await server.publish("a", n);
      assert.equal((await source.next()).data.payload, n);
    }
    source.close();
    await eventually(async () => (await server.api("GET", "/api/channels/a")).body.members === 0, "the end behind the proxy");
  });

  test("polls and sends", async () => {
    const ask = async (query) => (await fetch(`${behind.origin}/poll?${query}`)).json();
    const { cursor, connectionId } = await ask("channel=b");
    const waiting = ask(`channel=b&cursor=${cursor}&timeout=20`);
    const sent = await fetch(`${behind.origin}/send?connectionId=${connectionId}`, { method: "POST", body: '{"type":"publish","channel":"b","payload":1}' });
    assert.equal(sent.status, 200);
    assert.equal((await waiting).messages[0].payload, 1);
  });

  test("WebSocket", async () => {
    const client = await Client.connect(behind);
    await client.subscribe("c");
    await server.publish("c", 1);
    assert.equal((await client.message("c")).payload, 1);
  });
});
