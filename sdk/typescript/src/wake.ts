/** Listens for the network's and the page's return. */

import type { Off } from "./emitter.js";
import type { Environment } from "./environment.js";

/** What happened: the network came or went, or the page is looked at again (also after the machine slept). */
export type Hint = "online" | "offline" | "visible";

/** Calls `tell` until the returned function is called. */
export function listen({ network, page }: Environment, tell: (hint: Hint) => void): Off {
  const visible = () => {
    if (page?.visibilityState !== "hidden") tell("visible");
  };
  const listeners = [
    [network, "online", () => tell("online")],
    [network, "offline", () => tell("offline")],
    // A page that comes back from the browser's back-forward cache has lost its connection without a word.
    [network, "pageshow", visible],
    [page, "visibilitychange", visible],
  ] as const;
  for (const [target, type, listener] of listeners) target?.addEventListener(type, listener);
  return () => {
    for (const [target, type, listener] of listeners) target?.removeEventListener(type, listener);
  };
}
