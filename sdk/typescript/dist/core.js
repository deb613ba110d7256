import { a as Channel, i as Backoff, l as Presence, n as websocket, r as json, t as Client, u as StarlingError } from "./core-CeQYMdRU.js";
export { Backoff, Channel, Client, Presence, StarlingError, json, websocket };
