import { O as StarlingError, a as Channel, i as Status, m as SubscribeOptions, o as EventMap, p as Gap, s as EventName, t as Client, u as MessageOf } from "./client-BDNWLpn_.js";
import { s as Member } from "./codec-Ct0QYdZJ.js";
import { ReactNode } from "react";

//#region src/react.d.ts
/** Gives the components below it a client. Who made the client closes it. */
declare function StarlingProvider({
  client,
  children
}: {
  client: Client;
  children?: ReactNode;
}): ReactNode;
/** The client of the nearest {@link StarlingProvider}. */
declare function useClient(): Client;
/** The client's status, kept up to date. */
declare function useStatus(): Status;
/** How {@link useChannel} subscribes, and whom it tells. The callbacks may change with every render. */
interface ChannelHookOptions<Events extends EventMap> extends Pick<SubscribeOptions, "rewind" | "presence" | "data"> {
  onMessage?: (message: MessageOf<Events>) => void;
  /** Messages may be missing: fetch anew what they would have changed. */
  onStale?: (why: Gap | {
    recovered: false;
  }) => void;
}
/** What {@link useChannel} returns. */
interface ChannelHook<Events extends EventMap> {
  readonly channel: Channel<Events>;
  /** `pending` until the server agreed the first time. */
  readonly state: "pending" | "subscribed" | "refused";
  /** `refused`: why. */
  readonly error: StarlingError | undefined;
}
/**
 * Subscribes to a channel for as long as a component that uses it is there. The options of the first component count.
 */
declare function useChannel<Events extends EventMap = Record<string, unknown>>(name: string, options?: ChannelHookOptions<Events>): ChannelHook<Events>;
/**
 * The latest messages of a channel, the oldest first; at most `limit` (default 100). Subscribes as {@link useChannel}
 * does.
 */
declare function useMessages<Events extends EventMap = Record<string, unknown>, Name extends EventName<Events> = EventName<Events>>(name: string, {
  limit,
  event,
  rewind
}?: {
  limit?: number;
  event?: Name;
  rewind?: number;
}): Extract<MessageOf<Events>, {
  event: Name;
}>[];
/** Who is in a channel, kept up to date. `data`: what to show of oneself; left out, one only watches. */
declare function usePresence<Shown = unknown>(name: string, data?: Shown): Member<Shown>[];
//#endregion
export { ChannelHook, ChannelHookOptions, StarlingProvider, useChannel, useClient, useMessages, usePresence, useStatus };
//# sourceMappingURL=react.d.ts.map