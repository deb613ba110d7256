// The live demo of `starling serve --dev`: a complete client of Starling's native protocol in one file,
// without dependencies. Top down: what is offered, the line to the server, the channel, the page.

/** The ways in that this server offers, in the order of the tabs. Every name has a snippet in `SNIPPETS`. */
const WAYS_IN = [
  "curl",
  "websocket",
  "cli",
  "python",
  "sse",
  "poll",
  // "socketio",
  // "phoenix",
  // "pusher",
  // "ably",
];

const CREDENTIALS = { app: "1", key: "dev-key", secret: "dev-secret" };
const SUBPROTOCOL = "starling.v1.json";
const REWIND = 50; // messages of history asked for on joining
const AWAY = 5000; // milliseconds that "Drop the connection" stays away
const RETRY = { first: 500, most: 10_000 }; // milliseconds between attempts to reconnect
const KEPT = { frames: 200, messages: 500 };

const CLOSE_MEANING = {
  1001: "the server is going away",
  1006: "the connection was lost",
  1009: "a message was too large",
  1011: "internal error",
  1012: "the server is restarting",
  4001: "authentication is required",
  4002: "the token has expired",
  4003: "access was refused",
  4008: "this client was too slow",
  4029: "too many refused messages",
};
const NO_RETURN = new Set([4001, 4002, 4003]);

const $ = (id) => document.getElementById(id);

// ---------------------------------------------------------------------------------------------------------
// The line: one WebSocket at a time, reconnecting. It knows frames and requests, and nothing of channels.

class Line {
  #socket = null;
  #wanted = false;
  #attempt = 0;
  #timer = null;
  #requests = new Map();
  #nextId = 1;
  #reconnectIn = null;
  state = "off";

  constructor(url, on) {
    this.url = url;
    this.on = on;
  }

  connect() {
    clearTimeout(this.#timer);
    if (this.#socket) return;
    this.#wanted = true;
    this.#become("connecting");
    const socket = new WebSocket(this.url, SUBPROTOCOL);
    this.#socket = socket;
    // A socket that was let go may still report; what it says no longer matters.
    const current = (act) => (event) => this.#socket === socket && act(event);
    socket.onopen = current(() => {
      this.#attempt = 0;
      this.#reconnectIn = null;
      this.#become("on");
      this.on.open();
    });
    socket.onmessage = current((event) => this.#receive(event.data));
    socket.onclose = current((event) => this.#closed(event));
  }

  /** Closes for good: the user asked. */
  disconnect() {
    this.#wanted = false;
    clearTimeout(this.#timer);
    this.#letGo()?.close(1000);
    this.#become("off");
  }

  /** Lets go of the socket without a word to the application, as a lost network would, and returns later. */
  drop(awayFor) {
    this.#letGo()?.close(4000, "dropped by the demo");
    this.on.note("dropped", `away for ${awayFor / 1000} s`);
    this.#retryIn(awayFor);
  }

  /** The server announced a restart: when its close comes, return after this many milliseconds. */
  expectRestart(reconnectIn) {
    this.#reconnectIn = reconnectIn;
  }

  send(message) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    const text = JSON.stringify(message);
    this.#socket.send(text);
    this.on.frame("out", text, message);
    return true;
  }

  /** Sends with an id; resolves with the `ack`, rejects with the `error`, or with `{code: "LOST"}`. */
  request(message) {
    const id = this.#nextId++;
    return new Promise((resolve, reject) => {
      if (!this.send({ ...message, id })) return reject({ code: "LOST", message: "not connected" });
      this.#requests.set(id, { resolve, reject });
    });
  }

  #receive(text) {
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return this.on.note("not JSON", String(text).slice(0, 200));
    }
    this.on.frame("in", text, message);
    const request = this.#requests.get(message.id);
    if (request && (message.type === "ack" || message.type === "error")) {
      this.#requests.delete(message.id);
      // Settled in this turn, so that an `ack` is seen before the messages that follow it.
      if (message.type === "ack") request.resolve(message);
      else request.reject(message);
    }
    // Handlers of the answer run as microtasks; what is received meanwhile waits for them in order.
    queueMicrotask(() => this.on.message(message, text, request !== undefined));
  }

  #closed(event) {
    this.#letGo();
    const meaning = event.reason || CLOSE_MEANING[event.code] || "closed";
    this.on.note(`closed ${event.code}`, meaning);
    if (!this.#wanted) return this.#become("off");
    if (NO_RETURN.has(event.code)) {
      this.#wanted = false;
      return this.#become("refused", meaning);
    }
    const backoff = Math.min(RETRY.most, RETRY.first * 2 ** this.#attempt++);
    this.#retryIn(this.#reconnectIn ?? backoff * (0.5 + Math.random() / 2));
  }

  #letGo() {
    const socket = this.#socket;
    this.#socket = null;
    for (const { reject } of this.#requests.values()) reject({ code: "LOST", message: "the connection was lost" });
    this.#requests.clear();
    return socket;
  }

  #retryIn(delay) {
    this.#become("waiting", Date.now() + delay);
    this.#timer = setTimeout(() => this.connect(), delay);
  }

  #become(state, detail) {
    this.state = state;
    this.on.state(state, detail);
  }
}

// ---------------------------------------------------------------------------------------------------------
// The channel: joining, the position for recovery, presence, publishing with a second try after a loss.

class Channel {
  name = "";
  joined = false;
  epoch = null;
  offset = 0;
  recoveredUpTo = 0;
  members = new Map();
  outgoing = new Map(); // messageId -> the publish that is not acknowledged yet

  constructor(line, on) {
    this.line = line;
    this.on = on;
  }

  enter(name, me) {
    Object.assign(this, { name, me, joined: false, epoch: null, offset: 0, recoveredUpTo: 0 });
    this.members.clear();
    this.outgoing.clear();
  }

  async subscribe() {
    const { name, epoch, offset } = this;
    const message = { type: "subscribe", channel: name, presence: true, data: { name: this.me } };
    if (epoch === null) message.rewind = REWIND;
    else message.recover = { epoch, offset };
    try {
      const ack = await this.line.request(message);
      if (name !== this.name) return;
      this.joined = true;
      if (epoch !== null && ack.recovered === true) {
        this.recoveredUpTo = ack.offset;
        this.on.recovered(ack.offset - offset);
      } else {
        if (epoch !== null) this.on.notRecovered();
        this.epoch = ack.epoch ?? null;
        this.offset = epoch === null ? 0 : (ack.offset ?? 0);
        this.on.joined(ack);
      }
      for (const publish of this.outgoing.values()) this.#send(publish);
    } catch (error) {
      if (error.code !== "LOST" && name === this.name) this.on.refused(error);
    }
  }

  leave() {
    if (this.joined) this.line.request({ type: "unsubscribe", channel: this.name }).catch(() => {});
    this.joined = false;
  }

  rename(me) {
    this.me = me;
    if (!this.joined) return;
    const update = { type: "presence", channel: this.name, action: "update", data: { name: me } };
    this.line.request(update).catch((error) => error.code !== "LOST" && this.on.refused(error));
  }

  publish(text) {
    const messageId = randomId();
    const publish = { type: "publish", channel: this.name, event: "chat", payload: { name: this.me, text }, messageId };
    this.outgoing.set(messageId, publish);
    this.#send(publish);
    return publish;
  }

  async #send(publish) {
    const started = performance.now();
    try {
      const ack = await this.line.request(publish);
      this.outgoing.delete(publish.messageId);
      this.on.acknowledged(publish.messageId, ack, performance.now() - started);
    } catch (error) {
      // Lost before its answer: it goes again after the reconnect, under the same messageId, and counts once.
      if (error.code === "LOST") return;
      this.outgoing.delete(publish.messageId);
      this.on.failed(publish.messageId, error);
    }
  }

  /** Takes a message of this channel; false if it was seen before. */
  take(message) {
    if (message.offset === undefined) return true;
    if (message.epoch !== undefined && message.epoch !== this.epoch) {
      this.epoch = message.epoch;
      this.offset = 0;
    }
    if (message.offset <= this.offset) return false;
    this.offset = message.offset;
    return true;
  }

  setMembers(members) {
    this.members = new Map(members.map((member) => [member.connectionId, member]));
    this.on.members();
  }

  changeMembers({ joins = [], leaves = [] }) {
    for (const member of leaves) this.members.delete(member.connectionId);
    for (const member of joins) this.members.set(member.connectionId, member);
    this.on.members();
  }
}

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
let connectionId = null;

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

function showMessage(message, text) {
  if (message.channel !== channel.name || !channel.take(message)) return;
  let item = shown.get(message.id);
  if (!item) {
    const { payload } = message;
    const chat = payload && typeof payload.text === "string" && typeof payload.name === "string";
    const sender = chat ? payload.name : String(message.userId ?? "published");
    const body = chat ? payload.text
      : typeof payload === "string" ? (message.encoding === "base64" ? `bytes, as base64: ${payload}` : payload)
      : element("code", "", rawMember(text, "payload"));
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

function clearConversation() {
  messages.replaceChildren();
  shown.clear();
}

// ---------------------------------------------------------------------------------------------------------
// The page: presence, facts, state

function showMembers() {
  const members = [...channel.members.values()].sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
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
  const { epoch, offset } = channel;
  $("fact-position").textContent = epoch === null ? "–" : `#${offset} in ${epoch.length > 10 ? `${epoch.slice(0, 9)}…` : epoch}`;
  $("fact-position").title = epoch === null ? "" : `epoch ${epoch}, offset ${offset}`;
}

let countdown = null;

function showState(state, detail) {
  clearInterval(countdown);
  const text = { off: "disconnected", connecting: "connecting…", on: "connected", refused: `refused: ${detail}` }[state];
  $("state").dataset.state = state;
  if (state === "waiting") {
    const tick = () => {
      $("state-text").textContent = `offline, back in ${Math.max(0, Math.ceil((detail - Date.now()) / 1000))} s`;
    };
    tick();
    countdown = setInterval(tick, 250);
  } else $("state-text").textContent = text;
  $("toggle").textContent = { off: "Connect", refused: "Connect", waiting: "Reconnect now" }[state] ?? "Disconnect";
  $("toggle").classList.toggle("quiet", state === "on" || state === "connecting");
  $("drop").disabled = state !== "on";
  $("send").disabled = state === "off" || state === "refused";
  if (state !== "on" && state !== "connecting") {
    channel.joined = false;
    channel.members.clear();
    showMembers();
    connectionId = null;
    $("fact-connection").textContent = "–";
  }
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
// Wiring

const wsUrl = new URL("ws", location.href.replace(/^http/, "ws"));
wsUrl.hash = "";
wsUrl.search = "";

const line = new Line(wsUrl.href, {
  state: showState,
  frame: showFrame,
  note: (kind, gist) => addFrame("note-frame", "•", kind, gist),
  open() {
    line.send({ type: "auth" }); // anonymous; the answer carries the connection id
    channel.subscribe();
  },
  message(message, text, answered) {
    switch (message.type) {
      case "auth_ack":
        connectionId = message.connectionId;
        $("fact-connection").textContent = connectionId;
        $("fact-connection").title = connectionId;
        return showMembers();
      case "message":
        return showMessage(message, text);
      case "presence_state":
        return message.channel === channel.name && channel.setMembers(message.members);
      case "presence_diff":
        return message.channel === channel.name && channel.changeMembers(message);
      case "gap":
        return message.channel === channel.name && notice(`${message.missed} messages were left out: this client was too slow`, "warn");
      case "unsubscribed":
        if (message.channel !== channel.name) return;
        channel.joined = false;
        return notice(`The server ended the subscription: ${message.message} (${message.code})`, "warn");
      case "drain":
        line.expectRestart(message.reconnectIn);
        return notice(`The server is restarting; back in ${(message.reconnectIn / 1000).toFixed(1)} s`, "warn");
      case "error":
        return answered || notice(`${message.code}: ${message.message}`, "warn");
    }
  },
});

const channel = new Channel(line, {
  joined(ack) {
    $("fact-position").textContent = "–";
    if (ack.offset === 0) notice(`No messages in ${channel.name} yet`);
    showPosition();
  },
  recovered(count) {
    notice(count === 0 ? "reconnected, nothing was missed" : `recovered ${count} message${count === 1 ? "" : "s"}`, "good");
  },
  notRecovered: () => notice("Reconnected, but the channel's history was lost or restarted: messages may be missing here", "warn"),
  refused: (error) => notice(`${error.code}: ${error.message}`, "warn"),
  acknowledged(messageId, ack, took) {
    const item = shown.get(messageId);
    if (item?.classList.contains("pending")) {
      item.classList.remove("pending");
      item.querySelector(".at").textContent = clock(Date.now()) + (ack.offset === undefined ? " · sent" : ` · #${ack.offset}`);
    }
    $("fact-ack").textContent = `${ack.offset === undefined ? "" : `#${ack.offset} in `}${took.toFixed(1)} ms`;
  },
  failed(messageId, error) {
    const item = shown.get(messageId);
    if (!item) return;
    item.classList.replace("pending", "failed");
    item.querySelector(".at").textContent = `not sent: ${error.message} (${error.code})`;
  },
  members: showMembers,
});

$("toggle").addEventListener("click", () => {
  if (line.state === "on" || line.state === "connecting") line.disconnect();
  else line.connect();
});

$("drop").addEventListener("click", () => {
  notice(`connection dropped; back in ${AWAY / 1000} s. What others say meanwhile will be recovered`);
  line.drop(AWAY);
});

window.addEventListener("online", () => line.state === "waiting" && line.connect());

$("compose").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text || $("send").disabled) return;
  showOwn(channel.publish(text));
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
    else if (!channel.joined && line.state === "on") channel.subscribe();
  } else {
    channel.leave();
    begin(name, me);
    if (line.state === "on") channel.subscribe();
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
  history.replaceState(null, "", `#${encodeURIComponent(name)}`);
  $("channel").value = name;
  $("name").value = me;
  $("twin").href = location.pathname + location.hash;
  $("ways-channel").textContent = name;
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
line.connect();
