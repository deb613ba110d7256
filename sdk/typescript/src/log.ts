/** How far a channel was read: which messages are new, and which are missing. */

import { type Ack, type Message, type Position, positionOf } from "./protocol.js";

/** Messages that are remembered by id: where there are no offsets to tell repeats by, and own ones without echo. */
const REMEMBERED = 128;

/** What a message is to a reader. */
export interface Reading {
  /** Whether it is to be delivered. */
  readonly isNew: boolean;
  /** How many before it did not come and were not announced. */
  readonly missed: number;
}

export class Log {
  /** The last message that was read, or where to begin. */
  position: Position | undefined;
  /** Own messages that are not to come back. */
  readonly silent = new Silent();
  /** Whether the next message has to be the one behind the position. */
  #isExact = false;
  #ids = new Set<string>();

  /** Begins behind `position`, or up to `rewind` messages before it. */
  start(position: Position | undefined, rewind = 0): void {
    this.position = position && { epoch: position.epoch, offset: Math.max(0, position.offset - rewind) };
    this.#isExact = rewind === 0;
  }

  /** Messages will be missing that the server told of. */
  skip(): void {
    this.#isExact = false;
  }

  read(message: Message): Reading {
    const { id } = message;
    const position = positionOf(message);
    if (!position) {
      const isNew = !this.#ids.has(id);
      remember(this.#ids, id);
      return { isNew, missed: 0 };
    }
    // In another epoch the log has begun anew.
    const { epoch, offset } = position;
    const last = epoch === this.position?.epoch ? this.position.offset : 0;
    if (offset <= last) return { isNew: false, missed: 0 };
    const isExact = this.#isExact && this.position !== undefined;
    const absent = offset - last - 1 - this.silent.between(last, offset);
    this.position = position;
    this.#isExact = true;
    return { isNew: !this.silent.has(id), missed: isExact ? Math.max(0, absent) : 0 };
  }
}

/**
 * Own messages published with `echo: false`: the server leaves them out while this connection lasts, which is no gap,
 * and sends them with a recovery on another one, where they are left out here.
 */
export class Silent {
  #ids = new Set<string>();
  #offsets = new Set<number>();
  #unacknowledged = 0;

  published(messageId: string): void {
    remember(this.#ids, messageId);
    this.#unacknowledged++;
  }

  /** It was acknowledged, or given up. */
  settled(ack?: Ack): void {
    this.#unacknowledged--;
    if (ack?.offset !== undefined) remember(this.#offsets, ack.offset);
  }

  has(messageId: string): boolean {
    return this.#ids.has(messageId);
  }

  /** How many of the offsets between the two are, or may be, of such messages. */
  between(from: number, to: number): number {
    return this.#unacknowledged + [...this.#offsets].filter((offset) => offset > from && offset < to).length;
  }
}

function remember<Key>(known: Set<Key>, key: Key): void {
  known.add(key);
  for (const oldest of known) {
    if (known.size <= REMEMBERED) break;
    known.delete(oldest);
  }
}
