import { t as Codec } from "./codec-Ct0QYdZJ.js";

//#region src/msgpack.d.ts
/** Smaller messages, bytes as they are, and integers up to 64 bits with all their digits (as `bigint` beyond 2^53). */
declare const msgpack: Codec;
//#endregion
export { msgpack };
//# sourceMappingURL=msgpack.d.ts.map