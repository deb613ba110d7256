/** MessagePack to values. */

const text = new TextDecoder("utf-8", { fatal: true });
/** How deep arrays and objects may stand in each other. */
const DEPTH = 512;

/** Reads one value from the front of bytes. */
export class Decoder {
  #bytes: Uint8Array;
  #view: DataView;
  #at = 0;
  #depth = 0;

  private constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /**
   * The one value that `bytes` are. Integers beyond 2^53 come as `bigint`, with all their digits.
   *
   * @throws RangeError - the bytes end too soon or go on, or are nested too deep
   * @throws TypeError - a type that Starling does not use, or text that is not UTF-8
   */
  static decode(bytes: Uint8Array): unknown {
    const decoder = new Decoder(bytes);
    const value = decoder.#value();
    if (decoder.#at !== bytes.length) throw new RangeError("bytes behind the value");
    return value;
  }

  #value(): unknown {
    const type = this.#uint(1);
    if (type < 0x80) return type;
    if (type < 0x90) return this.#object(type & 15);
    if (type < 0xa0) return this.#array(type & 15);
    if (type < 0xc0) return this.#text(type & 31);
    if (type >= 0xe0) return type - 0x100;
    switch (type) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xc4:
      case 0xc5:
      case 0xc6:
        return this.#take(this.#uint(1 << (type - 0xc4))).slice();
      case 0xca:
        return this.#view.getFloat32(this.#skip(4));
      case 0xcb:
        return this.#view.getFloat64(this.#skip(8));
      case 0xcc:
      case 0xcd:
      case 0xce:
        return this.#uint(1 << (type - 0xcc));
      case 0xcf:
        return safe(this.#view.getBigUint64(this.#skip(8)));
      case 0xd0:
        return this.#view.getInt8(this.#skip(1));
      case 0xd1:
        return this.#view.getInt16(this.#skip(2));
      case 0xd2:
        return this.#view.getInt32(this.#skip(4));
      case 0xd3:
        return safe(this.#view.getBigInt64(this.#skip(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (type - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(2 << (type - 0xdc)));
      case 0xde:
      case 0xdf:
        return this.#object(this.#uint(2 << (type - 0xde)));
      default:
        throw new TypeError(`type 0x${type.toString(16)}`);
    }
  }

  #array(length: number): unknown[] {
    return this.#nested(() => {
      const array: unknown[] = [];
      // Grows as elements are read: a length that lies costs nothing.
      for (let index = 0; index < length; index++) array.push(this.#value());
      return array;
    });
  }

  #object(length: number): object {
    return this.#nested(() => {
      const members: [string, unknown][] = [];
      for (let index = 0; index < length; index++) {
        const name = this.#value();
        if (typeof name !== "string") throw new TypeError("a name that is no text");
        members.push([name, this.#value()]);
      }
      // Defines them, so that a member `__proto__` is one like any other.
      return Object.fromEntries(members);
    });
  }

  #nested<Of>(read: () => Of): Of {
    if (++this.#depth > DEPTH) throw new RangeError("nested too deep");
    const value = read();
    this.#depth--;
    return value;
  }

  #text(length: number): string {
    return text.decode(this.#take(length));
  }

  #uint(size: number): number {
    const at = this.#skip(size);
    if (size === 1) return this.#view.getUint8(at);
    return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
  }

  #take(length: number): Uint8Array {
    const at = this.#skip(length);
    return this.#bytes.subarray(at, at + length);
  }

  /** Where the next `length` bytes begin, which are then behind us. */
  #skip(length: number): number {
    const at = this.#at;
    if (length > this.#bytes.length - at) throw new RangeError("the bytes end too soon");
    this.#at = at + length;
    return at;
  }
}

function safe(value: bigint): number | bigint {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : value;
}
