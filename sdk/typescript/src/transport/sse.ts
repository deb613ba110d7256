/** Server-sent events on `/sse` by `fetch`, which unlike `EventSource` can carry a token in a header. */

import { json } from "../codec.js";
import { Alarm } from "../environment.js";
import { StarlingError } from "../errors.js";
import { isFields } from "../protocol.js";
import { EventReader, type StreamEvent } from "./events.js";
import { HttpLink } from "./http.js";
import type { Transport } from "./transport.js";

/** How long nothing may come before the stream is taken for dead (milliseconds); the server sends a comment every 15 s. */
const SILENCE = 25_000;

/** SSE on `/sse`, with `POST /send` for the way up. Always JSON. */
export function sse(): Transport {
  return {
    name: "sse",
    isSupported: ({ fetch }) => fetch !== undefined && typeof TextDecoderStream !== "undefined",
    open: (request, events) => new SseLink(request, events),
  };
}

class SseLink extends HttpLink {
  readonly #silence = new Alarm(this.request.environment);

  protected async receiving(): Promise<void> {
    const response = await this.get("sse", { accept: "text/event-stream" });
    if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) {
      throw new StarlingError("PROTOCOL", "not an event stream");
    }
    const pieces = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const reader = new EventReader();
    while (!this.isDone) {
      this.#silence.set(SILENCE, () => this.lost(new StarlingError("CONNECTION_LOST", "no sign of life")));
      const { done, value } = await pieces.read();
      if (done) throw new StarlingError("CONNECTION_LOST", "the stream ended");
      this.heard();
      for (const event of reader.read(value)) this.#event(event);
    }
  }

  override close(): void {
    this.#silence.clear();
    super.close();
  }

  #event({ event, data }: StreamEvent): void {
    const value = json.decode(data);
    if (event === "ready" && isFields(value)) this.opened(value.connectionId);
    // An event that names itself need not do so a second time in its data.
    else this.receive(isFields(value) && event !== "message" ? { type: event, ...value } : value);
  }
}
