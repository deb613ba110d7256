/**
 * What SSE and long-polling share: messages to the server by `POST /send`, one after the other, and the order between
 * the answers to those and what comes down meanwhile.
 */

import { json } from "../codec.js";
import { StarlingError } from "../errors.js";
import { type ClientMessage, isFields, readServerMessage, type ServerMessage, type Welcome } from "../protocol.js";
import type { Link, LinkEvents, LinkRequest } from "./transport.js";

/** How long the server may take to answer a message (milliseconds). */
const SEND_TIMEOUT = 20_000;

/** A link that comes down over HTTP; the subclass receives, this class sends. */
export abstract class HttpLink implements Link {
  readonly needsPings = false;
  protected readonly request: LinkRequest;
  readonly #events: LinkEvents;
  /** One for each request: those of a platform leave what they listen with behind on a signal that outlives them. */
  #posting = new AbortController();
  #getting = new AbortController();
  #token: string | undefined;
  #connectionId: string | undefined;
  #posts: Promise<unknown> = Promise.resolve();
  /** Channels that are being subscribed to, with what came for them before the server's answer did. */
  #held = new Map<string, ServerMessage[]>();
  #done = false;
  /** The last error that came down: why the server is about to end the session. */
  #complaint: StarlingError | undefined;

  constructor(request: LinkRequest, events: LinkEvents) {
    this.request = request;
    this.#events = events;
    this.#token = request.token;
    // Not before the subclass is complete.
    queueMicrotask(() => this.receiving().catch((error: unknown) => this.lost(error)));
  }

  /** Receives until {@link isDone}; what it throws ends the link. */
  protected abstract receiving(): Promise<void>;

  protected get isDone(): boolean {
    return this.#done;
  }

  protected heard(): void {
    if (!this.#done) this.#events.heard();
  }

  /** The server agreed. Said again, it must be the same session: another one knows nothing of our subscriptions. */
  protected opened(connectionId: unknown): void {
    if (this.#done || this.#connectionId === connectionId) return;
    if (typeof connectionId !== "string") throw new StarlingError("PROTOCOL", "no connectionId");
    if (this.#connectionId !== undefined) throw new StarlingError("CONNECTION_LOST", "the session is gone");
    this.#connectionId = connectionId;
    // Behind the id may be a secret, by which requests without a token speak for the session.
    const welcome: Welcome = { type: "auth_ack", connectionId: connectionId.replace(/~.*/, "") };
    this.#events.opened(welcome);
  }

  /** Something came down. */
  protected receive(value: unknown): void {
    const message = readServerMessage(value);
    if (!message || this.#done) return;
    if (message.type === "error") this.#complaint = new StarlingError(message.code, message.message);
    const held = "channel" in message && message.channel !== undefined && this.#held.get(message.channel);
    if (held) held.push(message);
    else this.#events.receive(message);
  }

  /** A GET of `path`, refused ones thrown. */
  protected async get(path: string, headers: Record<string, string>): Promise<Response> {
    this.#getting = new AbortController();
    const init: RequestInit = { headers, cache: "no-store" };
    return this.#fetch(new URL(path, this.request.base), init, this.#getting.signal);
  }

  /** The text of an answer, all of which has to come within `timeout` milliseconds: a head alone is no sign of life. */
  protected async text(answer: Promise<Response>, timeout: number): Promise<string> {
    const { setTimeout, clearTimeout } = this.request.environment;
    const late = () => this.lost(new StarlingError("CONNECTION_LOST", `no answer in ${timeout} ms`));
    const timer = setTimeout(late, timeout);
    try {
      return await (await answer).text();
    } finally {
      clearTimeout(timer);
    }
  }

  send(message: ClientMessage): void {
    const { type } = message;
    // Here, so that who sends what cannot be encoded is told at once.
    const body = json.encode(message);
    if (type === "subscribe") this.#held.set(message.channel, []);
    const posted = this.#posts.then(() => this.#post(message, body));
    this.#posts = posted.catch((error: unknown) => this.lost(error));
  }

  renew(token: string): void {
    this.#token = token;
    this.send({ type: "auth", token });
  }

  ping(): void {
    this.send({ type: "ping" });
  }

  close(): void {
    this.#done = true;
    this.#posting.abort();
    this.#getting.abort();
  }

  protected lost(error: unknown): void {
    if (this.#done) return;
    this.close();
    const known = error instanceof StarlingError ? error : new StarlingError("CONNECTION_LOST", String(error));
    this.#events.lost({ error: known.code === "CONNECTION_LOST" ? (this.#complaint ?? known) : known });
  }

  async #post(message: ClientMessage, body: BodyInit): Promise<void> {
    if (this.#done) return;
    const url = new URL("send", this.request.base);
    if (this.#connectionId !== undefined) url.searchParams.set("connectionId", this.#connectionId);
    const init = { method: "POST", headers: { "content-type": "application/json" }, body };
    this.#posting = new AbortController();
    const response = this.#fetch(url, init, this.#posting.signal, true);
    const answer = json.decode(await this.text(response, SEND_TIMEOUT));
    this.heard();
    // A refused renewal leaves everything as it was; the stream ends when its own token does.
    if (message.type !== "auth" || !isFields(answer) || answer.type !== "auth_ack") this.#answered(message, answer);
  }

  #answered(message: ClientMessage, answer: unknown): void {
    // What the server refuses unread, it refuses without the id.
    const read = readServerMessage({ id: (message as { id?: number }).id, ...(answer as object) });
    if (read?.type === "error" && isAboutSession(message, read))
      throw new StarlingError("CONNECTION_LOST", read.message);
    if (read && !this.#done) this.#events.receive(read);
    if (message.type !== "subscribe") return;
    const held = this.#held.get(message.channel) ?? [];
    this.#held.delete(message.channel);
    for (const late of held) if (!this.#done) this.#events.receive(late);
  }

  async #fetch(url: URL, init: RequestInit, signal: AbortSignal, readsErrors = false): Promise<Response> {
    const { fetch } = this.request.environment;
    if (!fetch) throw new StarlingError("CONNECTION_LOST", "no fetch");
    const headers = new Headers(init.headers);
    if (this.#token !== undefined) headers.set("authorization", `Bearer ${this.#token}`);
    const response = await fetch(url, { ...init, headers, signal });
    const isJson = response.headers.get("content-type")?.startsWith("application/json");
    if (response.ok || (readsErrors && isJson && response.status !== 401)) return response;
    throw await refusal(response);
  }
}

/**
 * Whether the server does not know the session any more. Refusals of what concerns a channel name it; where one does not,
 * these codes are about the session.
 */
function isAboutSession(message: ClientMessage, { code, channel }: { code: string; channel?: string }): boolean {
  const isOfChannel = "channel" in message && message.type !== "event";
  return isOfChannel && channel === undefined && (code === "FORBIDDEN" || code === "INTERNAL");
}

/** Why the server did not answer as it should. */
async function refusal(response: Response): Promise<StarlingError> {
  const text = await response.text();
  const codes: Record<number, string> = { 401: "TOKEN_INVALID", 403: "FORBIDDEN", 429: "RATE_LIMITED" };
  let code = codes[response.status] ?? "CONNECTION_LOST";
  let message = `HTTP ${response.status}`;
  try {
    const body: unknown = JSON.parse(text);
    const error = isFields(body) && isFields(body.error) ? body.error : body;
    if (isFields(error) && typeof error.code === "string" && response.status < 500) {
      code = error.code;
      message = `${message}: ${error.message}`;
    }
  } catch {
    // A proxy's page: the status has to do.
  }
  return new StarlingError(code, message);
}
