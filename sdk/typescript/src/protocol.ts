/** The messages of the native protocol, and how those of the server are checked. */

import { StarlingError } from "./errors.js";

/** A place in a channel's log. */
export interface Position {
  /** Changes when the log is lost or restarted. */
  readonly epoch: string;
  /** 1, 2, 3, … within the epoch. */
  readonly offset: number;
}

/** A message of a channel. */
export interface Message<Payload = unknown, Event extends string = string> {
  readonly channel: string;
  readonly event: Event;
  /** Any JSON value, or bytes. */
  readonly payload: Payload;
  readonly id: string;
  /** Unix milliseconds, by the server's clock. */
  readonly ts: number;
  /** The user who published it; absent for the application and for anonymous connections. */
  readonly userId?: string;
  /** Where the channel keeps history: its place. */
  readonly offset?: number;
  readonly epoch?: string;
}

/** A connection that entered the presence of a channel. */
export interface Member<Data = unknown> {
  /** `null` for an anonymous connection. */
  readonly userId: string | null;
  readonly connectionId: string;
  readonly data: Data;
}

/** What is sent as the first message, and again to renew the token. */
export interface AuthMessage {
  type: "auth";
  token?: string | undefined;
  id?: number;
}

/** Requests to the server; an `id` is added when one is sent. What is `undefined` is left out. */
export type ClientRequest =
  | {
      type: "subscribe";
      channel: string;
      recover?: Position | undefined;
      rewind?: number | undefined;
      presence?: boolean | undefined;
      data?: unknown;
    }
  | { type: "unsubscribe"; channel: string }
  | {
      type: "publish";
      channel: string;
      event: string;
      payload: unknown;
      messageId: string;
      key?: string | undefined;
      echo?: boolean | undefined;
    }
  | {
      type: "history";
      channel: string;
      limit?: number | undefined;
      before?: number | undefined;
      after?: number | undefined;
    }
  | { type: "presence"; channel: string; action: "get" | "enter" | "update" | "leave"; data?: unknown }
  | { type: "event"; event: string; payload: unknown; channel?: string | undefined };

/** What a client says. */
export type ClientMessage =
  | AuthMessage
  | { type: "ping" }
  | { type: "reply"; ack: number | undefined; payload: unknown }
  | (ClientRequest & { id: number });

/** The fields that an `ack` may have, by request. */
export interface Ack {
  type: "ack";
  id: number;
  channel?: string;
  epoch?: string;
  offset?: number;
  recovered?: boolean;
  messageId?: string;
  messages?: Message[];
  members?: Member[];
  payload?: unknown;
}

/** The server's answer to `auth`. */
export interface Welcome {
  type: "auth_ack";
  userId?: string | null;
  connectionId: string;
  /** When the token expires, Unix milliseconds. */
  expiresAt?: number;
}

/** What a server says. */
export type ServerMessage =
  | Ack
  | Welcome
  | { type: "error"; code: string; message: string; id?: number; channel?: string }
  | (Message & { type: "message" })
  | { type: "presence_state"; channel: string; members: Member[] }
  | { type: "presence_diff"; channel: string; joins: Member[]; leaves: Member[] }
  | { type: "gap"; channel: string; missed: number }
  | { type: "unsubscribed"; channel: string; code: string; message: string }
  | { type: "subscribed"; channel: string; epoch?: string; offset?: number }
  | { type: "event"; event: string; payload: unknown; channel?: string; ack?: number }
  | { type: "drain"; reconnectIn: number }
  | { type: "pong" };

/** The position of what has one. */
export function positionOf({ epoch, offset }: Partial<Position>): Position | undefined {
  return epoch === undefined || offset === undefined ? undefined : { epoch, offset };
}

/** An object with members that are yet to be looked at. */
export type Fields = Record<string, unknown>;

/** Whether a value is an object, not an array. */
export function isFields(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

const string = (value: unknown) => typeof value === "string";
const count = (value: unknown) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
const members = (value: unknown) =>
  Array.isArray(value) && value.every((member) => isFields(member) && string(member.connectionId));
const optional = (check: (value: unknown) => boolean) => (value: unknown) => value === undefined || check(value);

const position = { epoch: optional(string), offset: optional(count) };

/** What must hold of each message, by type. Further fields are let through, for servers to come. */
const SHAPES: Record<string, Record<string, (value: unknown) => boolean>> = {
  ack: { ...position, members: optional(members), messages: optional(Array.isArray) },
  auth_ack: { connectionId: string, expiresAt: optional(count) },
  error: { code: string },
  message: { channel: string, event: string, id: string, ...position },
  presence_state: { channel: string, members },
  presence_diff: { channel: string, joins: members, leaves: members },
  gap: { channel: string, missed: count },
  unsubscribed: { channel: string, code: string },
  subscribed: { channel: string, ...position },
  event: { event: string, ack: optional(count) },
  drain: { reconnectIn: count },
  pong: {},
};

/**
 * The message that a decoded value is; `undefined` for a type that this client does not know, which is no error.
 *
 * @throws {@link StarlingError} `PROTOCOL`: it is none, or has not the fields of its type. The connection cannot be
 * trusted any more.
 */
export function readServerMessage(value: unknown): ServerMessage | undefined {
  if (!isFields(value) || typeof value.type !== "string") throw new StarlingError("PROTOCOL", "not a message");
  const shape = Object.hasOwn(SHAPES, value.type) && SHAPES[value.type];
  if (!shape) return undefined;
  for (const name in shape) {
    if (!shape[name]?.(value[name])) throw new StarlingError("PROTOCOL", `${value.type} with a bad ${name}`);
  }
  return value as unknown as ServerMessage;
}
