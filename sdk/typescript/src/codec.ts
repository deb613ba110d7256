/** Messages as text or bytes. A codec knows nothing of sockets. */

import { type ClientMessage, type Fields, isFields } from "./protocol.js";

/** Turns messages into what a socket carries, and back. */
export interface Codec {
  /** The WebSocket subprotocol that stands for it. */
  readonly subprotocol: string;
  encode(message: ClientMessage): string | Uint8Array<ArrayBuffer>;
  /** Throws whatever it likes at what it cannot read: the connection is then given up. */
  decode(data: string | Uint8Array<ArrayBuffer>): unknown;
}

/** JSON text. Bytes as payload travel as base64. Numbers beyond 2^53 lose digits, as `JSON.parse` has it. */
export const json: Codec = {
  subprotocol: "starling.v1.json",
  encode(message) {
    const { payload } = message as { payload?: unknown };
    if (!(payload instanceof Uint8Array)) return JSON.stringify(message);
    return JSON.stringify({ ...message, payload: toBase64(payload), encoding: "base64" });
  },
  decode(data) {
    if (typeof data !== "string") throw new TypeError("not text");
    const message: unknown = JSON.parse(data);
    if (isFields(message)) {
      restoreBytes(message);
      if (Array.isArray(message.messages)) message.messages.filter(isFields).forEach(restoreBytes);
    }
    return message;
  },
};

function restoreBytes(message: Fields): void {
  if (message.encoding !== "base64" || typeof message.payload !== "string") return;
  message.payload = Uint8Array.from(atob(message.payload), (letter) => letter.charCodeAt(0));
  delete message.encoding;
}

function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}
