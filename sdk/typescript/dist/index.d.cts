import { A as PresenceChange, B as BackoffOptions, C as TokenSource, D as ServerErrorCode, E as ErrorCode, F as Socket, I as SocketConstructor, L as Target, M as Off, N as RequestOptions, O as StarlingError, P as Environment, R as Timer, S as Transport, T as ClientErrorCode, _ as ClientOptions, a as Channel, b as LinkRequest, c as History, d as PublishOptions, f as Published, g as SubscriptionEvents, h as Subscribed, i as Status, j as IterateOptions, k as Presence, l as HistoryOptions, m as SubscribeOptions, n as ClientEvents, o as EventMap, p as Gap, r as State, s as EventName, t as Client$1, u as MessageOf, v as Link, w as HeartbeatOptions, x as Loss, y as LinkEvents, z as Backoff } from "./client-llab6hKX.cjs";
import { a as ClientMessage, c as Message, d as Welcome, i as AuthMessage, l as Position, n as json, o as ClientRequest, r as Ack, s as Member, t as Codec, u as ServerMessage } from "./codec-DdVb6VAH.cjs";
import { n as websocket, t as WebSocketOptions } from "./core--_eLeATD.cjs";

//#region src/transport/poll.d.ts
/** Long-polling on `/poll`, with `POST /send` for the way up. Always JSON. */
declare function poll(): Transport;
//#endregion
//#region src/transport/sse.d.ts
/** SSE on `/sse`, with `POST /send` for the way up. Always JSON. */
declare function sse(): Transport;
//#endregion
//#region src/index.d.ts
/** A client that falls back to SSE, then to long-polling, where WebSocket does not work. Does nothing until it is used. */
declare class Client extends Client$1 {
  /**
   * @param url - the server's address without `/ws`: `https://example.com`, also with `wss:` or a path before it
   * @throws TypeError - it is no such address
   */
  constructor(url: string | URL, options?: ClientOptions);
}
//#endregion
export { Ack, AuthMessage, Backoff, BackoffOptions, Channel, Client, ClientErrorCode, ClientEvents, ClientMessage, ClientOptions, ClientRequest, Codec, Environment, ErrorCode, EventMap, EventName, Gap, HeartbeatOptions, History, HistoryOptions, IterateOptions, Link, LinkEvents, LinkRequest, Loss, Member, Message, MessageOf, Off, Position, Presence, PresenceChange, PublishOptions, Published, RequestOptions, ServerErrorCode, ServerMessage, Socket, SocketConstructor, StarlingError, State, Status, SubscribeOptions, Subscribed, SubscriptionEvents, Target, Timer, TokenSource, Transport, WebSocketOptions, Welcome, json, poll, sse, websocket };
//# sourceMappingURL=index.d.cts.map