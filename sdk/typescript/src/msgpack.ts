/**
 * MessagePack instead of JSON on the WebSocket: `new Client(url, { codec: msgpack })`.
 *
 * @packageDocumentation
 */

import type { Codec } from "./codec.js";
import { Decoder } from "./msgpack/decode.js";
import { Encoder } from "./msgpack/encode.js";

/** Smaller messages, bytes as they are, and integers up to 64 bits with all their digits (as `bigint` beyond 2^53). */
export const msgpack: Codec = {
  subprotocol: "starling.v1.msgpack",
  encode: (message) => Encoder.encode(message),
  decode: (data) => {
    if (typeof data === "string") throw new TypeError("text instead of bytes");
    return Decoder.decode(data);
  },
};
