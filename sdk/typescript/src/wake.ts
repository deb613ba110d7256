/** Listens for the network's and the page's return. */

import type { Off } from "./emitter.js";
import type { Environment } from "./environment.js";

/** What happened: the network came or went, or the page is looked at again (also after the machine slept). */
export type Hint = "online" | "offline" | "visible";

/** Calls `tell` until the returned function is called. */
export function listen({ network, page }: Environment, tell: (hint: Hint) => void): Off {
  const online = () => tell("online");
  const offline = () => tell("offline");
  const visible = () => {
    if (page?.visibilityState !== "hidden") tell("visible");
  };
  network?.addEventListener("online", online);
  network?.addEventListener("offline", offline);
  // A page that comes back from the browser's back-forward cache has lost its connection without a word.
  network?.addEventListener("pageshow", visible);
  page?.addEventListener("visibilitychange", visible);
  return () => {
    network?.removeEventListener("online", online);
    network?.removeEventListener("offline", offline);
    network?.removeEventListener("pageshow", visible);
    page?.removeEventListener("visibilitychange", visible);
  };
}
