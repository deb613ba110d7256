// The live demo of `starling serve --dev`, on this repository's own client. Top down: what is offered, the line to the
// server, the channel, the page. `clients.js` holds the client, and those of other protocols that were present when it
// was made (sdk/demo/build.mjs).

import * as clients from "./clients.js";

/** The ways in that this server offers, in the order of the tabs. Every name has a snippet in `SNIPPETS`. */
const WAYS_IN = [
  "curl",
  "sdk",
  "websocket",
  "cli",
  "python",
  "sse",
  "poll",
  "socketio",
  "phoenix",
  "pusher",
  // "ably",
];

const CREDENTIALS = { app: "1", key: "dev-key", secret: "dev-secret" };
const REWIND = 50; // messages of history asked for on joining
const AWAY = 5000; // milliseconds that "Drop the connection" stays away
const KEPT = { frames: 200, messages: 500, heard: 50 };

const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------------------------------------------------
// The line: the client, with what it sends and receives shown, and a network that can be cut.

/** No connection can be opened before this moment (Unix milliseconds): the page plays a lost network. */
let awayUntil = 0;
let socket = null;

class Socket extends WebSocket {
  constructor(url, protocols) {
    if (Date.now() < awayUntil) throw new Error("the network is away");
    super(url, protocols);
    socket = this;
    this.addEventListener("close", ({ code, reason }) => addFrame("note-frame", "•", `closed ${code}`, reason));
  }
}

/** JSON as it is on the wire; a message keeps its text, because JSON.parse rounds numbers beyond 2^53. */
const recorder = {
  subprotocol: clients.json.subprotocol,
  encode(message) {
    const text = clients.json.encode(message);
    showFrame("out", text, message);
    return text;
  },
  decode(text) {
    const message = clients.json.decode(text);
    showFrame("in", text, message);
    return message.type === "message" ? { ...message, text } : message;
  },
};

const client = new clients.Client(new URL(".", location.href), {
  codec: recorder,
  transports: [clients.websocket()],
  backoff: { cap: 10_000 },
  environment: { WebSocket: Socket },
});

/** Closes the socket as a lost network would, and keeps the client from coming back for a while. */
function dropConnection() {
  awayUntil = Date.now() + AWAY;
  addFrame("note-frame", "•", "dropped", `away for ${AWAY / 1000} s`);
  socket?.close(4000, "dropped by the demo");
}

// ---------------------------------------------------------------------------------------------------------
// The channel: one at a time, and what the page is told of it.

const channel = {
  name: "",
  me: "",
  recoveredUpTo: 0,
  room: null,
  listeners: [],

  enter(name, me) {
    this.listeners.forEach((off) => off());
    Object.assign(this, { name, me, recoveredUpTo: 0, room: client.channel(name) });
    const { room } = this;
    this.listeners = [
      room.onMessage(showMessage),
      room.presence.onChange(showMembers),
      room.watch("subscribed", ({ position, recovered }) => this.subscribed(position, recovered)),
      room.watch("gap", ({ missed, announced }) =>
        notice(announced ? `${missed} messages were left out: this client was too slow` : `${missed} messages did not come`, "warn")),
      room.watch("unsubscribed", (error) => notice(`The server ended the subscription: ${describe(error)}`, "warn")),
    ];
  },

  subscribe() {
    const { room, me } = this;
    room.subscribe({ rewind: REWIND, presence: true, data: { name: me } }).then(
      ({ position }) => position?.offset === 0 && room === this.room && notice(`No messages in ${room.name} yet`),
      (error) => error.code !== "CLOSED" && room === this.room && notice(describe(error), "warn"),
    );
  },

  /** The server agreed; after a lost connection it also said whether all that was missed follows. */
  subscribed(position, recovered) {
    if (recovered === true) {
      const missed = position.offset - this.room.position.offset;
      this.recoveredUpTo = position.offset;
      notice(missed === 0 ? "reconnected, nothing was missed" : `recovered ${missed} message${missed === 1 ? "" : "s"}`, "good");
    } else if (recovered === false) {
      notice("Reconnected, but the channel's history was lost or restarted: messages may be missing here", "warn");
    }
    showMembers();
    showPosition();
  },

  leave() {
    this.room?.unsubscribe().catch(() => {});
  },

  rename(me) {
    this.me = me;
    this.room.presence.update({ name: me }).catch((error) => notice(describe(error), "warn"));
  },

  async publish(text) {
    const messageId = randomId();
    const payload = { name: this.me, text };
    const started = performance.now();
    showOwn({ messageId, payload });
    try {
      acknowledged(messageId, await this.room.publish("chat", payload, { messageId }), performance.now() - started);
    } catch (error) {
      failed(messageId, error);
    }
  },
};

const describe = ({ code, message }) => (message ? `${message} (${code})` : code);

function randomId() {
  // Not crypto.randomUUID: browsers only have it on https and localhost.
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// ---------------------------------------------------------------------------------------------------------
// JSON as text. Frames are shown as they were sent: JSON.parse would round numbers beyond 2^53.

const TOKEN = /"(?:[^"\\]|\\.)*"|-?\d[\d.eE+-]*|true|false|null|[{}[\],:]/g;

/** The tokens of `text`, laid out over lines: `[class, text]` pairs. */
function* prettyTokens(text) {
  const tokens = text.match(TOKEN) ?? [];
  let depth = 0;
  const newline = () => ["j-mark", "\n" + "  ".repeat(Math.min(depth, 20))];
  for (let i = 0; i < tokens.length; i++) {
    const token = tokens[i];
    const next = tokens[i + 1];
    if (token === "{" || token === "[") {
      yield ["j-mark", token];
      if (next === "}" || next === "]") yield ["j-mark", tokens[++i]];
      else { depth++; yield newline(); }
    } else if (token === "}" || token === "]") {
      depth--;
      yield newline();
      yield ["j-mark", token];
    } else if (token === ",") {
      yield ["j-mark", token];
      yield newline();
    } else if (token === ":") yield ["j-mark", ": "];
    else if (token[0] === '"') yield [next === ":" ? "j-key" : "j-string", token];
    else yield [/\d/.test(token) ? "j-number" : "j-word", token];
  }
}

/** The text of a member of the outermost object, digits as they came. */
function rawMember(text, name) {
  let depth = 0;
  let from = -1;
  const key = JSON.stringify(name);
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    const closes = token === "}" || token === "]";
    if (from >= 0 && depth === 1 && (token === "," || closes)) return text.slice(from, index).trim();
    if (token === "{" || token === "[") depth++;
    else if (closes) depth--;
    else if (depth === 1 && token === key && from < 0 && /^\s*:/.test(text.slice(index + token.length))) {
      from = index + token.length + text.slice(index + token.length).indexOf(":") + 1;
    }
  }
  return "";
}

// ---------------------------------------------------------------------------------------------------------
// Elements. User data only ever becomes text nodes and custom properties.

function element(tag, className, ...children) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
}

function clock(ms, precise) {
  const date = new Date(ms);
  const time = date.toTimeString().slice(0, precise ? 8 : 5);
  return precise ? `${time}.${String(date.getMilliseconds()).padStart(3, "0")}` : time;
}

function hueOf(name) {
  let hash = 7;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  return (hash * 47) % 360;
}

function face(name) {
  const made = element("span", "face", [...name.trim()][0]?.toUpperCase() ?? "?");
  made.setAttribute("aria-hidden", "true");
  made.style.setProperty("--hue", hueOf(name));
  return made;
}

const nameOf = (member) => String(member.data?.name ?? member.userId ?? "someone");

/** Keeps a list scrolled to its end while `add` runs, if the reader was at its end. */
function keepingEnd(list, add) {
  const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60;
  add();
  if (atEnd) list.scrollTop = list.scrollHeight;
}

// ---------------------------------------------------------------------------------------------------------
// The page: messages

const messages = $("messages");
const shown = new Map(); // message id -> its element

function addToConversation(item) {
  keepingEnd(messages, () => {
    messages.append(item);
    while (messages.children.length > KEPT.messages) messages.firstElementChild.remove();
  });
}

function notice(text, kind = "") {
  addToConversation(element("li", `notice ${kind}`, element("span", "", text)));
}

function bubble(sender, body, own) {
  const name = element("b", "", own ? "you" : sender);
  name.style.setProperty("--hue", hueOf(sender));
  const item = element("li", "message fresh",
    face(sender),
    element("div", "who", name, element("span", "at")),
    element("div", "body", body));
  item.classList.toggle("own", own);
  return item;
}

function showMessage(message) {
  let item = shown.get(message.id);
  if (!item) {
    const { payload } = message;
    const chat = payload && typeof payload.text === "string" && typeof payload.name === "string";
    const sender = chat ? payload.name : String(message.userId ?? "published");
    const body = chat ? payload.text
      : payload instanceof Uint8Array ? `bytes, as base64: ${btoa(String.fromCharCode(...payload))}`
      : typeof payload === "string" ? payload
      : element("code", "", rawMember(message.text, "payload"));
    item = bubble(sender, body, false);
    shown.set(message.id, item);
  }
  item.classList.remove("pending");
  item.classList.toggle("recovered", message.offset !== undefined && message.offset <= channel.recoveredUpTo);
  const event = ["chat", "message"].includes(message.event) ? [] : [message.event];
  const place = message.offset === undefined ? [] : [`#${message.offset}`];
  item.querySelector(".at").textContent = [...event, clock(message.ts ?? Date.now()), ...place].join(" · ");
  // One's own message moves to the place that the channel gave it.
  addToConversation(item);
  showPosition();
}

function showOwn({ messageId, payload }) {
  const item = bubble(payload.name, payload.text, true);
  item.classList.add("pending");
  item.querySelector(".at").textContent = "sending…";
  shown.set(messageId, item);
  addToConversation(item);
  messages.scrollTop = messages.scrollHeight;
}

function acknowledged(messageId, { position }, took) {
  const item = shown.get(messageId);
  const place = position === undefined ? "" : `#${position.offset}`;
  if (item?.classList.contains("pending")) {
    item.classList.remove("pending");
    item.querySelector(".at").textContent = `${clock(Date.now())} · ${place || "sent"}`;
  }
  $("fact-ack").textContent = `${place && `${place} in `}${took.toFixed(1)} ms`;
}

function failed(messageId, error) {
  const item = shown.get(messageId);
  if (!item) return;
  item.classList.replace("pending", "failed");
  item.querySelector(".at").textContent = `not sent: ${describe(error)}`;
}

function clearConversation() {
  messages.replaceChildren();
  shown.clear();
}

// ---------------------------------------------------------------------------------------------------------
// The page: presence, facts, state

function showMembers() {
  const { state, connectionId } = client.status;
  const present = state === "connected" ? [...channel.room.presence.members.values()] : [];
  const members = present.sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  const list = $("members");
  const before = new Map([...list.children].map((item) => [item.dataset.key, item]));
  // Elements that stay are kept, so that only changes are announced and animated.
  list.replaceChildren(...members.map((member) => {
    const key = `${member.connectionId} ${nameOf(member)}`;
    const you = member.connectionId === connectionId;
    const item = before.get(key) ?? element("li", "member", face(nameOf(member)), element("span", "", nameOf(member)));
    item.dataset.key = key;
    if (you && !item.querySelector("em")) item.lastElementChild.append(element("em", "", " you"));
    item.title = `connection ${member.connectionId}`;
    return item;
  }));
  $("count").textContent = members.length;
}

function showPosition() {
  const { epoch, offset } = channel.room.position ?? {};
  $("fact-position").textContent = epoch === undefined ? "–" : `#${offset} in ${epoch.length > 10 ? `${epoch.slice(0, 9)}…` : epoch}`;
  $("fact-position").title = epoch === undefined ? "" : `epoch ${epoch}, offset ${offset}`;
}

let countdown = null;

function showState({ state, connectionId, retryAt, error }) {
  clearInterval(countdown);
  const shownAs = { connected: "on", connecting: "connecting", waiting: "waiting", failed: "refused" }[state] ?? "off";
  $("state").dataset.state = shownAs;
  if (state === "waiting") {
    const tick = () => {
      $("state-text").textContent = `offline, back in ${Math.max(0, Math.ceil((retryAt - Date.now()) / 1000))} s`;
    };
    tick();
    countdown = setInterval(tick, 250);
  } else {
    $("state-text").textContent =
      { connecting: "connecting…", connected: "connected", failed: `refused: ${describe(error ?? {})}` }[state] ?? "disconnected";
  }
  $("toggle").textContent = { connected: "Disconnect", connecting: "Disconnect", waiting: "Reconnect now" }[state] ?? "Connect";
  $("toggle").classList.toggle("quiet", state === "connected" || state === "connecting");
  $("drop").disabled = state !== "connected";
  $("send").disabled = shownAs === "off" || shownAs === "refused";
  $("fact-connection").textContent = connectionId ?? "–";
  $("fact-connection").title = connectionId ?? "";
  showMembers();
}

// ---------------------------------------------------------------------------------------------------------
// The page: frames

const frames = $("frames");
let paused = false;
let unseen = 0;

function showFrame(way, text, message) {
  const gist = [message.channel, message.code ?? message.event ?? message.action,
    message.offset === undefined ? null : `#${message.offset}`].filter(Boolean).join(" · ");
  addFrame(way, { in: "↓", out: "↑" }[way], message.type ?? "?", gist, text);
}

function addFrame(way, sign, kind, gist, text) {
  if (paused) {
    $("frames-note").textContent = `${++unseen} not shown`;
    return;
  }
  const mark = element("span", "way", sign);
  mark.setAttribute("aria-label", { in: "received", out: "sent" }[way] ?? "note");
  const summary = element("summary", "", mark, element("time", "", clock(Date.now(), true)),
    element("span", "kind", kind), element("span", "gist", gist));
  const details = element("details", "", summary);
  // Laid out when it is opened: most frames never are.
  details.addEventListener("toggle", () => {
    if (details.children.length > 1) return;
    const pre = element("pre", "");
    const cut = text.slice(0, 20_000);
    for (const [kindOf, token] of prettyTokens(cut)) pre.append(element("span", kindOf, token));
    if (cut.length < text.length) pre.append(`\n… ${text.length - cut.length} more characters`);
    details.append(pre);
    details.scrollIntoView({ block: "nearest" });
  });
  const item = element("li", `frame ${way}`, text === undefined ? summaryOnly(summary) : details);
  keepingEnd(frames, () => {
    frames.append(item);
    while (frames.children.length > KEPT.frames) frames.firstElementChild.remove();
  });
}

function summaryOnly(summary) {
  const row = element("div", "row");
  row.append(...summary.childNodes);
  return row;
}

$("pause").addEventListener("click", () => {
  paused = !paused;
  unseen = 0;
  $("pause").setAttribute("aria-pressed", paused);
  $("pause").textContent = paused ? "Resume" : "Pause";
  $("frames-note").textContent = paused ? "paused" : "";
});
$("clear").addEventListener("click", () => frames.replaceChildren());

// ---------------------------------------------------------------------------------------------------------
// Side by side: the same channel through the clients of other protocols, each as its vendor publishes it.

/** What each client does to hear `room` at `origin`, and to speak where it may. It returns how it is closed. */
const SIDES = {
  starling: {
    title: "@starling/client",
    open(origin, room, on) {
      const side = new clients.Client(origin, { transports: [clients.websocket()] });
      side.on("status", ({ state }) => state !== "connected" && on.state(state));
      const joined = side.channel(room);
      joined.onMessage(({ event, payload }) => on.message(event, payload));
      joined.subscribe().then(() => on.state("on"), (error) => on.state(describe(error)));
      return { close: () => side.close(), say: (payload) => joined.publish("chat", payload) };
    },
  },
  socketio: {
    title: "socket.io-client",
    client: clients.io,
    open(origin, room, on) {
      const side = clients.io(origin, { transports: ["websocket"], forceNew: true });
      side.on("connect", async () => {
        const answer = await side.emitWithAck("subscribe", room, {});
        on.state(answer.ok ? "on" : answer.error.code);
      });
      side.on("disconnect", (reason) => on.state(reason));
      side.on("connect_error", ({ message }) => on.state(message));
      side.onAny((event, payload, about) => about?.channel === room && on.message(event, payload));
      return { close: () => side.disconnect(), say: (payload) => side.emit("publish", room, "chat", payload) };
    },
  },
  phoenix: {
    title: "phoenix.js",
    client: clients.PhoenixSocket,
    open(origin, room, on) {
      const side = new clients.PhoenixSocket(`${origin.replace(/^http/, "ws")}/socket`);
      side.connect();
      const topic = side.channel(room);
      topic.onMessage = (event, payload) => {
        if (!/^(phx_|chan_reply_|presence_)/.test(event)) on.message(event, payload);
        return payload;
      };
      topic.onError(() => on.state("waiting"));
      topic.join().receive("ok", () => on.state("on")).receive("error", ({ reason }) => on.state(String(reason)));
      return { close: () => side.disconnect(), say: (payload) => topic.push("chat", payload) };
    },
  },
  pusher: {
    title: "pusher-js",
    client: clients.Pusher,
    open(origin, room, on) {
      const { protocol, hostname, port } = new URL(origin);
      const secure = protocol === "https:";
      const side = new clients.Pusher(CREDENTIALS.key, {
        cluster: "",
        wsHost: hostname,
        [secure ? "wssPort" : "wsPort"]: Number(port) || (secure ? 443 : 80),
        forceTLS: secure,
        enabledTransports: ["ws", "wss"],
      });
      side.connection.bind("state_change", ({ current }) => current !== "connected" && on.state(current));
      const subscribed = side.subscribe(room);
      subscribed.bind("pusher:subscription_succeeded", () => on.state("on"));
      subscribed.bind("pusher:subscription_error", ({ error }) => on.state(String(error)));
      subscribed.bind_global((event, payload) => event.startsWith("pusher:") || on.message(event, payload));
      // Pusher's clients speak on private and presence channels only.
      return { close: () => side.disconnect() };
    },
  },
  sse: {
    title: "EventSource",
    open(origin, room, on) {
      const side = new EventSource(`${origin}/sse?channel=${encodeURIComponent(room)}`);
      side.addEventListener("ready", () => on.state("on"));
      side.onmessage = ({ data }) => {
        const { event, payload } = JSON.parse(data);
        on.message(event, payload);
      };
      side.onerror = () => on.state("waiting");
      return { close: () => side.close() };
    },
  },
};

let sides = [];

function closeSides() {
  sides.forEach((side) => side.close());
  sides = [];
  $("sides").replaceChildren();
}

function openSides() {
  closeSides();
  for (const [name, { title, open }] of Object.entries(SIDES)) {
    // Left out where the client is not in this build.
    if ("client" in SIDES[name] && SIDES[name].client === undefined) continue;
    const state = element("span", "note", "connecting");
    const heard = element("ol", "heard");
    const column = element("li", "side", element("header", "", element("b", "", title), state), heard);
    Object.assign(column.dataset, { side: name, state: "connecting" });
    $("sides").append(column);
    const side = open(location.origin, channel.name, {
      state(now) {
        column.dataset.state = now;
        state.textContent = now === "on" ? "connected" : now;
      },
      message(event, payload) {
        const said = payload?.text ?? JSON.stringify(payload);
        const who = payload?.name ?? event;
        const item = element("li", "", element("b", "", `${who} `), String(said));
        keepingEnd(heard, () => {
          heard.append(item);
          while (heard.children.length > KEPT.heard) heard.firstElementChild.remove();
        });
      },
    });
    sides.push(side);
    if (!side.say) continue;
    const hello = element("button", "small quiet", "Say hello");
    hello.type = "button";
    hello.addEventListener("click", () => side.say({ name: title, text: `Hello from ${title}` }));
    column.append(hello);
  }
}

$("sides-toggle").addEventListener("click", () => {
  const opens = sides.length === 0;
  if (opens) openSides();
  else closeSides();
  $("sides-toggle").textContent = opens ? "Disconnect them" : "Connect them";
});

// ---------------------------------------------------------------------------------------------------------
// Wiring

client.on("status", showState);
client.on("error", (error) => notice(describe(error), "warn"));
client.on("drain", ({ reconnectIn }) => notice(`The server is restarting; back in ${(reconnectIn / 1000).toFixed(1)} s`, "warn"));

$("toggle").addEventListener("click", () => {
  const { state } = client.status;
  awayUntil = 0;
  if (state === "connected" || state === "connecting") client.close();
  else client.connect();
});

$("drop").addEventListener("click", () => {
  notice(`connection dropped for ${AWAY / 1000} s. What others say meanwhile will be recovered`);
  dropConnection();
});

$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || $("send").disabled) return;
  channel.publish(text);
  $("text").value = "";
});

$("join").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("channel").value.trim();
  const me = $("name").value.trim();
  if (!name || !me) return;
  sessionStorage.setItem("starling.name", me);
  if (name === channel.name) {
    if (me !== channel.me) channel.rename(me);
    else if (!channel.room.isSubscribed && client.status.state === "connected") channel.subscribe();
  } else {
    channel.leave();
    begin(name, me);
  }
  $("text").focus();
});
// Changing a name or a channel needs no button, only leaving the field.
for (const id of ["name", "channel"]) $(id).addEventListener("change", () => $("join").requestSubmit());

function begin(name, me) {
  channel.enter(name, me);
  clearConversation();
  showMembers();
  showPosition();
  if (!["closed", "failed"].includes(client.status.state)) channel.subscribe();
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  $("channel").value = name;
  $("name").value = me;
  $("twin").href = location.pathname + location.hash;
  $("ways-channel").textContent = name;
  if (sides.length > 0) openSides();
  document.title = `${name} · Starling, live`;
  showSnippet();
}

function freshName() {
  const pick = (words) => words[Math.floor(Math.random() * words.length)];
  return `${pick(["Quick", "Quiet", "Bright", "Dusky", "Early", "Merry", "Glossy", "Bold", "Gentle", "Restless"])} ${
    pick(["Robin", "Wren", "Lark", "Finch", "Heron", "Swift", "Plover", "Siskin", "Dunlin", "Jay", "Linnet", "Teal"])}`;
}

function hashChannel() {
  try {
    return decodeURIComponent(location.hash.slice(1));
  } catch {
    return "";
  }
}

window.addEventListener("hashchange", () => {
  const name = hashChannel();
  if (!name || name === channel.name) return;
  $("channel").value = name;
  $("join").requestSubmit();
});

// ---------------------------------------------------------------------------------------------------------
// Ways in

// `there`: what a snippet needs to know. Values are quoted for their language by `js`, `sh` and `py`.
const js = (value) => JSON.stringify(value);
const py = (value) => JSON.stringify(value);
const sh = (value) => `'${value.replaceAll("'", `'\\''`)}'`;

const SNIPPETS = {
  curl: {
    title: "curl",
    note: "Publish from any backend, in any language. The answer carries the message's id and offset.",
    runs: true,
    code: ({ http, room }) => `curl -u ${CREDENTIALS.key}:${CREDENTIALS.secret} ${http}/api/publish \\
  -H 'content-type: application/json' \\
  -d ${sh(JSON.stringify({ channel: room, event: "chat", payload: { name: "curl", text: "Hello from HTTP" } }))}`,
  },
  sdk: {
    title: "TypeScript",
    note: "@starling/client, on which this page runs: it reconnects, recovers what was missed, and delivers once.",
    code: ({ http, room }) => `import { Client } from "@starling/client";

const client = new Client(${js(http)});
const room = client.channel(${js(room)});
room.on("chat", ({ payload, offset }) => console.log(offset, payload));
await room.subscribe({ rewind: 10 });
await room.publish("chat", { name: "TypeScript", text: "Hello from the SDK" });`,
  },
  websocket: {
    title: "WebSocket",
    note: "Any WebSocket client speaks the native protocol: JSON in text frames.",
    code: ({ ws, room }) => `const socket = new WebSocket(${js(`${ws}/ws`)}, "starling.v1.json");
socket.onopen = () => {
  socket.send(JSON.stringify({ type: "subscribe", channel: ${js(room)}, rewind: 10, id: 1 }));
  socket.send(JSON.stringify({ type: "publish", channel: ${js(room)}, event: "chat",
    payload: { name: "console", text: "Hello from a WebSocket" }, id: 2 }));
};
socket.onmessage = (event) => console.log(JSON.parse(event.data));`,
  },
  cli: {
    title: "starling CLI",
    note: "One line of JSON per message; it reconnects and recovers. PAYLOAD can be - to read standard input.",
    code: ({ http, room }) => `starling subscribe ${sh(room)} --url ${http}

starling publish ${sh(room)} '{"name":"terminal","text":"Hello from the command line"}' \\
  --event chat --url ${http} --key ${CREDENTIALS.key} --secret ${CREDENTIALS.secret}`,
  },
  python: {
    title: "Python",
    note: "With the websockets package: pip install websockets",
    code: ({ ws, room }) => `import json
from websockets.sync.client import connect

with connect(${py(`${ws}/ws`)}, subprotocols=["starling.v1.json"]) as socket:
    socket.send(json.dumps({"type": "subscribe", "channel": ${py(room)}, "rewind": 10, "id": 1}))
    socket.send(json.dumps({"type": "publish", "channel": ${py(room)}, "event": "chat",
                            "payload": {"name": "Python", "text": "Hello from Python"}, "id": 2}))
    for text in socket:
        print(json.loads(text))`,
  },
  sse: {
    title: "EventSource",
    note: "Server-sent events: one way, through any proxy. The browser reconnects and resumes by itself.",
    code: ({ http, room }) => `const source = new EventSource(${js(`${http}/sse?channel=${encodeURIComponent(room)}`)});
source.addEventListener("ready", (event) => console.log("ready", JSON.parse(event.data)));
source.onmessage = (event) => console.log(JSON.parse(event.data));`,
  },
  poll: {
    title: "Long-polling",
    note: "For networks where nothing else gets through: ask, wait, ask again with the cursor of the answer.",
    code: ({ http, room }) => `url=${sh(`${http}/poll?channel=${encodeURIComponent(room)}`)}
cursor=$(curl -s "$url" | jq -r .cursor)
while answer=$(curl -s "$url&timeout=25&cursor=$cursor"); do
  echo "$answer" | jq -c '.messages[]'
  cursor=$(echo "$answer" | jq -r .cursor)
done`,
  },
  socketio: {
    title: "Socket.IO",
    note: "socket.io-client 4, unchanged: channels are rooms.",
    code: ({ http, room }) => `import { io } from "socket.io-client";

const socket = io(${js(http)});
socket.on("chat", (payload, { offset }) => console.log(offset, payload));
await socket.emitWithAck("subscribe", ${js(room)}, { rewind: 10 });
await socket.emitWithAck("publish", ${js(room)}, "chat", { name: "Socket.IO", text: "Hello from Socket.IO" });`,
  },
  phoenix: {
    title: "Phoenix",
    note: "phoenix.js, unchanged: channels are topics.",
    code: ({ ws, room }) => `import { Socket } from "phoenix";

const socket = new Socket(${js(`${ws}/socket`)});
socket.connect();
const topic = socket.channel(${js(room)});
topic.on("chat", (payload) => console.log(payload));
topic.join().receive("ok", () => topic.push("chat", { name: "Phoenix", text: "Hello from Phoenix" }));`,
  },
  pusher: {
    title: "Pusher",
    note: "pusher-js or Laravel Echo, unchanged: only the host is yours.",
    code: ({ host, port, secure, room }) => `import Pusher from "pusher-js";

const pusher = new Pusher(${js(CREDENTIALS.key)}, {
  cluster: "", wsHost: ${js(host)}, ${secure ? "wssPort" : "wsPort"}: ${port}, forceTLS: ${secure}, enabledTransports: ["ws", "wss"],
});
pusher.subscribe(${js(room)}).bind("chat", (data) => console.log(data));`,
  },
  ably: {
    title: "Ably",
    note: "ably-js, unchanged: only the host is yours.",
    code: ({ host, port, secure, room }) => `import * as Ably from "ably";

const client = new Ably.Realtime({
  key: ${js(`${CREDENTIALS.app}.${CREDENTIALS.key}:${CREDENTIALS.secret}`)}, realtimeHost: ${js(host)}, restHost: ${js(host)},
  ${secure ? "tlsPort" : "port"}: ${port}, tls: ${secure},${secure ? "" : " useTokenAuth: true, // ably-js sends no key in the clear"}
});
const room = client.channels.get(${js(room)});
await room.subscribe("chat", (message) => console.log(message.data));
await room.publish("chat", { name: "Ably", text: "Hello from Ably" });`,
  },
};

let way = WAYS_IN[0];

function showSnippet() {
  const secure = location.protocol === "https:";
  const snippet = SNIPPETS[way];
  $("snippet-note").textContent = snippet.note;
  $("snippet-code").textContent = snippet.code({
    room: channel.name,
    secure,
    host: location.hostname,
    port: Number(location.port) || (secure ? 443 : 80),
    http: location.origin,
    ws: location.origin.replace(/^http/, "ws"),
  });
  $("run").hidden = !snippet.runs;
  $("snippet-result").textContent = "";
  $("snippet").setAttribute("aria-labelledby", `tab-${way}`);
  for (const tab of $("tabs").children) {
    const selected = tab.id === `tab-${way}`;
    tab.setAttribute("aria-selected", selected);
    tab.tabIndex = selected ? 0 : -1;
  }
}

function choose(name) {
  way = name;
  showSnippet();
  return $(`tab-${name}`);
}

$("tabs").append(...WAYS_IN.map((name) => {
  const tab = element("button", "", SNIPPETS[name].title);
  Object.assign(tab, { type: "button", id: `tab-${name}` });
  tab.setAttribute("role", "tab");
  tab.setAttribute("aria-controls", "snippet");
  tab.addEventListener("click", () => choose(name));
  return tab;
}));

$("tabs").addEventListener("keydown", (event) => {
  const at = WAYS_IN.indexOf(way);
  const to = { ArrowRight: at + 1, ArrowLeft: at - 1, Home: 0, End: WAYS_IN.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  choose(WAYS_IN[(to + WAYS_IN.length) % WAYS_IN.length]).focus();
});

$("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText($("snippet-code").textContent);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy"; }, 1500);
  } catch {
    // No clipboard outside https and localhost: leave it selected for the keyboard.
    getSelection().selectAllChildren($("snippet-code"));
    $("snippet-result").textContent = "Selected; press Ctrl+C.";
  }
});

$("run").addEventListener("click", async () => {
  const result = $("snippet-result");
  try {
    const answer = await fetch(new URL("api/publish", location.href), {
      method: "POST",
      headers: {
        "content-type": "application/json",
        authorization: `Basic ${btoa(`${CREDENTIALS.key}:${CREDENTIALS.secret}`)}`,
      },
      body: JSON.stringify({ channel: channel.name, event: "chat", payload: { name: "curl", text: "Hello from HTTP" } }),
    });
    result.textContent = `HTTP ${answer.status} ${await answer.text()}`;
  } catch (error) {
    result.textContent = `It failed: ${error.message}`;
  }
});

begin(hashChannel() || "lobby", sessionStorage.getItem("starling.name") || freshName());
sessionStorage.setItem("starling.name", $("name").value);
client.connect();
