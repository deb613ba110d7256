//#region src/msgpack/decode.ts
/** MessagePack to values. */
const text$1 = new TextDecoder("utf-8", { fatal: true });
/** How deep arrays and objects may stand in each other. */
const DEPTH = 512;
/** Reads one value from the front of bytes. */
var Decoder = class Decoder {
	#bytes;
	#view;
	#at = 0;
	#depth = 0;
	constructor(bytes) {
		this.#bytes = bytes;
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	}
	/**
	* The one value that `bytes` are. Integers beyond 2^53 come as `bigint`, with all their digits.
	*
	* @throws RangeError - the bytes end too soon or go on, or are nested too deep
	* @throws TypeError - a type that Starling does not use, or text that is not UTF-8
	*/
	static decode(bytes) {
		const decoder = new Decoder(bytes);
		const value = decoder.#value();
		if (decoder.#at !== bytes.length) throw new RangeError("bytes behind the value");
		return value;
	}
	#value() {
		const type = this.#uint(1);
		if (type < 128) return type;
		if (type < 144) return this.#object(type & 15);
		if (type < 160) return this.#array(type & 15);
		if (type < 192) return this.#text(type & 31);
		if (type >= 224) return type - 256;
		switch (type) {
			case 192: return null;
			case 194: return false;
			case 195: return true;
			case 196:
			case 197:
			case 198: return this.#take(this.#uint(1 << type - 196)).slice();
			case 202: return this.#view.getFloat32(this.#skip(4));
			case 203: return this.#view.getFloat64(this.#skip(8));
			case 204:
			case 205:
			case 206: return this.#uint(1 << type - 204);
			case 207: return safe(this.#view.getBigUint64(this.#skip(8)));
			case 208: return this.#view.getInt8(this.#skip(1));
			case 209: return this.#view.getInt16(this.#skip(2));
			case 210: return this.#view.getInt32(this.#skip(4));
			case 211: return safe(this.#view.getBigInt64(this.#skip(8)));
			case 217:
			case 218:
			case 219: return this.#text(this.#uint(1 << type - 217));
			case 220:
			case 221: return this.#array(this.#uint(2 << type - 220));
			case 222:
			case 223: return this.#object(this.#uint(2 << type - 222));
			default: throw new TypeError(`type 0x${type.toString(16)}`);
		}
	}
	#array(length) {
		return this.#nested(() => {
			const array = [];
			for (let index = 0; index < length; index++) array.push(this.#value());
			return array;
		});
	}
	#object(length) {
		return this.#nested(() => {
			const members = [];
			for (let index = 0; index < length; index++) {
				const name = this.#value();
				if (typeof name !== "string") throw new TypeError("a name that is no text");
				members.push([name, this.#value()]);
			}
			return Object.fromEntries(members);
		});
	}
	#nested(read) {
		if (++this.#depth > DEPTH) throw new RangeError("nested too deep");
		const value = read();
		this.#depth--;
		return value;
	}
	#text(length) {
		return text$1.decode(this.#take(length));
	}
	#uint(size) {
		const at = this.#skip(size);
		if (size === 1) return this.#view.getUint8(at);
		return size === 2 ? this.#view.getUint16(at) : this.#view.getUint32(at);
	}
	#take(length) {
		const at = this.#skip(length);
		return this.#bytes.subarray(at, at + length);
	}
	/** Where the next `length` bytes begin, which are then behind us. */
	#skip(length) {
		const at = this.#at;
		if (length > this.#bytes.length - at) throw new RangeError("the bytes end too soon");
		this.#at = at + length;
		return at;
	}
};
function safe(value) {
	const number = Number(value);
	return Number.isSafeInteger(number) ? number : value;
}
//#endregion
//#region src/msgpack/encode.ts
/** Values to MessagePack, in the shortest form. */
const text = new TextEncoder();
/** Appends values to bytes that grow. */
var Encoder = class Encoder {
	#bytes = new Uint8Array(256);
	#view = new DataView(this.#bytes.buffer);
	#length = 0;
	/**
	* The bytes of `value`: what JSON has, bytes, and integers as `bigint`. Members that are `undefined` are left out;
	* what has a `toJSON`, as dates, is what that returns.
	*
	* @throws TypeError - a function, a symbol, or an integer of more than 64 bits
	*/
	static encode(value) {
		const encoder = new Encoder();
		encoder.#value(value);
		return encoder.#bytes.slice(0, encoder.#length);
	}
	#value(value) {
		switch (typeof value) {
			case "undefined": return this.#byte(192);
			case "boolean": return this.#byte(value ? 195 : 194);
			case "number": return this.#number(value);
			case "bigint": return this.#bigint(value);
			case "string": return this.#text(value);
			case "object": return this.#object(value);
			default: throw new TypeError(`a ${typeof value} cannot be sent`);
		}
	}
	#object(value) {
		if (value === null) return this.#byte(192);
		if (value instanceof Uint8Array) {
			this.#head(value.length, void 0, 0, [
				196,
				197,
				198
			]);
			return this.#append(value);
		}
		if (Array.isArray(value)) {
			this.#head(value.length, 144, 15, [
				void 0,
				220,
				221
			]);
			for (const element of value) this.#value(element);
			return;
		}
		if ("toJSON" in value && typeof value.toJSON === "function") return this.#value(value.toJSON());
		const members = Object.entries(value).filter(([, member]) => member !== void 0);
		this.#head(members.length, 128, 15, [
			void 0,
			222,
			223
		]);
		for (const [name, member] of members) {
			this.#text(name);
			this.#value(member);
		}
	}
	#text(value) {
		const bytes = text.encode(value);
		this.#head(bytes.length, 160, 31, [
			217,
			218,
			219
		]);
		this.#append(bytes);
	}
	/** A length, in the first of four forms that it fits in: within the type's byte, in one, two or four bytes. */
	#head(length, short, shortest, types) {
		const [one, two, four] = types;
		if (short !== void 0 && length <= shortest) return this.#byte(short | length);
		if (one !== void 0 && length <= 255) return this.#fixed(one, 1, (view, at) => view.setUint8(at, length));
		if (length <= 65535) return this.#fixed(two, 2, (view, at) => view.setUint16(at, length));
		this.#fixed(four, 4, (view, at) => view.setUint32(at, length));
	}
	#number(value) {
		if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
			if (!Number.isFinite(value)) return this.#byte(192);
			return this.#fixed(203, 8, (view, at) => view.setFloat64(at, value));
		}
		if (value >= 0) {
			if (value <= 127) return this.#byte(value);
			if (value <= 255) return this.#fixed(204, 1, (view, at) => view.setUint8(at, value));
			if (value <= 65535) return this.#fixed(205, 2, (view, at) => view.setUint16(at, value));
			if (value <= 4294967295) return this.#fixed(206, 4, (view, at) => view.setUint32(at, value));
		} else {
			if (value >= -32) return this.#byte(value & 255);
			if (value >= -128) return this.#fixed(208, 1, (view, at) => view.setInt8(at, value));
			if (value >= -32768) return this.#fixed(209, 2, (view, at) => view.setInt16(at, value));
			if (value >= -2147483648) return this.#fixed(210, 4, (view, at) => view.setInt32(at, value));
		}
		this.#bigint(BigInt(value));
	}
	#bigint(value) {
		if (value >= 0n && value < 2n ** 64n) return this.#fixed(207, 8, (view, at) => view.setBigUint64(at, value));
		if (value < 0n && value >= -(2n ** 63n)) return this.#fixed(211, 8, (view, at) => view.setBigInt64(at, value));
		throw new TypeError("an integer of more than 64 bits cannot be sent");
	}
	#byte(byte) {
		this.#reserve(1);
		this.#bytes[this.#length++] = byte;
	}
	#fixed(type, size, write) {
		this.#byte(type);
		this.#reserve(size);
		write(this.#view, this.#length);
		this.#length += size;
	}
	#append(bytes) {
		this.#reserve(bytes.length);
		this.#bytes.set(bytes, this.#length);
		this.#length += bytes.length;
	}
	#reserve(more) {
		const needed = this.#length + more;
		if (needed <= this.#bytes.length) return;
		const grown = new Uint8Array(Math.max(needed, this.#bytes.length * 2));
		grown.set(this.#bytes);
		this.#bytes = grown;
		this.#view = new DataView(grown.buffer);
	}
};
//#endregion
//#region src/msgpack.ts
/** Smaller messages, bytes as they are, and integers up to 64 bits with all their digits (as `bigint` beyond 2^53). */
const msgpack = {
	subprotocol: "starling.v1.msgpack",
	encode: (message) => Encoder.encode(message),
	decode: (data) => {
		if (typeof data === "string") throw new TypeError("text instead of bytes");
		return Decoder.decode(data);
	}
};
//#endregion
export { msgpack };

//# sourceMappingURL=msgpack.js.map