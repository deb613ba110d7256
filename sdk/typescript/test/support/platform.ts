/** What Node 20 lacks, and how to wait for what happens. */

import { WebSocket } from "ws";
import type { Client, Environment, SocketConstructor, Status } from "../../src/index.js";

/** An environment with the WebSocket of the package `ws`. */
export const node: Partial<Environment> = { WebSocket: WebSocket as unknown as SocketConstructor };

/** Resolves when the client's status is as wanted. */
export function until(client: Client, wanted: (status: Status) => boolean): Promise<Status> {
  if (wanted(client.status)) return Promise.resolve(client.status);
  return new Promise((resolve) => {
    const off = client.on("status", (status) => {
      if (!wanted(status)) return;
      off();
      resolve(status);
    });
  });
}

/** Resolves when the client is connected. */
export const connected = (client: Client) => until(client, ({ state }) => state === "connected");
