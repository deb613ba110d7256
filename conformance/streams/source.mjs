// An EventSource that remembers what it was sent, and lets a test wait for what it expects.

import { EventSource } from "eventsource";

const PATIENCE = 60_000; // milliseconds
const NAMED = ["ready", "gap", "presence_state", "presence_diff", "unsubscribed", "subscribed", "drain", "event"];

const open = new Set();
export function closeAll() {
  for (const source of open) source.close();
}

export class Source {
  events = [];
  errors = [];
  #waiting = new Set();

  constructor(url, { token, headers = {}, names = [] } = {}) {
    const all = { ...headers, ...(token ? { authorization: `Bearer ${token}` } : {}) };
    this.source = new EventSource(url, {
      fetch: (input, init) => fetch(input, { ...init, headers: { ...init.headers, ...all } }),
    });
    open.add(this);
    const take = (event) => {
      this.events.push({ name: event.type, data: event.data === undefined ? undefined : JSON.parse(event.data), id: event.lastEventId });
      this.#wake();
    };
    this.source.onmessage = take;
    for (const name of [...NAMED, ...names]) this.source.addEventListener(name, take);
    this.source.addEventListener("error", (event) => {
      // The server's own `event: error` and the client's errors have the same name.
      if (event.data !== undefined) return take(event);
      this.errors.push(event);
      this.#wake();
    });
  }

  #wake() {
    for (const waiter of this.#waiting) waiter();
  }

  /** What `find` finds in this source, now or later. */
  until(find, what = "an event") {
    return new Promise((done, fail) => {
      const look = () => {
        const found = find(this);
        if (!found) return;
        clearTimeout(timer);
        this.#waiting.delete(look);
        done(found);
      };
      const timer = setTimeout(() => {
        this.#waiting.delete(look);
        fail(new Error(`${what} did not come; there is ${JSON.stringify(this.events)}, errors ${this.errors.map((e) => `${e.code} ${e.message}`)}`));
      }, PATIENCE);
      this.#waiting.add(look);
      look();
    });
  }

  /** The next event of this name, which is taken. */
  async next(name = "message") {
    const event = await this.until(({ events }) => events.find((it) => it.name === name), name);
    this.events.splice(this.events.indexOf(event), 1);
    return event;
  }

  /** The next so many messages' payloads. */
  async payloads(count) {
    const payloads = [];
    while (payloads.length < count) payloads.push((await this.next()).data.payload);
    return payloads;
  }

  failed() {
    return this.until(({ errors }) => errors.find(({ code }) => code), "an error");
  }

  close() {
    open.delete(this);
    this.source.close();
  }
}
