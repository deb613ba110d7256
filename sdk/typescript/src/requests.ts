/** Requests and their answers, over any number of connections. */

import { Deadline, type RequestOptions } from "./deadline.js";
import { Alarm } from "./environment.js";
import { StarlingError } from "./errors.js";
import type { Ack, ClientMessage, ClientRequest } from "./protocol.js";
import type { Settings } from "./settings.js";

/** Requests that may await an answer on a connection at once: fewer than the refusals at which a server hangs up. */
const WINDOW = 32;
/** How long nothing is sent after the server refused a request because of its rate (milliseconds). */
const RATE_PAUSE = 500;

/**
 * What becomes of a request that was sent when the connection is lost: sent `again` on the next one, told that it is
 * `lost`, or given up as `moot`, because with the connection its cause is gone (also if it was not sent yet).
 */
export type WhenLost = "again" | "lost" | "moot";

/** Who waits for an answer. */
export interface Answer {
  resolve(ack: Ack): void;
  reject(error: unknown): void;
}

interface Request extends Answer {
  readonly id: number;
  readonly message: ClientRequest;
  readonly whenLost: WhenLost;
}

export class Requests {
  #settings: Settings;
  #send: ((message: ClientMessage) => void) | undefined;
  #lastId = 0;
  /** To be sent, in order. Subscriptions go first after a reconnect, because publishing may depend on them. */
  #urgent: Request[] = [];
  #waiting: Request[] = [];
  #sent = new Map<number, Request>();
  #publishes = 0;
  #window = WINDOW;
  #pause: Alarm;
  #isPaused = false;

  constructor(settings: Settings) {
    this.#settings = settings;
    this.#pause = new Alarm(settings.environment);
  }

  /** Sends a request as soon as there is a connection. Rejects with a {@link StarlingError} or the signal's reason. */
  request(message: ClientRequest, whenLost: WhenLost, options: RequestOptions = {}): Promise<Ack> {
    return new Promise((resolve, reject) => this.start(message, whenLost, options, { resolve, reject }));
  }

  /** The same for callers that must hear of the answer before what follows it. */
  start(message: ClientRequest, whenLost: WhenLost, options: RequestOptions, answer: Answer): void {
    const { environment, timeout: usual, publishTimeout, queue } = this.#settings;
    const isPublish = message.type === "publish";
    const { signal, timeout = isPublish ? publishTimeout : usual } = options;
    if (isPublish && this.#publishes >= queue) {
      return answer.reject(new StarlingError("QUEUE_FULL"));
    }
    const settle = () => {
      deadline.clear();
      if (isPublish) this.#publishes--;
      this.#forget(request);
    };
    const request: Request = {
      id: ++this.#lastId,
      message,
      whenLost,
      resolve: (ack) => {
        settle();
        answer.resolve(ack);
      },
      reject: (error) => {
        settle();
        answer.reject(error);
      },
    };
    const deadline = new Deadline(environment, { timeout, signal }, message.type, request.reject);
    if (signal?.aborted) return;
    if (isPublish) this.#publishes++;
    (message.type === "subscribe" ? this.#urgent : this.#waiting).push(request);
    this.#pump();
  }

  /** There is a connection. */
  attach(send: (message: ClientMessage) => void): void {
    this.#send = send;
    this.#window = WINDOW;
    this.#pump();
  }

  /** There is none any more; `error` says why. */
  detach(error: StarlingError): void {
    this.#send = undefined;
    this.#isPaused = false;
    this.#pause.clear();
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    // What the server could not even read would end the next connection as well.
    const isPoison = error.code === "PAYLOAD_TOO_LARGE" || error.code === "INVALID_MESSAGE";
    const again = sent.filter(({ whenLost }) => whenLost === "again" && !isPoison);
    const moot = [...this.#urgent, ...this.#waiting].filter(({ whenLost }) => whenLost === "moot");
    this.#waiting = [...again, ...this.#waiting].sort((a, b) => a.id - b.id);
    for (const request of [...sent, ...moot]) if (!again.includes(request)) request.reject(error);
  }

  /** An answer; one to an unknown id is to a request that was given up, and is ignored. */
  answered(ack: Ack): void {
    const request = this.#sent.get(ack.id);
    if (!request) return;
    this.#window = Math.min(WINDOW, this.#window + 1);
    request.resolve(ack);
    this.#pump();
  }

  refused(id: number, error: StarlingError): void {
    const request = this.#sent.get(id);
    if (!request) return;
    if (error.code === "RATE_LIMITED") this.#slowDown(request);
    else request.reject(error);
    this.#pump();
  }

  /** Nothing will follow. */
  end(error: StarlingError): void {
    this.#send = undefined;
    this.#pause.clear();
    this.#isPaused = false;
    for (const request of [...this.#sent.values(), ...this.#urgent, ...this.#waiting]) request.reject(error);
  }

  /** Sends a request again that came too fast, a little later and with fewer beside it. */
  #slowDown(request: Request): void {
    this.#sent.delete(request.id);
    const queue = request.message.type === "subscribe" ? this.#urgent : this.#waiting;
    queue.push(request);
    queue.sort((a, b) => a.id - b.id);
    this.#window = Math.max(1, this.#window >> 1);
    if (this.#isPaused) return;
    this.#isPaused = true;
    this.#pause.set(RATE_PAUSE, () => {
      this.#isPaused = false;
      this.#pump();
    });
  }

  #pump(): void {
    while (this.#send && !this.#isPaused && this.#sent.size < this.#window) {
      const request = this.#urgent.shift() ?? this.#waiting.shift();
      if (!request) return;
      this.#sent.set(request.id, request);
      try {
        this.#send({ ...request.message, id: request.id });
      } catch (error) {
        // It cannot be encoded: nobody else's affair.
        request.reject(error);
      }
    }
  }

  #forget(request: Request): void {
    this.#sent.delete(request.id);
    for (const queue of [this.#urgent, this.#waiting]) {
      const at = queue.indexOf(request);
      if (at >= 0) queue.splice(at, 1);
    }
  }
}
