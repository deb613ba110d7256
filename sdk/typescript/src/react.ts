/**
 * React hooks. None of them reads from the server while React renders on one.
 *
 * @packageDocumentation
 */

import {
  createContext,
  createElement,
  type ReactNode,
  useCallback,
  useContext,
  useEffect,
  useRef,
  useState,
  useSyncExternalStore,
} from "react";
import type { Channel, EventMap, EventName, MessageOf } from "./channel.js";
import type { Client } from "./client.js";
import type { Status } from "./connection.js";
import type { StarlingError } from "./errors.js";
import type { Member, Message } from "./protocol.js";
import type { Gap, SubscribeOptions } from "./subscription.js";

const ClientContext = createContext<Client | undefined>(undefined);

/** Gives the components below it a client. Who made the client closes it. */
export function StarlingProvider({ client, children }: { client: Client; children?: ReactNode }): ReactNode {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/** The client of the nearest {@link StarlingProvider}. */
export function useClient(): Client {
  const client = useContext(ClientContext);
  if (!client) throw new Error("no StarlingProvider above");
  return client;
}

/** The client's status, kept up to date. */
export function useStatus(): Status {
  const client = useClient();
  const subscribe = useCallback((changed: () => void) => client.on("status", changed), [client]);
  const read = () => client.status;
  return useSyncExternalStore(subscribe, read, read);
}

/** How {@link useChannel} subscribes, and whom it tells. The callbacks may change with every render. */
export interface ChannelHookOptions<Events extends EventMap>
  extends Pick<SubscribeOptions, "rewind" | "presence" | "data"> {
  onMessage?: (message: MessageOf<Events>) => void;
  /** Messages may be missing: fetch anew what they would have changed. */
  onStale?: (why: Gap | { recovered: false }) => void;
}

/** What {@link useChannel} returns. */
export interface ChannelHook<Events extends EventMap> {
  readonly channel: Channel<Events>;
  /** `pending` until the server agreed the first time. */
  readonly state: "pending" | "subscribed" | "refused";
  /** `refused`: why. */
  readonly error: StarlingError | undefined;
}

/** Channels that components use now, and how many of them. */
const users = new WeakMap<Channel, number>();

/**
 * Subscribes to a channel for as long as a component that uses it is there. The options of the first component count.
 */
export function useChannel<Events extends EventMap = Record<string, unknown>>(
  name: string,
  options: ChannelHookOptions<Events> = {},
): ChannelHook<Events> {
  const client = useClient();
  const channel = client.channel<Events>(name);
  const latest = useRef(options);
  useEffect(() => {
    latest.current = options;
  });
  const [outcome, setOutcome] = useState<Pick<ChannelHook<Events>, "state" | "error">>(PENDING);
  useEffect(() => {
    const { rewind, presence, data } = latest.current;
    let isMounted = true;
    const refused = (error: StarlingError) => isMounted && setOutcome({ state: "refused", error });
    const offs = [
      channel.onMessage((message) => latest.current.onMessage?.(message)),
      channel.watch("gap", (gap) => latest.current.onStale?.(gap)),
      channel.watch("recovered", ({ recovered }) => recovered || latest.current.onStale?.({ recovered })),
      channel.watch("unsubscribed", refused),
    ];
    setOutcome(PENDING);
    const subscribed = () => isMounted && setOutcome({ state: "subscribed", error: undefined });
    channel.subscribe({ rewind, presence, data }).then(subscribed, refused);
    const leave = use(channel as unknown as Channel);
    return () => {
      isMounted = false;
      for (const off of offs) off();
      leave();
    };
  }, [channel]);
  return { channel, ...outcome };
}

const PENDING = { state: "pending", error: undefined } as const;

/** Counts a user of a channel. The last one to leave unsubscribes, unless another comes in the same moment. */
function use(channel: Channel): () => void {
  users.set(channel, (users.get(channel) ?? 0) + 1);
  return () => {
    users.set(channel, (users.get(channel) ?? 1) - 1);
    queueMicrotask(() => {
      if (users.get(channel) === 0) channel.unsubscribe().catch(() => {});
    });
  };
}

/**
 * The latest messages of a channel, the oldest first; at most `limit` (default 100). Subscribes as {@link useChannel}
 * does.
 */
export function useMessages<
  Events extends EventMap = Record<string, unknown>,
  Name extends EventName<Events> = EventName<Events>,
>(
  name: string,
  { limit = 100, event, rewind }: { limit?: number; event?: Name; rewind?: number } = {},
): Extract<MessageOf<Events>, { event: Name }>[] {
  const [messages, setMessages] = useState<Message[]>([]);
  const add = (message: Message) => {
    if (event === undefined || message.event === event) setMessages((known) => [...known, message].slice(-limit));
  };
  const { channel } = useChannel<Events>(name, {
    ...(rewind !== undefined && { rewind }),
    onMessage: add as unknown as (message: MessageOf<Events>) => void,
  });
  useEffect(() => {
    // Another channel, other messages.
    if (channel) setMessages([]);
  }, [channel]);
  return messages as unknown as Extract<MessageOf<Events>, { event: Name }>[];
}

/** Who is in a channel, kept up to date. `data`: what to show of oneself; left out, one only watches. */
export function usePresence<Shown = unknown>(name: string, data?: Shown): Member<Shown>[] {
  const { channel } = useChannel(name, { presence: true, ...(data !== undefined && { data }) });
  const { presence } = channel;
  const [members, setMembers] = useState<Member[]>([]);
  useEffect(() => {
    const read = () => setMembers([...presence.members.values()]);
    read();
    return presence.onChange(read);
  }, [presence]);
  return members as Member<Shown>[];
}
