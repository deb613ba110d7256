Object.defineProperty(exports, Symbol.toStringTag, { value: "Module" });
const require_core = require("./core-IlvZitjS.cjs");
//#region src/transport/http.ts
/**
* What SSE and long-polling share: messages to the server by `POST /send`, one after the other, and the order between
* the answers to those and what comes down meanwhile.
*/
/** How long the server may take to answer a message (milliseconds). */
const SEND_TIMEOUT = 2e4;
/** A link that comes down over HTTP; the subclass receives, this class sends. */
var HttpLink = class {
	needsPings = false;
	request;
	#events;
	#abort = new AbortController();
	#token;
	#connectionId;
	#posts = Promise.resolve();
	/** Channels that are being subscribed to, with what came for them before the server's answer did. */
	#held = /* @__PURE__ */ new Map();
	#done = false;
	/** The last error that came down: why the server is about to end the session. */
	#complaint;
	constructor(request, events) {
		this.request = request;
		this.#events = events;
		this.#token = request.token;
		queueMicrotask(() => this.receiving().catch((error) => this.lost(error)));
	}
	get isDone() {
		return this.#done;
	}
	heard() {
		if (!this.#done) this.#events.heard();
	}
	/** The server agreed. Said again, it must be the same session: another one knows nothing of our subscriptions. */
	opened(connectionId) {
		if (this.#done || this.#connectionId === connectionId) return;
		if (typeof connectionId !== "string") throw new require_core.StarlingError("PROTOCOL", "no connectionId");
		if (this.#connectionId !== void 0) throw new require_core.StarlingError("CONNECTION_LOST", "the session is gone");
		this.#connectionId = connectionId;
		const welcome = {
			type: "auth_ack",
			connectionId
		};
		this.#events.opened(welcome);
	}
	/** Something came down. */
	receive(value) {
		const message = require_core.readServerMessage(value);
		if (!message || this.#done) return;
		if (message.type === "error") this.#complaint = new require_core.StarlingError(message.code, message.message);
		const held = "channel" in message && message.channel !== void 0 && this.#held.get(message.channel);
		if (held) held.push(message);
		else this.#events.receive(message);
	}
	/** A GET of `path`, refused ones thrown. */
	async get(path, headers, timeout) {
		return this.#fetch(new URL(path, this.request.base), {
			headers,
			cache: "no-store"
		}, timeout);
	}
	send(message) {
		const { type } = message;
		if (type === "subscribe") this.#held.set(message.channel, []);
		this.#posts = this.#posts.then(() => this.#post(message)).catch((error) => this.lost(error));
	}
	renew(token) {
		this.#token = token;
		this.send({
			type: "auth",
			token
		});
	}
	ping() {
		this.send({ type: "ping" });
	}
	close() {
		this.#done = true;
		this.#abort.abort();
	}
	lost(error) {
		if (this.#done) return;
		this.close();
		const known = error instanceof require_core.StarlingError ? error : new require_core.StarlingError("CONNECTION_LOST", String(error));
		this.#events.lost({ error: known.code === "CONNECTION_LOST" ? this.#complaint ?? known : known });
	}
	async #post(message) {
		if (this.#done) return;
		const url = new URL("send", this.request.base);
		if (this.#connectionId !== void 0) url.searchParams.set("connectionId", this.#connectionId);
		const init = {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: require_core.json.encode(message)
		};
		const response = await this.#fetch(url, init, SEND_TIMEOUT, true);
		const answer = require_core.json.decode(await response.text());
		this.heard();
		if (message.type !== "auth" || !require_core.isFields(answer) || answer.type !== "auth_ack") this.#answered(message, answer);
	}
	#answered(message, answer) {
		const read = require_core.readServerMessage(answer);
		if (read?.type === "error" && read.code === "FORBIDDEN" && read.channel === void 0 && "channel" in message && message.type !== "event") throw new require_core.StarlingError("CONNECTION_LOST", read.message);
		if (read && !this.#done) this.#events.receive(read);
		if (message.type !== "subscribe") return;
		const held = this.#held.get(message.channel) ?? [];
		this.#held.delete(message.channel);
		for (const late of held) if (!this.#done) this.#events.receive(late);
	}
	async #fetch(url, init, timeout, readsErrors = false) {
		const { fetch, setTimeout, clearTimeout } = this.request.environment;
		if (!fetch) throw new require_core.StarlingError("CONNECTION_LOST", "no fetch");
		const headers = new Headers(init.headers);
		if (this.#token !== void 0) headers.set("authorization", `Bearer ${this.#token}`);
		const late = () => this.lost(new require_core.StarlingError("CONNECTION_LOST", `no answer in ${timeout} ms`));
		const timer = timeout === void 0 ? void 0 : setTimeout(late, timeout);
		try {
			const response = await fetch(url, {
				...init,
				headers,
				signal: this.#abort.signal
			});
			const isJson = response.headers.get("content-type")?.startsWith("application/json");
			if (response.ok || readsErrors && isJson && response.status !== 401) return response;
			throw await refusal(response);
		} finally {
			if (timer !== void 0) clearTimeout(timer);
		}
	}
};
/** Why the server did not answer as it should. */
async function refusal(response) {
	const text = await response.text();
	let code = {
		401: "TOKEN_INVALID",
		403: "FORBIDDEN",
		429: "RATE_LIMITED"
	}[response.status] ?? "CONNECTION_LOST";
	let message = `HTTP ${response.status}`;
	try {
		const body = JSON.parse(text);
		const error = require_core.isFields(body) && require_core.isFields(body.error) ? body.error : body;
		if (require_core.isFields(error) && typeof error.code === "string" && response.status < 500) {
			code = error.code;
			message = `${message}: ${error.message}`;
		}
	} catch {}
	return new require_core.StarlingError(code, message);
}
//#endregion
//#region src/transport/poll.ts
/** Long-polling on `/poll`, for networks that let no stream through. */
/** How long the server holds a request that has nothing to answer yet (seconds). */
const HOLD = 25;
/** How much longer its answer may take (milliseconds). */
const SLACK = 1e4;
/** Long-polling on `/poll`, with `POST /send` for the way up. Always JSON. */
function poll() {
	return {
		name: "poll",
		isSupported: ({ fetch }) => fetch !== void 0,
		open: (request, events) => new PollLink(request, events)
	};
}
var PollLink = class extends HttpLink {
	async receiving() {
		for (let cursor = await this.#poll(); !this.isDone;) cursor = await this.#poll(cursor);
	}
	/** Returns where to go on. */
	async #poll(cursor) {
		const query = cursor === void 0 ? "" : `?cursor=${encodeURIComponent(cursor)}&timeout=${HOLD}`;
		const response = await this.get(`poll${query}`, {}, HOLD * 1e3 + SLACK);
		const answer = require_core.json.decode(await response.text());
		this.heard();
		if (!require_core.isFields(answer) || typeof answer.cursor !== "string" || !Array.isArray(answer.messages)) throw new require_core.StarlingError("PROTOCOL", "not the answer to a poll");
		this.opened(answer.connectionId);
		for (const message of answer.messages) this.receive(message);
		return answer.cursor;
	}
};
//#endregion
//#region src/transport/events.ts
/** Takes the text of a stream in pieces of any size. `id` and `retry` are not looked at. */
var EventReader = class {
	#rest = "";
	#event = "";
	#data = [];
	/** The events that end in this piece. */
	*read(text) {
		const all = this.#rest + text;
		const complete = all.endsWith("\r") ? all.slice(0, -1) : all;
		const lines = complete.split(/\r\n|\n|\r/);
		this.#rest = (lines.pop() ?? "") + all.slice(complete.length);
		for (const line of lines) {
			const event = this.#line(line);
			if (event) yield event;
		}
	}
	#line(line) {
		if (line === "") {
			const event = {
				event: this.#event || "message",
				data: this.#data.join("\n")
			};
			const isEmpty = this.#data.length === 0;
			this.#event = "";
			this.#data = [];
			return isEmpty ? void 0 : event;
		}
		const colon = line.indexOf(":");
		const name = colon < 0 ? line : line.slice(0, colon);
		const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
		if (name === "event") this.#event = value;
		else if (name === "data") this.#data.push(value);
	}
};
//#endregion
//#region src/transport/sse.ts
/** Server-sent events on `/sse` by `fetch`, which unlike `EventSource` can carry a token in a header. */
/** How long nothing may come before the stream is taken for dead (milliseconds); the server sends a comment every 15 s. */
const SILENCE = 25e3;
/** SSE on `/sse`, with `POST /send` for the way up. Always JSON. */
function sse() {
	return {
		name: "sse",
		isSupported: ({ fetch }) => fetch !== void 0 && typeof TextDecoderStream !== "undefined",
		open: (request, events) => new SseLink(request, events)
	};
}
var SseLink = class extends HttpLink {
	#silence = new require_core.Alarm(this.request.environment);
	async receiving() {
		const response = await this.get("sse", { accept: "text/event-stream" });
		if (!response.headers.get("content-type")?.startsWith("text/event-stream") || !response.body) throw new require_core.StarlingError("PROTOCOL", "not an event stream");
		const pieces = response.body.pipeThrough(new TextDecoderStream()).getReader();
		const reader = new EventReader();
		while (!this.isDone) {
			this.#silence.set(SILENCE, () => this.lost(new require_core.StarlingError("CONNECTION_LOST", "no sign of life")));
			const { done, value } = await pieces.read();
			if (done) throw new require_core.StarlingError("CONNECTION_LOST", "the stream ended");
			this.heard();
			for (const event of reader.read(value)) this.#event(event);
		}
	}
	close() {
		this.#silence.clear();
		super.close();
	}
	#event({ event, data }) {
		const value = require_core.json.decode(data);
		if (event === "ready" && require_core.isFields(value)) this.opened(value.connectionId);
		else this.receive(require_core.isFields(value) && event !== "message" ? {
			type: event,
			...value
		} : value);
	}
};
//#endregion
//#region src/index.ts
/**
* Realtime messages from a Starling server.
*
* @packageDocumentation
*/
/** A client that falls back to SSE, then to long-polling, where WebSocket does not work. Does nothing until it is used. */
var Client = class extends require_core.Client {
	/**
	* @param url - the server's address without `/ws`: `https://example.com`, also with `wss:` or a path before it
	* @throws TypeError - it is no such address
	*/
	constructor(url, options = {}) {
		super(url, {
			...options,
			transports: options.transports ?? [
				require_core.websocket(),
				sse(),
				poll()
			]
		});
	}
};
//#endregion
exports.Backoff = require_core.Backoff;
exports.Channel = require_core.Channel;
exports.Client = Client;
exports.Presence = require_core.Presence;
exports.StarlingError = require_core.StarlingError;
exports.json = require_core.json;
exports.poll = poll;
exports.sse = sse;
exports.websocket = require_core.websocket;

//# sourceMappingURL=index.cjs.map