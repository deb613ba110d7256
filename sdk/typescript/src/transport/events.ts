/** The format of `text/event-stream` (HTML standard, section 9.2). */

/** One event of a stream. */
export interface StreamEvent {
  /** `message` unless the stream names another. */
  readonly event: string;
  readonly data: string;
}

/** Takes the text of a stream in pieces of any size. `id` and `retry` are not looked at. */
export class EventReader {
  #rest = "";
  #event = "";
  #data: string[] = [];

  /** The events that end in this piece. */
  *read(text: string): Generator<StreamEvent> {
    const all = this.#rest + text;
    // A carriage return at the end may be half of a line's end.
    const complete = all.endsWith("\r") ? all.slice(0, -1) : all;
    const lines = complete.split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? "") + all.slice(complete.length);
    for (const line of lines) {
      const event = this.#line(line);
      if (event) yield event;
    }
  }

  #line(line: string): StreamEvent | undefined {
    if (line === "") {
      const event = { event: this.#event || "message", data: this.#data.join("\n") };
      const isEmpty = this.#data.length === 0;
      this.#event = "";
      this.#data = [];
      return isEmpty ? undefined : event;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") this.#event = value;
    else if (name === "data") this.#data.push(value);
    return undefined;
  }
}
