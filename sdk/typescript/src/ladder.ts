/** Which transport to try next. */

/** Failures of a transport that never proved itself before another one is tried. */
const PATIENCE_OPENING = 1;
/** The same for connections that open and are then cut before they prove stable. */
const PATIENCE_CUT = 2;
/** Failures in a row of one that has proved itself: most likely the server is away. */
const PATIENCE_PROVEN = 3;

/**
 * Transports from best to worst. Failures lead a rung down, from the last one back to the first; a connection that
 * stays is kept, and the best one is tried beside it from time to time.
 */
export class Ladder {
  readonly #rungs: number;
  #rung = 0;
  #failures = 0;
  #proven = new Set<number>();

  constructor(rungs: number) {
    this.#rungs = rungs;
  }

  /** The transport to use. */
  get rung(): number {
    return this.#rung;
  }

  /** It could not be opened, or was cut before it proved stable. */
  failed(how: "opening" | "cut"): void {
    this.#failures++;
    const unproven = how === "opening" ? PATIENCE_OPENING : PATIENCE_CUT;
    if (this.#failures < (this.#proven.has(this.#rung) ? PATIENCE_PROVEN : unproven)) return;
    this.moveTo((this.#rung + 1) % this.#rungs);
  }

  /** The present connection proved stable. */
  stable(): void {
    this.#proven.add(this.#rung);
    this.#failures = 0;
  }

  moveTo(rung: number): void {
    this.#rung = rung;
    this.#failures = 0;
  }
}
