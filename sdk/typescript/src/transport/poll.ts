/** Long-polling on `/poll`, for networks that let no stream through. */

import { json } from "../codec.js";
import { StarlingError } from "../errors.js";
import { isFields } from "../protocol.js";
import { HttpLink } from "./http.js";
import type { Transport } from "./transport.js";

/** How long the server holds a request that has nothing to answer yet (seconds). */
const HOLD = 25;
/** How much longer its answer may take (milliseconds). */
const SLACK = 10_000;

/** Long-polling on `/poll`, with `POST /send` for the way up. Always JSON. */
export function poll(): Transport {
  return {
    name: "poll",
    isSupported: ({ fetch }) => fetch !== undefined,
    open: (request, events) => new PollLink(request, events),
  };
}

class PollLink extends HttpLink {
  protected async receiving(): Promise<void> {
    for (let cursor = await this.#poll(); !this.isDone; ) cursor = await this.#poll(cursor);
  }

  /** Returns where to go on. */
  async #poll(cursor?: string): Promise<string> {
    const query = cursor === undefined ? "" : `?cursor=${encodeURIComponent(cursor)}&timeout=${HOLD}`;
    const answer = json.decode(await this.text(this.get(`poll${query}`, {}), HOLD * 1000 + SLACK));
    this.heard();
    if (!isFields(answer) || typeof answer.cursor !== "string" || !Array.isArray(answer.messages)) {
      throw new StarlingError("PROTOCOL", "not the answer to a poll");
    }
    this.opened(answer.connectionId);
    for (const message of answer.messages) this.receive(message);
    return answer.cursor;
  }
}
