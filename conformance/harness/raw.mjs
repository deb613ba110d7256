// A WebSocket client that may break every rule: bytes on a TCP socket, frames put together by hand.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { connect } from "node:net";

const PATIENCE = 60_000; // milliseconds

export const OPCODE = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

/** One client frame. */
export function frame(opcode, payload = "", { fin = true, mask = true, rsv = 0 } = {}) {
  const data = Buffer.from(payload);
  const length = data.length < 126 ? Buffer.from([data.length])
    : data.length < 65_536 ? Buffer.from([126, data.length >> 8, data.length & 255])
    : (() => { const long = Buffer.alloc(9); long[0] = 127; long.writeBigUInt64BE(BigInt(data.length), 1); return long; })();
  if (mask) length[0] |= 0x80;
  const key = mask ? randomBytes(4) : Buffer.alloc(0);
  const body = mask ? data.map((byte, at) => byte ^ key[at & 3]) : data;
  return Buffer.concat([Buffer.from([(fin ? 0x80 : 0) | (rsv << 4) | opcode]), length, key, body]);
}

export class RawSocket {
  #buffer = Buffer.alloc(0);
  #wake = null;
  ended = false;

  static open(server) {
    const raw = new RawSocket();
    raw.socket = connect(server.port, "127.0.0.1");
    raw.socket.on("data", (data) => {
      raw.#buffer = Buffer.concat([raw.#buffer, data]);
      raw.#wake?.();
    });
    const end = () => {
      raw.ended = true;
      raw.#wake?.();
    };
    raw.socket.on("end", end).on("close", end).on("error", end);
    return new Promise((done, fail) => {
      raw.socket.once("connect", () => done(raw));
      raw.socket.once("error", fail);
    });
  }

  /** Opens and upgrades. */
  static async upgrade(server, { headers = {}, path = "/ws" } = {}) {
    const raw = await RawSocket.open(server);
    raw.socket.write(raw.handshake(server, { headers, path }));
    const head = await raw.head();
    assert.match(head, /^HTTP\/1\.1 101 /);
    return raw;
  }

  handshake(server, { headers = {}, path = "/ws" } = {}) {
    const all = {
      Host: `127.0.0.1:${server.port}`, Upgrade: "websocket", Connection: "Upgrade",
      "Sec-WebSocket-Key": randomBytes(16).toString("base64"), "Sec-WebSocket-Version": "13", ...headers,
    };
    const lines = Object.entries(all).filter(([, value]) => value !== undefined).map(([name, value]) => `${name}: ${value}\r\n`);
    return `GET ${path} HTTP/1.1\r\n${lines.join("")}\r\n`;
  }

  async #until(attempt, what) {
    const deadline = Date.now() + PATIENCE;
    for (;;) {
      const result = attempt();
      if (result !== undefined) return result;
      if (this.ended) throw new Error(`the connection ended before ${what}`);
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`${what} did not come in time`);
      await new Promise((wake) => {
        const timer = setTimeout(wake, left);
        this.#wake = () => { clearTimeout(timer); wake(); };
      });
    }
  }

  /** The head of an HTTP answer. */
  head() {
    return this.#until(() => {
      const end = this.#buffer.indexOf("\r\n\r\n");
      if (end < 0) return undefined;
      const text = this.#buffer.subarray(0, end).toString("latin1");
      this.#buffer = this.#buffer.subarray(end + 4);
      return text;
    }, "the head of an answer");
  }

  write(...frames) {
    this.socket.write(Buffer.concat(frames.map((part) => Buffer.from(part))));
  }

  /** The next frame: `{ fin, opcode, payload }`. */
  frame() {
    return this.#until(() => {
      const buffer = this.#buffer;
      if (buffer.length < 2) return undefined;
      assert.equal(buffer[1] & 0x80, 0, "a server does not mask");
      let length = buffer[1] & 127;
      let at = 2;
      if (length === 126) {
        if (buffer.length < 4) return undefined;
        length = buffer.readUInt16BE(2);
        at = 4;
      } else if (length === 127) {
        if (buffer.length < 10) return undefined;
        length = Number(buffer.readBigUInt64BE(2));
        at = 10;
      }
      if (buffer.length < at + length) return undefined;
      this.#buffer = buffer.subarray(at + length);
      return { fin: (buffer[0] & 0x80) !== 0, opcode: buffer[0] & 15, payload: buffer.subarray(at, at + length) };
    }, "a frame");
  }

  /** Reads until the close frame and returns its code (1005 where it has none); what came before is in `seen`. */
  async closeCode() {
    this.seen = [];
    for (;;) {
      const { opcode, payload } = await this.frame();
      if (opcode === OPCODE.close) return payload.length < 2 ? 1005 : payload.readUInt16BE(0);
      this.seen.push({ opcode, text: payload.toString() });
    }
  }

  /** Resolves when the server has ended the TCP connection. */
  async end() {
    await this.#until(() => (this.ended ? true : undefined), "the end of the connection");
  }

  destroy() {
    this.socket.destroy();
  }
}
