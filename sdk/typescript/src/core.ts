/**
 * The client without its fallbacks: WebSocket alone unless `transports` names others.
 *
 * @packageDocumentation
 */

export { Backoff, type BackoffOptions } from "./backoff.js";
export {
  Channel,
  type EventMap,
  type EventName,
  type History,
  type HistoryOptions,
  type MessageOf,
  type Published,
  type PublishOptions,
} from "./channel.js";
export { Client, type ClientEvents, type ServerEvent } from "./client.js";
export { type Codec, json } from "./codec.js";
export type { State, Status } from "./connection.js";
export type { RequestOptions } from "./deadline.js";
export type { Off } from "./emitter.js";
export type { Environment, Socket, SocketConstructor, Target, Timer } from "./environment.js";
export { type ClientErrorCode, type ErrorCode, type ServerErrorCode, StarlingError } from "./errors.js";
export type { HeartbeatOptions } from "./heartbeat.js";
export type { IterateOptions } from "./messages.js";
export { Presence, type PresenceChange } from "./presence.js";
export type {
  Ack,
  AuthMessage,
  ClientMessage,
  ClientRequest,
  Member,
  Message,
  Position,
  ServerMessage,
  Welcome,
} from "./protocol.js";
export type { ClientOptions } from "./settings.js";
export type { Gap, Subscribed, SubscribeOptions, SubscriptionEvents } from "./subscription.js";
export type { TokenSource } from "./token.js";
export type { Link, LinkEvents, LinkRequest, Loss, Transport } from "./transport/transport.js";
export { type WebSocketOptions, websocket } from "./transport/websocket.js";
