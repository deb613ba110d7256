/** Who is in a channel, kept up to date. */

import type { RequestOptions } from "./deadline.js";
import { Emitter, type Off } from "./emitter.js";
import type { Member } from "./protocol.js";
import type { Requests } from "./requests.js";

/** A change of the set of members. */
export interface PresenceChange<Data = unknown> {
  /** Who came, and who changed its data. */
  readonly joins: readonly Member<Data>[];
  readonly leaves: readonly Member<Data>[];
}

/** The presence of one channel. */
export class Presence<Data = unknown> {
  #channel: string;
  #requests: Requests;
  #members = new Map<string, Member<Data>>();
  #changes = new Emitter<{ change: PresenceChange<Data> }>();
  #own: { data: Data | undefined } | undefined;
  #isLive = false;

  #connect: () => void;

  /** @internal */
  constructor(channel: string, requests: Requests, connect: () => void) {
    this.#channel = channel;
    this.#requests = requests;
    this.#connect = connect;
  }

  /**
   * Who is there, by connection id: a live set where the channel is subscribed with `presence: true`, empty otherwise.
   * While offline it is the last that was known; what changed meanwhile comes as one change afterwards.
   */
  get members(): ReadonlyMap<string, Member<Data>> {
    return this.#members;
  }

  /** Whether the server keeps the set up to date at the moment. */
  get isLive(): boolean {
    return this.#isLive;
  }

  /** Calls `listener` after each change of {@link members}. */
  onChange(listener: (change: PresenceChange<Data>) => void): Off {
    return this.#changes.on("change", listener);
  }

  /** Enters the channel, which must be subscribed; also again after a reconnect. `data` defaults to the token's `info`. */
  async enter(data?: Data, options?: RequestOptions): Promise<void> {
    await this.#request("enter", options, data);
    this.#own = { data };
  }

  /** Changes what is shown of this connection. */
  async update(data: Data, options?: RequestOptions): Promise<void> {
    await this.#request("update", options, data);
    this.#own = { data };
  }

  /** Leaves the presence, not the channel. */
  async leave(options?: RequestOptions): Promise<void> {
    this.#own = undefined;
    await this.#request("leave", options);
  }

  /** Asks the server who is there now; no subscription is needed. */
  async get(options?: RequestOptions): Promise<Member<Data>[]> {
    return (await this.#request("get", options)).members as Member<Data>[];
  }

  #request(action: "get" | "enter" | "update" | "leave", options?: RequestOptions, data?: Data) {
    this.#connect();
    return this.#requests.request({ type: "presence", channel: this.#channel, action, data }, "again", options);
  }

  /** @internal What was entered, to be entered again with a new subscription. */
  get own(): { data: Data | undefined } | undefined {
    return this.#own;
  }

  /** @internal Entered by subscribing with data. */
  entered(data: Data | undefined): void {
    this.#own = data === undefined ? undefined : { data };
  }

  /** @internal The whole set, after subscribing. */
  replace(members: Member<Data>[]): void {
    this.#isLive = true;
    const there = new Set(members.map(({ connectionId }) => connectionId));
    const leaves = [...this.#members.values()].filter(({ connectionId }) => !there.has(connectionId));
    const isNew = ({ connectionId, data }: Member<Data>) =>
      JSON.stringify(this.#members.get(connectionId)?.data) !== JSON.stringify(data);
    this.apply(members.filter(isNew), leaves);
  }

  /** @internal */
  apply(joins: Member<Data>[], leaves: Member<Data>[]): void {
    for (const { connectionId } of leaves) this.#members.delete(connectionId);
    for (const member of joins) this.#members.set(member.connectionId, member);
    if (joins.length > 0 || leaves.length > 0) this.#changes.emit("change", { joins, leaves });
  }

  /** @internal The server does not tell of changes any more. */
  pause(): void {
    this.#isLive = false;
  }

  /** @internal The subscription ended. */
  clear(): void {
    this.#isLive = false;
    this.#own = undefined;
    this.apply([], [...this.#members.values()]);
  }
}
