import { a as Channel, i as Backoff, l as Presence, n as websocket, r as json, t as Client, u as StarlingError } from "./core-DXwqB28E.js";
export { Backoff, Channel, Client, Presence, StarlingError, json, websocket };
