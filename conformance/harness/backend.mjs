// An application's backend: answers hooks as the test says, takes webhooks, and checks every signature.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { createServer } from "node:http";

import { APP } from "./server.mjs";

const PATIENCE = 60_000; // milliseconds until a wait has failed

/** The value of `Starling-Signature`, worked out from the contract's words alone. */
export const signature = (secret, timestamp, body) => `v1=${createHmac("sha256", secret).update(`${timestamp}.`).update(body).digest("hex")}`;

export class Backend {
  questions = []; // bodies of hooks, parsed
  deliveries = []; // bodies of webhooks, parsed, with `attempt`
  failures = []; // what was wrong with requests; `stop` fails if there is something
  #events = []; // of webhooks that were taken, not yet looked at by a test
  #waiting = new Set();
  /** What a hook is answered: an object, or a function of (question, request, response), which may answer by itself and return nothing. */
  answer = () => ({});
  /** The status of the answer to a webhook, or a function of (delivery). */
  takes = 200;

  static async start({ port = 0, secret = APP.secret } = {}) {
    const backend = new Backend();
    backend.secret = secret;
    backend.http = createServer((request, response) => backend.#handle(request, response));
    await new Promise((done, fail) => backend.http.once("error", fail).listen(port, "127.0.0.1", done));
    backend.port = backend.http.address().port;
    backend.origin = `http://127.0.0.1:${backend.port}`;
    backend.hooks = `${backend.origin}/hooks`;
    backend.webhooks = `${backend.origin}/webhooks`;
    return backend;
  }

  async #handle(request, response) {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks);
    try {
      if (request.headers["x-pusher-signature"] === undefined) this.#check(request, body);
      if (request.url === "/hooks") await this.#hook(JSON.parse(body), request, response);
      else this.#webhook(JSON.parse(body), request, response, body);
    } catch (error) {
      this.failures.push(error);
      response.destroy();
    }
    this.#wake();
  }

  #wake() {
    for (const wake of [...this.#waiting]) wake();
  }

  #check(request, body) {
    assert.equal(request.method, "POST");
    assert.equal(request.headers["content-type"], "application/json");
    const timestamp = request.headers["starling-timestamp"];
    assert.match(timestamp, /^\d{10}$/);
    assert.ok(Math.abs(Date.now() / 1000 - Number(timestamp)) < 10, `the timestamp ${timestamp} is now`);
    assert.equal(request.headers["starling-signature"], signature(this.secret, timestamp, body));
  }

  async #hook(question, request, response) {
    this.questions.push(question);
    const answering = typeof this.answer === "function" ? this.answer(question, request, response) : this.answer;
    this.#wake();
    const answer = await answering;
    if (answer === undefined) return;
    response.writeHead(200, { "content-type": "application/json" }).end(typeof answer === "string" ? answer : JSON.stringify(answer));
  }

  #webhook(delivery, request, response, raw) {
    const status = typeof this.takes === "function" ? this.takes(delivery, request) : this.takes;
    this.deliveries.push(Object.assign(delivery, { path: request.url, status, headers: request.headers, raw }));
    if (status === 200) for (const event of delivery.events) this.#events.push({ ...event, path: request.url });
    if (status === 0) response.destroy();
    else response.writeHead(status).end();
  }

  async #until(attempt, what) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const result = attempt();
      if (result !== undefined) return result;
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`waited in vain for ${what}; untaken: ${JSON.stringify(this.#events).slice(0, 3000)}`);
      await new Promise((done) => {
        const timer = setTimeout(finish, left);
        const waiting = this.#waiting;
        function finish() {
          clearTimeout(timer);
          waiting.delete(finish);
          done();
        }
        waiting.add(finish);
      });
    }
  }

  /** The next webhook event that matches, of those that no test has taken; earlier ones stay. */
  event(pattern) {
    const match = (event) => Object.entries(pattern).every(([name, value]) => JSON.stringify(event[name]) === JSON.stringify(value));
    return this.#until(() => {
      const at = this.#events.findIndex(match);
      return at < 0 ? undefined : this.#events.splice(at, 1)[0];
    }, `the event ${JSON.stringify(pattern)}`);
  }

  /** What `attempt` gives, once it gives something; tried again with each request. */
  until(attempt, what) {
    return this.#until(() => attempt() || undefined, what);
  }

  /** Events that were taken and not looked at. */
  get untaken() {
    return this.#events;
  }

  reset() {
    this.questions = [];
    this.deliveries = [];
    this.#events = [];
    this.answer = () => ({});
    this.takes = 200;
  }

  async stop() {
    this.http.closeAllConnections();
    await new Promise((done) => this.http.close(done));
    assert.deepEqual(this.failures, [], "every request was as the contract has it");
  }
}
