/** Values to MessagePack, in the shortest form. */

const text = new TextEncoder();

/** Appends values to bytes that grow. */
export class Encoder {
  #bytes = new Uint8Array(256);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  /**
   * The bytes of `value`: what JSON has, bytes, and integers as `bigint`. Members that are `undefined` are left out;
   * what has a `toJSON`, as dates, is what that returns.
   *
   * @throws TypeError - a function, a symbol, or an integer of more than 64 bits
   */
  static encode(value: unknown): Uint8Array<ArrayBuffer> {
    const encoder = new Encoder();
    encoder.#value(value);
    return encoder.#bytes.slice(0, encoder.#length);
  }

  #value(value: unknown): void {
    switch (typeof value) {
      case "undefined":
        return this.#byte(0xc0);
      case "boolean":
        return this.#byte(value ? 0xc3 : 0xc2);
      case "number":
        return this.#number(value);
      case "bigint":
        return this.#bigint(value);
      case "string":
        return this.#text(value);
      case "object":
        return this.#object(value);
      default:
        throw new TypeError(`a ${typeof value} cannot be sent`);
    }
  }

  #object(value: object | null): void {
    if (value === null) return this.#byte(0xc0);
    if (value instanceof Uint8Array) {
      this.#head(value.length, undefined, 0, [0xc4, 0xc5, 0xc6]);
      return this.#append(value);
    }
    if (Array.isArray(value)) {
      this.#head(value.length, 0x90, 15, [undefined, 0xdc, 0xdd]);
      for (const element of value) this.#value(element);
      return;
    }
    if ("toJSON" in value && typeof value.toJSON === "function") return this.#value(value.toJSON());
    const members = Object.entries(value).filter(([, member]) => member !== undefined);
    this.#head(members.length, 0x80, 15, [undefined, 0xde, 0xdf]);
    for (const [name, member] of members) {
      this.#text(name);
      this.#value(member);
    }
  }

  #text(value: string): void {
    const bytes = text.encode(value);
    this.#head(bytes.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    this.#append(bytes);
  }

  /** A length, in the first of four forms that it fits in: within the type's byte, in one, two or four bytes. */
  #head(
    length: number,
    short: number | undefined,
    shortest: number,
    types: [number | undefined, number, number],
  ): void {
    const [one, two, four] = types;
    if (short !== undefined && length <= shortest) return this.#byte(short | length);
    if (one !== undefined && length <= 0xff) return this.#fixed(one, 1, (view, at) => view.setUint8(at, length));
    if (length <= 0xffff) return this.#fixed(two, 2, (view, at) => view.setUint16(at, length));
    this.#fixed(four, 4, (view, at) => view.setUint32(at, length));
  }

  #number(value: number): void {
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      // As in JSON, what is no number is null.
      if (!Number.isFinite(value)) return this.#byte(0xc0);
      return this.#fixed(0xcb, 8, (view, at) => view.setFloat64(at, value));
    }
    if (value >= 0) {
      if (value <= 0x7f) return this.#byte(value);
      if (value <= 0xff) return this.#fixed(0xcc, 1, (view, at) => view.setUint8(at, value));
      if (value <= 0xffff) return this.#fixed(0xcd, 2, (view, at) => view.setUint16(at, value));
      if (value <= 0xffffffff) return this.#fixed(0xce, 4, (view, at) => view.setUint32(at, value));
    } else {
      if (value >= -0x20) return this.#byte(value & 0xff);
      if (value >= -0x80) return this.#fixed(0xd0, 1, (view, at) => view.setInt8(at, value));
      if (value >= -0x8000) return this.#fixed(0xd1, 2, (view, at) => view.setInt16(at, value));
      if (value >= -0x80000000) return this.#fixed(0xd2, 4, (view, at) => view.setInt32(at, value));
    }
    this.#bigint(BigInt(value));
  }

  #bigint(value: bigint): void {
    if (value >= 0n && value < 2n ** 64n) return this.#fixed(0xcf, 8, (view, at) => view.setBigUint64(at, value));
    if (value < 0n && value >= -(2n ** 63n)) return this.#fixed(0xd3, 8, (view, at) => view.setBigInt64(at, value));
    throw new TypeError("an integer of more than 64 bits cannot be sent");
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#length++] = byte;
  }

  #fixed(type: number, size: number, write: (view: DataView, at: number) => void): void {
    this.#byte(type);
    this.#reserve(size);
    write(this.#view, this.#length);
    this.#length += size;
  }

  #append(bytes: Uint8Array): void {
    this.#reserve(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  #reserve(more: number): void {
    const needed = this.#length + more;
    if (needed <= this.#bytes.length) return;
    const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
    grown.set(this.#bytes);
    this.#bytes = grown;
    this.#view = new DataView(grown.buffer);
  }
}
