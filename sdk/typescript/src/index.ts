/**
 * Realtime messages from a Starling server.
 *
 * @packageDocumentation
 */

import { Client as CoreClient } from "./client.js";
import type { ClientOptions } from "./settings.js";
import { poll } from "./transport/poll.js";
import { sse } from "./transport/sse.js";
import { websocket } from "./transport/websocket.js";

export * from "./core.js";
export { poll } from "./transport/poll.js";
export { sse } from "./transport/sse.js";

/** A client that falls back to SSE, then to long-polling, where WebSocket does not work. Does nothing until it is used. */
export class Client extends CoreClient {
  /**
   * @param url - the server's address without `/ws`: `https://example.com`, also with `wss:` or a path before it
   * @throws TypeError - it is no such address
   */
  constructor(url: string | URL, options: ClientOptions = {}) {
    super(url, { ...options, transports: options.transports ?? [websocket(), sse(), poll()] });
  }
}
