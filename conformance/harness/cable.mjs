// The line between a node and its broker, which a test may cut, freeze or slow down.

import { connect, createServer } from "node:net";

export class Cable {
  #pairs = new Set();
  #state = "whole";
  #delay = 0;

  /** To a port of 127.0.0.1. */
  static async start(port) {
    const cable = new Cable();
    cable.server = createServer((near) => cable.#join(near, port));
    await new Promise((done, fail) => cable.server.once("error", fail).listen(0, "127.0.0.1", done));
    cable.port = cable.server.address().port;
    return cable;
  }

  /** A broker's URL, through this cable. */
  through(url) {
    const own = new URL(url);
    own.port = this.port;
    return own.href;
  }

  /** Connections end, and new ones end at once. */
  cut() {
    this.#state = "cut";
    for (const pair of this.#pairs) pair.end();
  }

  /** Nothing passes, and nobody is told: connections stay, new ones are accepted. What was sent comes when it heals. */
  freeze() {
    this.#state = "frozen";
    for (const pair of this.#pairs) pair.hold();
  }

  /** What is frozen now is lost for good, as when addresses moved; new connections work. */
  lose() {
    for (const pair of this.#pairs) pair.end();
    this.heal();
  }

  /** Everything takes so many milliseconds longer, in each direction. */
  slow(delay) {
    this.#delay = delay;
  }

  heal() {
    this.#state = "whole";
    this.#delay = 0;
    for (const pair of this.#pairs) pair.release();
  }

  #join(near, port) {
    near.on("error", () => {});
    if (this.#state === "cut") return near.destroy();
    const far = connect({ port, host: "127.0.0.1", noDelay: true });
    near.setNoDelay(true);
    const ways = [new Way(near, far, () => this.#delay), new Way(far, near, () => this.#delay)];
    const pair = {
      end: () => { near.destroy(); far.destroy(); },
      hold: () => ways.forEach((way) => way.hold()),
      release: () => ways.forEach((way) => way.release()),
    };
    this.#pairs.add(pair);
    if (this.#state === "frozen") pair.hold();
    for (const socket of [near, far]) {
      socket.on("error", () => {});
      socket.once("close", () => {
        this.#pairs.delete(pair);
        // While it is frozen neither end learns of the other.
        if (this.#state !== "frozen") pair.end();
      });
    }
  }

  async stop() {
    for (const pair of this.#pairs) pair.end();
    await new Promise((done) => this.server.close(done));
  }
}

/** One direction of a connection. */
class Way {
  #held = false;
  #waiting = [];

  constructor(from, to, delay) {
    this.to = to;
    from.on("data", (data) => {
      const wait = delay();
      if (wait > 0 || this.#waiting.length > 0) {
        const part = { data, at: Date.now() + wait };
        this.#waiting.push(part);
        setTimeout(() => this.#drain(), wait);
      } else if (this.#held) {
        this.#waiting.push({ data, at: 0 });
      } else {
        to.write(data);
      }
    });
    from.once("end", () => { if (!this.#held) to.end(); });
  }

  #drain() {
    if (this.#held) return;
    while (this.#waiting.length > 0 && this.#waiting[0].at <= Date.now() + 1) this.to.write(this.#waiting.shift().data);
  }

  hold() {
    this.#held = true;
  }

  release() {
    this.#held = false;
    for (const part of this.#waiting) part.at = 0;
    this.#drain();
  }
}
