/** What can go wrong, in the words of the server and a few of the client's own. */

/** Codes that a Starling server answers with. An application's hook may send others. */
export type ServerErrorCode =
  | "INVALID_MESSAGE"
  | "MISSING_TYPE"
  | "UNKNOWN_TYPE"
  | "AUTH_REQUIRED"
  | "TOKEN_INVALID"
  | "TOKEN_EXPIRED"
  | "FORBIDDEN"
  | "INVALID_CHANNEL"
  | "NOT_SUBSCRIBED"
  | "ALREADY_SUBSCRIBED"
  | "RATE_LIMITED"
  | "LIMIT_EXCEEDED"
  | "PAYLOAD_TOO_LARGE"
  | "NO_HISTORY"
  | "NO_PRESENCE"
  | "HOOK_FAILED"
  | "ENGINE_UNAVAILABLE"
  | "INTERNAL";

/**
 * Codes of the client itself:
 *
 * - `TIMEOUT`: no answer in time. A publish may have happened all the same.
 * - `CLOSED`: the client was closed, or the channel unsubscribed, before the answer.
 * - `CONNECTION_LOST`: the connection ended; the client comes back by itself.
 * - `SLOW_CONSUMER`: the server ended the connection because this client read too slowly.
 * - `PROTOCOL`: the server said something that is no Starling message.
 * - `QUEUE_FULL`: too many publishes await their acknowledgement.
 * - `OVERFLOW`: an async iterator was consumed too slowly.
 * - `TOKEN_SOURCE`: the token function threw.
 */
export type ClientErrorCode =
  | "TIMEOUT"
  | "CLOSED"
  | "CONNECTION_LOST"
  | "SLOW_CONSUMER"
  | "PROTOCOL"
  | "QUEUE_FULL"
  | "OVERFLOW"
  | "TOKEN_SOURCE";

/** A server's code, a client's code, or one that an application's hook made up. */
export type ErrorCode = ServerErrorCode | ClientErrorCode | (string & {});

/** Every error that the client rejects or reports. */
export class StarlingError extends Error {
  override readonly name = "StarlingError";

  constructor(
    /** What a program tells errors apart by. */
    readonly code: ErrorCode,
    /** For people. */
    message: string = code,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Whether the same request may be granted a little later. */
export function isTransient({ code }: StarlingError): boolean {
  return ["RATE_LIMITED", "HOOK_FAILED", "ENGINE_UNAVAILABLE", "INTERNAL"].includes(code);
}

/** Whether it says that the token is no good. */
export function isRefusal({ code }: StarlingError): boolean {
  return ["AUTH_REQUIRED", "TOKEN_INVALID", "TOKEN_EXPIRED", "FORBIDDEN"].includes(code);
}

/** The error that a close code of the native protocol stands for. */
export function closeError(code: number, reason: string): StarlingError {
  const codes: Record<number, ErrorCode> = {
    1003: "INVALID_MESSAGE",
    1007: "INVALID_MESSAGE",
    1009: "PAYLOAD_TOO_LARGE",
    4001: "AUTH_REQUIRED",
    4002: "TOKEN_EXPIRED",
    4003: "FORBIDDEN",
    4008: "SLOW_CONSUMER",
    4029: "RATE_LIMITED",
  };
  return new StarlingError(codes[code] ?? "CONNECTION_LOST", `closed with ${code} ${reason}`);
}
