// Publishes through the HTTP API of Pusher Channels, as a backend does: signed, several requests at a time.

import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent, request } from "node:http";

const AT_ONCE = 8;
const WARM_UP = 1000; // milliseconds
const TICK = 10; // milliseconds of the kernel's processor clock

/** Processor time of a process, all its threads, in milliseconds. */
function processorTime(pid) {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const [, user, system] = stat.slice(stat.lastIndexOf(")") + 2).match(/^(?:\S+ ){11}(\d+) (\d+)/);
  return (Number(user) + Number(system)) * TICK;
}

function publish(agent, url, [id, key, secret]) {
  const body = JSON.stringify({ name: "message", channels: ["nobody"], data: JSON.stringify({ b: "x".repeat(110) }) });
  const query = `auth_key=${key}&auth_timestamp=${Math.floor(Date.now() / 1000)}&auth_version=1.0&body_md5=${createHash("md5").update(body).digest("hex")}`;
  const path = `/apps/${id}/events`;
  const signature = createHmac("sha256", secret).update(`POST\n${path}\n${query}`).digest("hex");
  const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
  return new Promise((done, fail) => {
    const sent = request(`${url}${path}?${query}&auth_signature=${signature}`, { method: "POST", agent, headers }, (answer) => {
      answer.resume().once("end", () => (answer.statusCode === 200 ? done() : fail(new Error(`HTTP ${answer.statusCode}`))));
    });
    sent.once("error", fail).end(body);
  });
}

/** Publishes for so long (`"4s"`); a report like that of `starling bench`. */
export async function publishes(server, duration) {
  const agent = new Agent({ keepAlive: true, maxSockets: AT_ONCE });
  const window = Number.parseFloat(duration) * 1000;
  let published = 0;
  let over = false;
  const lanes = Array.from({ length: AT_ONCE }, async () => {
    while (!over) {
      await publish(agent, server.url, server.app);
      published += 1;
    }
  });
  const elapsed = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
  await Promise.race([elapsed(WARM_UP), Promise.all(lanes)]);
  const before = { time: processorTime(server.pid), published };
  await Promise.race([elapsed(window), Promise.all(lanes)]);
  const operations = published - before.published;
  const serverCpuMicrosPerOperation = ((processorTime(server.pid) - before.time) * 1000) / operations;
  over = true;
  await Promise.all(lanes);
  agent.destroy();
  return { operations, serverCpuMicrosPerOperation };
}
