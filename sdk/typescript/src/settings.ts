/** The options of a client, and their defaults. */

import type { BackoffOptions } from "./backoff.js";
import { type Codec, json } from "./codec.js";
import { type Environment, environment } from "./environment.js";
import type { HeartbeatOptions } from "./heartbeat.js";
import type { TokenSource } from "./token.js";
import type { Transport } from "./transport/transport.js";
import { websocket } from "./transport/websocket.js";

/** How a client behaves. All times are in milliseconds. */
export interface ClientOptions {
  /**
   * A token, or a function that fetches one: asked when there is none yet, before the last one expires, and when the
   * server refused it (once; refused again, the client is `failed`). Default: anonymous.
   */
  token?: TokenSource;
  /** What messages look like on a WebSocket. Default JSON; `@starling/client/msgpack` has another. */
  codec?: Codec;
  /**
   * Ways to the server, the best first, as far as the platform has them. Default `[websocket(), sse(), poll()]`; with the
   * client of `@starling/client/core`, which is smaller, `[websocket()]`.
   */
  transports?: Transport[];
  /** Delays between attempts. */
  backoff?: BackoffOptions;
  /** How long a connection must last until the delays start small again. Default 10,000. */
  stableAfter?: number;
  /** How long token, connection and authentication may take together. Default 10,000. */
  connectTimeout?: number;
  /** How a dead connection is found. */
  heartbeat?: HeartbeatOptions;
  /** How long a fallback is used before the best one is tried beside it; doubles up to 10 min. Default 15,000. */
  upgradeAfter?: number;
  /** How long an answer to a request other than publish may take, offline time included. 0: for ever. Default 10,000. */
  timeout?: number;
  /**
   * The same for a publish, which is sent again after a lost connection. Default 60,000: below the two minutes in which
   * a server recognises a repeated `messageId` by default, so that sending again never publishes twice.
   */
  publishTimeout?: number;
  /** Publishes that may await their acknowledgement, online and offline; more are `QUEUE_FULL`. Default 1000. */
  queue?: number;
  /** Clock, timers, random numbers, sockets. On Node 20 `{ WebSocket }` of the package `ws`. Default: the platform's. */
  environment?: Partial<Environment>;
}

/** Options with every default filled in. */
export interface Settings extends Required<Omit<ClientOptions, "token" | "environment">> {
  readonly environment: Environment;
  /** The server's address, ending in `/`. */
  readonly base: URL;
}

/** @throws TypeError - the address is no URL, or not of http(s) or ws(s). */
export function settings(url: string | URL, options: ClientOptions): Settings {
  const base = new URL(url);
  base.protocol = base.protocol.replace("ws", "http");
  if (!/^https?:$/.test(base.protocol)) throw new TypeError(`not http(s) or ws(s): ${url}`);
  if (!base.pathname.endsWith("/")) base.pathname += "/";
  const surroundings = environment(options.environment);
  const { transports = [websocket()] } = options;
  return {
    codec: json,
    backoff: {},
    stableAfter: 10_000,
    connectTimeout: 10_000,
    heartbeat: {},
    upgradeAfter: 15_000,
    timeout: 10_000,
    publishTimeout: 60_000,
    queue: 1000,
    // What is `undefined` has its default, too.
    ...(Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)) as ClientOptions),
    environment: surroundings,
    base,
    transports: transports.filter((transport) => transport.isSupported(surroundings)),
  };
}
