// The chat's own rules. Nothing here knows HTTP: a question comes in, an answer goes out.

import { randomInt, randomUUID } from "node:crypto";

const LONGEST = 500; // characters of a message

/** A refusal, as the client will see it. */
const reject = (code, message) => ({ reject: { code, message } });

export class Chat {
  /** Who may enter which room; a room that is not listed is open to everybody. */
  members = new Map([["room:staff", new Set(["ann"])]]);
  /** Connections that are there now, by id. Kept by webhooks alone. */
  online = new Map();
  /** Rooms that somebody is in. */
  occupied = new Set();
  #seen = new Set();

  /** Answers a hook. */
  answer(question) {
    switch (question.type) {
      case "connect": return this.#connect(question);
      case "subscribe": return this.#subscribe(question);
      case "publish": return this.#publish(question);
      case "event": return this.#event(question);
      default: return reject("UNKNOWN", `no answer to ${question.type}`);
    }
  }

  /** A client without a token is a guest with a name of its own. */
  #connect({ userId }) {
    if (userId === "mallory") return reject("BANNED", "you know why");
    return userId ? {} : { user: { id: `guest-${randomUUID()}`, info: { guest: true } } };
  }

  #subscribe({ channel, userId }) {
    const members = this.members.get(channel);
    return members && !members.has(userId) ? reject("NOT_A_MEMBER", `${channel} is not open to you`) : {};
  }

  /** What is said is trimmed, and gets the backend's time. */
  #publish({ payload }) {
    const text = typeof payload?.text === "string" ? payload.text.trim() : "";
    if (text === "") return reject("EMPTY", "say something");
    if (text.length > LONGEST) return reject("TOO_LONG", `at most ${LONGEST} characters`);
    return { payload: { text, at: new Date().toISOString() } };
  }

  /** `roll`: the caller gets the number as its ack, the room gets a message. */
  #event({ event, channel, payload, userId }) {
    if (event !== "roll") return reject("UNKNOWN_EVENT", `nobody handles ${event}`);
    const sides = Number.isInteger(payload?.sides) && payload.sides > 1 && payload.sides <= 1000 ? payload.sides : 6;
    const rolled = randomInt(1, sides + 1);
    return { reply: { rolled }, publish: [{ channel, event: "rolled", payload: { by: userId, sides, rolled } }] };
  }

  /** Takes a webhook. The same delivery may come twice, but never with another id. */
  take({ id, events }) {
    if (this.#seen.has(id)) return;
    this.#seen.add(id);
    if (this.#seen.size > 10_000) this.#seen.delete(this.#seen.values().next().value);
    for (const event of events) this.#note(event);
  }

  #note({ type, connectionId, userId, channel }) {
    switch (type) {
      case "connected": this.online.set(connectionId, userId); break;
      case "disconnected": this.online.delete(connectionId); break;
      case "channel_occupied": this.occupied.add(channel); break;
      case "channel_vacated": this.occupied.delete(channel); break;
    }
  }
}
