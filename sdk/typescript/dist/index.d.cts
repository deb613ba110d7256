import { $ as BackoffOptions, A as PresenceChange, B as Welcome, C as Loss, D as Codec, E as HeartbeatOptions, F as ClientRequest, G as Off, H as ErrorCode, I as Member, J as Socket, K as RequestOptions, L as Message, M as Ack, N as AuthMessage, O as json, P as ClientMessage, Q as Backoff, R as Position, S as LinkRequest, T as TokenSource, U as ServerErrorCode, V as ClientErrorCode, W as StarlingError, X as Target, Y as SocketConstructor, Z as Timer, _ as Subscribed, a as State, b as Link, c as EventMap, d as HistoryOptions, f as MessageOf, g as SubscribeOptions, h as Gap, i as ClientEvents, j as IterateOptions, k as Presence, l as EventName, m as Published, n as websocket, o as Status, p as PublishOptions, q as Environment, r as Client$1, s as Channel, t as WebSocketOptions, u as History, v as SubscriptionEvents, w as Transport, x as LinkEvents, y as ClientOptions, z as ServerMessage } from "./core-CzzFSFE2.cjs";

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