/** What a transport is to the client: a way to send messages and to receive them in order. */

import type { Codec } from "../codec.js";
import type { Environment } from "../environment.js";
import type { StarlingError } from "../errors.js";
import type { ClientMessage, ServerMessage, Welcome } from "../protocol.js";

/** One way to reach a server. */
export interface Transport {
  readonly name: string;
  /** Whether the platform has what it takes. */
  isSupported(environment: Environment): boolean;
  /** Starts to connect and authenticate. Reports asynchronously, never before it returned. */
  open(request: LinkRequest, events: LinkEvents): Link;
}

/** What a transport is given to connect. */
export interface LinkRequest {
  readonly environment: Environment;
  /** The server's address, with a path that ends in `/`: `https://example.com/`. */
  readonly base: URL;
  readonly codec: Codec;
  readonly token: string | undefined;
}

/** What a link tells. Nothing is told after `lost`, or after {@link Link.close}. */
export interface LinkEvents {
  /** The server agreed; messages may be sent. Once. */
  opened(welcome: Welcome): void;
  receive(message: ServerMessage): void;
  /** Anything at all came: the path is alive. */
  heard(): void;
  /** It could not be opened, or is open no longer. */
  lost(loss: Loss): void;
}

/** Why there is no link any more. */
export interface Loss {
  readonly error: StarlingError;
  /** The WebSocket close code, where there was one. */
  readonly closeCode?: number | undefined;
}

/** A connection, or one in the making. */
export interface Link {
  /** Whether silence has to be questioned with pings; otherwise the link itself notices that the path is dead. */
  readonly needsPings: boolean;
  send(message: ClientMessage): void;
  /** Hands the server a fresh token. */
  renew(token: string): void;
  /** Asks for any sign of life. */
  ping(): void;
  /** Ends it, also while it is being opened. */
  close(): void;
}
