//#region src/emitter.ts
/** Calls listeners; what one of them throws reaches the platform's handler of uncaught errors, and nobody else. */
var Emitter = class {
	#listeners = /* @__PURE__ */ new Map();
	on(name, listener) {
		const listeners = this.#listeners.get(name) ?? /* @__PURE__ */ new Set();
		this.#listeners.set(name, listeners);
		const entry = (event) => listener(event);
		listeners.add(entry);
		return () => {
			listeners.delete(entry);
			if (listeners.size === 0 && this.#listeners.get(name) === listeners) this.#listeners.delete(name);
		};
	}
	/** Returns whether anybody listened. */
	emit(name, event) {
		const listeners = this.#listeners.get(name);
		for (const listener of [...listeners ?? []]) try {
			listener(event);
		} catch (error) {
			queueMicrotask(() => {
				throw error;
			});
		}
		return listeners !== void 0;
	}
};
//#endregion
//#region src/errors.ts
/** Every error that the client rejects or reports. */
var StarlingError = class extends Error {
	name = "StarlingError";
	constructor(code, message = code, options) {
		super(message, options);
		this.code = code;
	}
};
/** Whether the same request may be granted a little later. */
function isTransient({ code }) {
	return [
		"RATE_LIMITED",
		"HOOK_FAILED",
		"ENGINE_UNAVAILABLE",
		"INTERNAL"
	].includes(code);
}
/** Whether it says that the token is no good. */
function isRefusal({ code }) {
	return [
		"AUTH_REQUIRED",
		"TOKEN_INVALID",
		"TOKEN_EXPIRED",
		"FORBIDDEN"
	].includes(code);
}
/** The error that a close code of the native protocol stands for. */
function closeError(code, reason) {
	return new StarlingError({
		1003: "INVALID_MESSAGE",
		1007: "INVALID_MESSAGE",
		1009: "PAYLOAD_TOO_LARGE",
		4001: "AUTH_REQUIRED",
		4002: "TOKEN_EXPIRED",
		4003: "FORBIDDEN",
		4008: "SLOW_CONSUMER",
		4029: "RATE_LIMITED"
	}[code] ?? "CONNECTION_LOST", `closed with ${code}${reason && `: ${reason}`}`);
}
//#endregion
//#region src/messages.ts
/** Messages as an async iterator. */
/** Collects from the moment it is made until it ends; then gives what is left. */
var MessageQueue = class {
	#limit;
	#items = [];
	#waiting = [];
	#end;
	#release = [];
	constructor({ limit = 1e3, signal }) {
		this.#limit = limit;
		const abort = () => this.end();
		signal?.addEventListener("abort", abort);
		this.#release.push(() => signal?.removeEventListener("abort", abort));
		if (signal?.aborted) this.end();
	}
	/** Calls `release` when it ends. */
	onEnd(release) {
		if (this.#end) release();
		else this.#release.push(release);
	}
	push(item) {
		if (this.#end) return;
		const waiting = this.#waiting.shift();
		if (waiting) waiting.resolve({
			done: false,
			value: item
		});
		else if (this.#items.push(item) > this.#limit) this.end(new StarlingError("OVERFLOW", `more than ${this.#limit} messages wait for a loop`));
	}
	end(error) {
		if (this.#end) return;
		this.#end = error ? { error } : {};
		for (const release of this.#release) release();
		for (const { resolve } of this.#waiting) resolve({
			done: true,
			value: void 0
		});
		this.#waiting = [];
	}
	next() {
		const item = this.#items.shift();
		if (item) return Promise.resolve({
			done: false,
			value: item
		});
		if (!this.#end) return new Promise((resolve, reject) => this.#waiting.push({
			resolve,
			reject
		}));
		const { error } = this.#end;
		this.#end = {};
		return error ? Promise.reject(error) : Promise.resolve({
			done: true,
			value: void 0
		});
	}
	return() {
		this.end();
		this.#items = [];
		return Promise.resolve({
			done: true,
			value: void 0
		});
	}
	[Symbol.asyncIterator]() {
		return this;
	}
};
//#endregion
//#region src/presence.ts
/** The presence of one channel. */
var Presence = class {
	#channel;
	#requests;
	#members = /* @__PURE__ */ new Map();
	#changes = new Emitter();
	#own;
	#isLive = false;
	/** @internal */
	constructor(channel, requests) {
		this.#channel = channel;
		this.#requests = requests;
	}
	/**
	* Who is there, by connection id: a live set where the channel is subscribed with `presence: true`, empty otherwise.
	* While offline it is the last that was known; what changed meanwhile comes as one change afterwards.
	*/
	get members() {
		return this.#members;
	}
	/** Whether the server keeps the set up to date at the moment. */
	get isLive() {
		return this.#isLive;
	}
	/** Calls `listener` after each change of {@link members}. */
	onChange(listener) {
		return this.#changes.on("change", listener);
	}
	/** Enters the channel, which must be subscribed; also again after a reconnect. `data` defaults to the token's `info`. */
	async enter(data, options) {
		await this.#request("enter", options, data);
		this.#own = { data };
	}
	/** Changes what is shown of this connection. */
	async update(data, options) {
		await this.#request("update", options, data);
		this.#own = { data };
	}
	/** Leaves the presence, not the channel. */
	async leave(options) {
		this.#own = void 0;
		await this.#request("leave", options);
	}
	/** Asks the server who is there now; no subscription is needed. */
	async get(options) {
		return (await this.#request("get", options)).members;
	}
	#request(action, options, data) {
		return this.#requests.request({
			type: "presence",
			channel: this.#channel,
			action,
			data
		}, "again", options);
	}
	/** @internal What was entered, to be entered again with a new subscription. */
	get own() {
		return this.#own;
	}
	/** @internal Entered by subscribing with data. */
	entered(data) {
		this.#own = data === void 0 ? void 0 : { data };
	}
	/** @internal The whole set, after subscribing. */
	replace(members) {
		this.#isLive = true;
		const there = new Set(members.map(({ connectionId }) => connectionId));
		const leaves = [...this.#members.values()].filter(({ connectionId }) => !there.has(connectionId));
		const isNew = ({ connectionId, data }) => JSON.stringify(this.#members.get(connectionId)?.data) !== JSON.stringify(data);
		this.apply(members.filter(isNew), leaves);
	}
	/** @internal */
	apply(joins, leaves) {
		for (const { connectionId } of leaves) this.#members.delete(connectionId);
		for (const member of joins) this.#members.set(member.connectionId, member);
		if (joins.length > 0 || leaves.length > 0) this.#changes.emit("change", {
			joins,
			leaves
		});
	}
	/** @internal The server does not tell of changes any more. */
	pause() {
		this.#isLive = false;
	}
	/** @internal The subscription ended. */
	clear() {
		this.#isLive = false;
		this.#own = void 0;
		this.apply([], [...this.#members.values()]);
	}
};
//#endregion
//#region src/protocol.ts
/** The messages of the native protocol, and how those of the server are checked. */
/** The position of what has one. */
function positionOf({ epoch, offset }) {
	return epoch === void 0 || offset === void 0 ? void 0 : {
		epoch,
		offset
	};
}
/** Whether a value is an object, not an array. */
function isFields(value) {
	return typeof value === "object" && value !== null && !Array.isArray(value);
}
const string = (value) => typeof value === "string";
const count = (value) => typeof value === "number" && Number.isSafeInteger(value) && value >= 0;
const members = (value) => Array.isArray(value) && value.every((member) => isFields(member) && string(member.connectionId));
const optional = (check) => (value) => value === void 0 || check(value);
const position = {
	epoch: optional(string),
	offset: optional(count)
};
/** What must hold of each message, by type. Further fields are let through, for servers to come. */
const SHAPES = {
	ack: {
		...position,
		members: optional(members),
		messages: optional(Array.isArray)
	},
	auth_ack: {
		connectionId: string,
		expiresAt: optional(count)
	},
	error: { code: string },
	message: {
		channel: string,
		event: string,
		id: string,
		...position
	},
	presence_state: {
		channel: string,
		members
	},
	presence_diff: {
		channel: string,
		joins: members,
		leaves: members
	},
	gap: {
		channel: string,
		missed: count
	},
	unsubscribed: {
		channel: string,
		code: string
	},
	subscribed: {
		channel: string,
		...position
	},
	drain: { reconnectIn: count },
	pong: {}
};
/**
* The message that a decoded value is; `undefined` for a type that this client does not know, which is no error.
*
* @throws {@link StarlingError} `PROTOCOL`: it is none, or has not the fields of its type. The connection cannot be
* trusted any more.
*/
function readServerMessage(value) {
	if (!isFields(value) || typeof value.type !== "string") throw new StarlingError("PROTOCOL", "not a message");
	const shape = Object.hasOwn(SHAPES, value.type) && SHAPES[value.type];
	if (!shape) return void 0;
	for (const name in shape) if (!shape[name]?.(value[name])) throw new StarlingError("PROTOCOL", `${value.type} with a bad ${name}`);
	return value;
}
//#endregion
//#region src/environment.ts
/** The platform's own environment, with what `given` replaces. */
function environment(given = {}) {
	const platform = globalThis;
	return {
		now: () => Date.now(),
		random: () => Math.random(),
		setTimeout: (task, delay) => setTimeout(task, delay),
		clearTimeout: (timer) => clearTimeout(timer),
		WebSocket: platform.WebSocket,
		fetch: globalThis.fetch?.bind(globalThis),
		network: platform.window,
		page: platform.document,
		...given
	};
}
/** The longest delay that timers of JavaScript keep (milliseconds); longer ones fire at once. */
const LONGEST_DELAY = 2 ** 31 - 1;
/** One timer: set again, it forgets what it was set to. */
var Alarm = class {
	#environment;
	#timer;
	constructor(environment) {
		this.#environment = environment;
	}
	/** Calls `task` after `delay` milliseconds. */
	set(delay, task) {
		this.clear();
		const run = () => {
			this.#timer = void 0;
			task();
		};
		this.#timer = this.#environment.setTimeout(run, Math.min(Math.max(delay, 0), LONGEST_DELAY));
	}
	/** Forgets the task. */
	clear() {
		if (this.#timer !== void 0) this.#environment.clearTimeout(this.#timer);
		this.#timer = void 0;
	}
};
//#endregion
//#region src/deadline.ts
/** Until when somebody waits for something. */
/** Calls `giveUp` once, with `TIMEOUT` or the signal's reason, unless it is cleared before. Never at once. */
var Deadline = class {
	#alarm;
	#signal;
	#abort;
	constructor(environment, { timeout = 0, signal }, what, giveUp) {
		this.#alarm = new Alarm(environment);
		this.#signal = signal;
		this.#abort = () => giveUp(signal?.reason);
		signal?.addEventListener("abort", this.#abort);
		if (signal?.aborted) this.#alarm.set(0, this.#abort);
		else if (timeout > 0) this.#alarm.set(timeout, () => giveUp(new StarlingError("TIMEOUT", `${what}: no answer in ${timeout} ms`)));
	}
	clear() {
		this.#alarm.clear();
		this.#signal?.removeEventListener("abort", this.#abort);
	}
};
//#endregion
//#region src/log.ts
/** How far a channel was read: which messages are new, and which are missing. */
/** Messages that are remembered by id: where there are no offsets to tell repeats by, and own ones without echo. */
const REMEMBERED = 128;
var Log = class {
	/** The last message that was read, or where to begin. */
	position;
	/** Own messages that are not to come back. */
	silent = new Silent();
	/** Whether the next message has to be the one behind the position. */
	#isExact = false;
	#ids = /* @__PURE__ */ new Set();
	/** Begins behind `position`, or up to `rewind` messages before it. */
	start(position, rewind = 0) {
		this.position = position && {
			epoch: position.epoch,
			offset: Math.max(0, position.offset - rewind)
		};
		this.#isExact = rewind === 0;
	}
	/** Messages will be missing that the server told of. */
	skip() {
		this.#isExact = false;
	}
	read(message) {
		const { id } = message;
		const position = positionOf(message);
		if (!position) {
			const isNew = !this.#ids.has(id);
			remember(this.#ids, id);
			return {
				isNew,
				missed: 0
			};
		}
		const { epoch, offset } = position;
		const last = epoch === this.position?.epoch ? this.position.offset : 0;
		if (offset <= last) return {
			isNew: false,
			missed: 0
		};
		const isExact = this.#isExact && this.position !== void 0;
		const absent = offset - last - 1 - this.silent.between(last, offset);
		this.position = position;
		this.#isExact = true;
		return {
			isNew: !this.silent.has(id),
			missed: isExact ? Math.max(0, absent) : 0
		};
	}
};
/**
* Own messages published with `echo: false`: the server leaves them out while this connection lasts, which is no gap,
* and sends them with a recovery on another one, where they are left out here.
*/
var Silent = class {
	#ids = /* @__PURE__ */ new Set();
	#offsets = /* @__PURE__ */ new Set();
	#unacknowledged = 0;
	published(messageId) {
		remember(this.#ids, messageId);
		this.#unacknowledged++;
	}
	/** It was acknowledged, or given up. */
	settled(ack) {
		this.#unacknowledged--;
		if (ack?.offset !== void 0) remember(this.#offsets, ack.offset);
	}
	has(messageId) {
		return this.#ids.has(messageId);
	}
	/** How many of the offsets between the two are, or may be, of such messages. */
	between(from, to) {
		return this.#unacknowledged + [...this.#offsets].filter((offset) => offset > from && offset < to).length;
	}
};
function remember(known, key) {
	known.add(key);
	for (const oldest of known) {
		if (known.size <= REMEMBERED) break;
		known.delete(oldest);
	}
}
//#endregion
//#region src/subscription.ts
/** The subscription to one channel over any number of connections. */
/** How long to wait before a refused resubscription is tried again (milliseconds), plus a random part of as much. */
const RETRY_AFTER$1 = 1e3;
var Subscription = class {
	channel;
	#settings;
	#requests;
	#owner;
	#log = new Log();
	#options = {};
	#wish;
	#stage = "off";
	#isOnline = false;
	/** Tells the answer to the latest question from those to earlier ones. */
	#question = 0;
	#retry;
	constructor(channel, settings, requests, owner) {
		this.channel = channel;
		this.#settings = settings;
		this.#requests = requests;
		this.#owner = owner;
		this.#retry = new Alarm(settings.environment);
	}
	/** Whether it is to be, now or as soon as there is a connection. */
	get isWanted() {
		return this.#wish !== void 0;
	}
	/** Whether the server agreed, on the present connection. */
	get isLive() {
		return this.#stage === "live";
	}
	/** Behind which message to go on after a lost connection. */
	get position() {
		return this.#log.position;
	}
	get silent() {
		return this.#log.silent;
	}
	/** Resolves when the server agreed; while it is wanted, with what it agreed to then. */
	subscribe(options) {
		if (this.#wish) return this.#wish.promise;
		this.#options = options;
		this.#log.start(options.recover);
		this.#wish = new Wish(this.#settings, options, (error) => void this.unsubscribe(error));
		if (this.#isOnline) this.#ask();
		return this.#wish.promise;
	}
	/** Resolves when the server agreed, at once while there is no connection. */
	unsubscribe(error = new StarlingError("CLOSED", "unsubscribed"), options) {
		const isKnown = this.#stage === "asked" || this.#stage === "live";
		this.#forget()?.reject(error);
		if (!isKnown) return Promise.resolve();
		this.#stage = "leaving";
		return new Promise((resolve, reject) => {
			const left = (error) => {
				if (this.#stage === "leaving" && question === this.#question) this.#left();
				if (error instanceof StarlingError && (error.code === "TIMEOUT" || error.code === "CLOSED")) reject(error);
				else resolve();
			};
			const question = ++this.#question;
			const request = {
				type: "unsubscribe",
				channel: this.channel
			};
			this.#requests.start(request, "moot", options ?? {}, {
				resolve: () => left(),
				reject: left
			});
		});
	}
	attached() {
		this.#isOnline = true;
		this.#stage = "off";
		if (this.#wish) this.#ask();
	}
	detached() {
		this.#isOnline = false;
		this.#stage = "off";
		this.#question++;
		this.#retry.clear();
		this.#owner.paused();
	}
	/** Nothing will follow until somebody connects again: who waits is told. What was agreed to stays wanted. */
	ended(error) {
		this.detached();
		if (this.#wish?.isPending) this.#forget()?.reject(error);
	}
	/** A message of this channel. Without a subscription it is one that the server sends on its own account. */
	message(message) {
		if (this.#stage === "asked" || this.#stage === "leaving") return;
		const { isNew, missed } = this.#log.read(message);
		if (missed > 0) this.#owner.happened("gap", {
			missed,
			announced: false
		});
		if (isNew) this.#owner.message(message);
	}
	gap(missed) {
		this.#log.skip();
		this.#owner.happened("gap", {
			missed,
			announced: true
		});
	}
	/** The server ended the subscription. */
	removed(error) {
		if (this.#stage === "asked" || this.#stage === "leaving") return;
		this.#stage = "off";
		this.#forget();
		this.#owner.happened("unsubscribed", error);
	}
	/** The server subscribed this connection on its own account. It is not renewed on another one. */
	added(position) {
		this.#stage = "live";
		this.#log.start(position);
		this.#owner.happened("subscribed", { position });
	}
	#ask() {
		if (this.#stage === "leaving") return;
		this.#stage = "asked";
		const { rewind, presence } = this.#options;
		const recover = this.#log.position;
		const own = this.#owner.own();
		const request = {
			type: "subscribe",
			channel: this.channel,
			recover,
			rewind: recover ? void 0 : rewind,
			presence,
			data: own && (own.data ?? {})
		};
		const question = ++this.#question;
		const ifLatest = (then) => (of) => {
			if (question === this.#question) then(of);
		};
		this.#requests.start(request, "moot", { timeout: 0 }, {
			resolve: ifLatest((ack) => this.#agreed(ack, recover !== void 0)),
			reject: ifLatest((error) => this.#refused(error))
		});
	}
	#agreed(ack, wasAsked) {
		this.#stage = "live";
		const position = positionOf(ack);
		const isRecovered = wasAsked && ack.recovered === true;
		if (!isRecovered) this.#log.start(position, wasAsked ? 0 : this.#options.rewind);
		const mayMiss = wasAsked || !this.#wish?.isPending;
		const subscribed = {
			position,
			recovered: mayMiss ? isRecovered : void 0
		};
		this.#wish?.resolve(subscribed);
		this.#owner.happened("subscribed", subscribed);
		if (mayMiss) this.#owner.happened("recovered", { recovered: isRecovered });
	}
	#refused(error) {
		if (error.code === "ALREADY_SUBSCRIBED") return this.#agreed({
			type: "ack",
			id: 0
		}, false);
		this.#stage = "off";
		if (this.#wish?.isPending) return this.#forget()?.reject(error);
		if (!isTransient(error)) return this.removed(error);
		this.#retry.set(RETRY_AFTER$1 * (1 + this.#settings.environment.random()), () => this.#ask());
	}
	#left() {
		this.#stage = "off";
		if (this.#wish && this.#isOnline) this.#ask();
	}
	/** It is wanted no longer. */
	#forget() {
		const wish = this.#wish;
		this.#wish = void 0;
		this.#retry.clear();
		this.#question++;
		this.#owner.paused();
		return wish;
	}
};
/** A subscription that is wanted, and who waits for the server's agreement. */
var Wish = class {
	promise;
	isPending = true;
	resolve;
	reject;
	constructor({ environment }, options, giveUp) {
		const deadline = new Deadline(environment, options, "subscribe", giveUp);
		this.promise = new Promise((resolve, reject) => {
			const settling = (settle) => (of) => {
				this.isPending = false;
				deadline.clear();
				settle(of);
			};
			this.resolve = settling(resolve);
			this.reject = settling(reject);
		});
	}
};
//#endregion
//#region src/channel.ts
/** One channel of a client, with the types of its events. Made by `client.channel(name)`. */
var Channel = class {
	name;
	/** Who is there. */
	presence;
	#requests;
	#subscription;
	#connect;
	#messages = new Emitter();
	#all = new Emitter();
	#happenings = new Emitter();
	#queues = /* @__PURE__ */ new Set();
	#random;
	/** @internal */
	constructor(name, settings, requests, connect) {
		this.name = name;
		this.#requests = requests;
		this.#connect = connect;
		this.#random = settings.environment.random;
		this.presence = new Presence(name, requests);
		this.#subscription = new Subscription(name, settings, requests, {
			message: (message) => {
				this.#messages.emit(message.event, message);
				this.#all.emit("message", message);
			},
			happened: (happening, event) => {
				if (happening === "unsubscribed") this.#over();
				this.#happenings.emit(happening, event);
			},
			own: () => this.presence.own,
			paused: () => this.presence.pause()
		});
	}
	/** Whether the server delivers messages of this channel at the moment. */
	get isSubscribed() {
		return this.#subscription.isLive;
	}
	/** Behind which message this client would go on; store it to go on in another run with `recover`. */
	get position() {
		return this.#subscription.position;
	}
	/**
	* Subscribes, now and after every reconnect, until `unsubscribe`. Waits for a connection as long as it takes; bound it
	* by `timeout` or `signal`. Rejects with the server's code. Further calls change nothing.
	*/
	subscribe(options = {}) {
		if (!this.#subscription.isWanted) this.presence.entered(options.data);
		const subscribed = this.#subscription.subscribe(options);
		this.#connect();
		return subscribed;
	}
	/** Ends the subscription, its iterators and presence. Resolves when the server knows; offline, at once. */
	async unsubscribe(options) {
		const left = this.#subscription.unsubscribe(void 0, options);
		this.#over();
		await left;
	}
	/** Calls `listener` with each message of one event. */
	on(event, listener) {
		return this.#messages.on(event, listener);
	}
	/** Calls `listener` with each message. */
	onMessage(listener) {
		return this.#all.on("message", listener);
	}
	/** Calls `listener` when something happens to the subscription. */
	watch(name, listener) {
		return this.#happenings.on(name, listener);
	}
	/**
	* Messages from now on, as an async iterator. It ends with `unsubscribe`, with the end of the subscription or the
	* client, with its signal, and with the loop.
	*/
	messages(options = {}) {
		const queue = new MessageQueue(options);
		const push = (message) => queue.push(message);
		const { event } = options;
		const off = event === void 0 ? this.#all.on("message", push) : this.#messages.on(event, push);
		this.#queues.add(queue);
		queue.onEnd(() => {
			off();
			this.#queues.delete(queue);
		});
		return queue;
	}
	/** The same as {@link messages} of every event. */
	[Symbol.asyncIterator]() {
		return this.messages();
	}
	/**
	* Publishes; offline, as soon as there is a connection, in order. After a lost connection it is sent again under the
	* same `messageId`, which the server delivers once. Resolves when the server took it.
	*/
	async publish(event, payload, { messageId = this.#newId(), key, echo, ...options } = {}) {
		const silent = echo === false ? this.#subscription.silent : void 0;
		silent?.published(messageId);
		this.#connect();
		return new Promise((resolve, reject) => {
			const request = {
				type: "publish",
				channel: this.name,
				event,
				payload,
				messageId,
				key,
				echo
			};
			this.#requests.start(request, "again", options, {
				resolve: (ack) => {
					silent?.settled(ack);
					resolve({
						messageId: ack.messageId ?? messageId,
						position: positionOf(ack)
					});
				},
				reject: (error) => {
					silent?.settled();
					reject(error);
				}
			});
		});
	}
	/** Asks for messages that the server keeps; no subscription is needed. */
	async history({ limit, before, after, ...options } = {}) {
		this.#connect();
		const request = {
			type: "history",
			channel: this.name,
			limit,
			before,
			after
		};
		const ack = await this.#requests.request(request, "again", options);
		return {
			messages: ack.messages ?? [],
			position: positionOf(ack)
		};
	}
	/** @internal What the client passes on of what the server says. */
	get subscription() {
		return this.#subscription;
	}
	/** @internal The client ended. */
	ended(error) {
		this.#subscription.ended(error);
		this.#over();
	}
	/** Nothing will come until the next `subscribe`. */
	#over() {
		for (const queue of [...this.#queues]) queue.end();
		this.presence.clear();
	}
	#newId() {
		const { crypto } = globalThis;
		if (crypto?.randomUUID) return crypto.randomUUID();
		return Array.from({ length: 4 }, () => Math.floor(this.#random() * 2 ** 32).toString(36)).join("");
	}
};
//#endregion
//#region src/backoff.ts
/**
* Delays that double, each a random part of the whole, so that clients which lost a server together do not come back
* together: the n-th delay is evenly spread over 0 to min(cap, base × 2ⁿ).
*/
var Backoff = class {
	cap;
	#base;
	#random;
	#attempts = 0;
	constructor(random, { base = 1e3, cap = 3e4 } = {}) {
		this.#random = random;
		this.#base = base;
		this.cap = cap;
	}
	/** The next delay, in milliseconds. */
	next() {
		const ceiling = Math.min(this.cap, this.#base * 2 ** this.#attempts++);
		return this.#random() * ceiling;
	}
	/** Makes the next delay at least the one of attempt `attempts`, for servers that asked for patience. */
	skip(attempts) {
		this.#attempts = Math.max(this.#attempts, attempts);
	}
	/** After a connection proved stable. */
	reset() {
		this.#attempts = 0;
	}
};
//#endregion
//#region src/ladder.ts
/** Which transport to try next. */
/** Failures of a transport that never proved itself before another one is tried. */
const PATIENCE_OPENING = 1;
/** The same for connections that open and are then cut before they prove stable. */
const PATIENCE_CUT = 2;
/** Failures in a row of one that has proved itself: most likely the server is away. */
const PATIENCE_PROVEN = 3;
/**
* Transports from best to worst. Failures lead a rung down, from the last one back to the first; a connection that
* stays is kept, and better rungs are tried beside it.
*/
var Ladder = class {
	#rungs;
	#rung = 0;
	#failures = 0;
	#proven = /* @__PURE__ */ new Set();
	#probed = -1;
	constructor(rungs) {
		this.#rungs = rungs;
	}
	/** The transport to use. */
	get rung() {
		return this.#rung;
	}
	/** The better transport to try next beside the present one; `undefined` on the best. */
	nextBetter() {
		if (this.#rung === 0) return void 0;
		this.#probed = (this.#probed + 1) % this.#rung;
		return this.#probed;
	}
	/** It could not be opened, or was cut before it proved stable. */
	failed(how) {
		this.#failures++;
		const unproven = how === "opening" ? PATIENCE_OPENING : PATIENCE_CUT;
		if (this.#failures < (this.#proven.has(this.#rung) ? PATIENCE_PROVEN : unproven)) return;
		this.moveTo((this.#rung + 1) % this.#rungs);
	}
	/** The present connection proved stable. */
	stable() {
		this.#proven.add(this.#rung);
		this.#failures = 0;
	}
	moveTo(rung) {
		this.#rung = rung;
		this.#failures = 0;
		this.#probed = -1;
	}
};
//#endregion
//#region src/heartbeat.ts
/** Finds out within seconds that a connection is dead, also after the machine slept. */
/** Pings after silence, and gives up when silence follows. The owner starts and stops it with the connection. */
var Heartbeat = class {
	#environment;
	#alarm;
	#interval;
	#timeout;
	#ping;
	#dead;
	#heardAt = 0;
	#running = false;
	#probing = false;
	constructor(environment, options, ping, dead) {
		this.#environment = environment;
		this.#alarm = new Alarm(environment);
		this.#interval = options.interval ?? 8e3;
		this.#timeout = options.timeout ?? 5e3;
		this.#ping = ping;
		this.#dead = dead;
	}
	/** `silence`: whether silence is a reason to ask; otherwise only {@link probe} does. */
	start(silence) {
		this.#running = true;
		if (!silence) this.#interval = Number.POSITIVE_INFINITY;
		this.heard();
		this.#wait();
	}
	stop() {
		this.#running = false;
		this.#probing = false;
		this.#alarm.clear();
	}
	/** Something came from the server. Cheap: the timer is not touched while it only measures silence. */
	heard() {
		this.#heardAt = this.#environment.now();
		if (!this.#probing) return;
		this.#probing = false;
		this.#wait();
	}
	/** Asks for a sign of life now: the network changed, or the machine woke. */
	probe() {
		if (!this.#running || this.#probing) return;
		this.#probing = true;
		this.#alarm.set(this.#timeout, () => this.#dead());
		this.#ping();
	}
	/** Measures silence. A timer that was held up by sleep comes late, finds a long silence, and asks at once. */
	#wait() {
		const silent = this.#environment.now() - this.#heardAt;
		const left = this.#interval - Math.max(silent, 0);
		if (left <= 0) return this.probe();
		if (left === Number.POSITIVE_INFINITY) return this.#alarm.clear();
		this.#alarm.set(left, () => this.#wait());
	}
};
//#endregion
//#region src/line.ts
/** One connection from the fetching of its token to its end: a link, its time to open, its heartbeat. */
var Line = class {
	transport;
	/** What the server said when it agreed; before that there is nothing to send on. */
	welcome;
	/** The token that it was opened with. */
	token;
	#settings;
	/** Its owner; another one may take it over. */
	events;
	#link;
	#alarm;
	#heartbeat;
	#done = false;
	constructor(settings, transport, tokens, events) {
		this.#settings = settings;
		this.transport = transport;
		this.events = events;
		const { environment, heartbeat, connectTimeout } = settings;
		this.#alarm = new Alarm(environment);
		this.#heartbeat = new Heartbeat(environment, heartbeat, () => this.#link?.ping(), () => this.#lost({ error: new StarlingError("CONNECTION_LOST", "no sign of life") }));
		this.#alarm.set(connectTimeout, () => this.#lost({ error: new StarlingError("TIMEOUT", `not connected within ${connectTimeout} ms`) }));
		tokens.current().then((token) => this.#open(token), (error) => this.#lost({ error }));
	}
	send(message) {
		this.#link?.send(message);
	}
	renew(token) {
		this.token = token;
		this.#link?.renew(token);
	}
	/** Makes sure that the path is alive. */
	probe() {
		this.#heartbeat.probe();
	}
	close() {
		this.#done = true;
		this.#alarm.clear();
		this.#heartbeat.stop();
		this.#link?.close();
		this.#link = void 0;
	}
	#open(token) {
		if (this.#done) return;
		this.token = token;
		const { environment, base, codec } = this.#settings;
		this.#link = this.transport.open({
			environment,
			base,
			codec,
			token
		}, {
			opened: (welcome) => {
				this.welcome = welcome;
				this.#alarm.clear();
				this.#heartbeat.start(this.#link?.needsPings ?? true);
				this.events.opened(this, welcome);
			},
			receive: (message) => this.events.receive(this, message),
			heard: () => this.#heartbeat.heard(),
			lost: (loss) => this.#lost(loss)
		});
	}
	#lost(loss) {
		if (this.#done) return;
		this.close();
		this.events.lost(this, loss);
	}
};
//#endregion
//#region src/token.ts
/** Where tokens come from, and when the next one is due. */
/** How long before a token expires the next one is asked for (milliseconds), but no more than a fifth of its life. */
const RENEW_BEFORE = 3e4;
/** How long to wait after the token function failed (milliseconds), plus a random part of as much. */
const RETRY_AFTER = 2e3;
/** Keeps the latest token, so that a reconnect does not have to ask for one. */
var Tokens = class {
	#source;
	#environment;
	#kept;
	#pending;
	constructor(source, environment) {
		this.#source = source;
		this.#environment = environment;
	}
	/** Whether another token can be had. */
	get isRenewable() {
		return typeof this.#source === "function";
	}
	/** A token that is still good, as far as can be told from here. */
	async current() {
		if (this.#kept !== void 0) {
			const { exp } = claims(this.#kept);
			if (exp === void 0 || exp * 1e3 > this.#environment.now()) return this.#kept;
		}
		return this.fresh();
	}
	/** A token from the source. Whoever asks while one is being fetched gets the same. */
	fresh() {
		this.#pending ??= this.#fetch().finally(() => {
			this.#pending = void 0;
		});
		return this.#pending;
	}
	async #fetch() {
		const source = this.#source;
		try {
			this.#kept = (typeof source === "function" ? await source() : source) ?? void 0;
			return this.#kept;
		} catch (error) {
			throw new StarlingError("TOKEN_SOURCE", `the token function failed: ${error}`, { cause: error });
		}
	}
	/** The server did not take the kept token. */
	forget() {
		this.#kept = void 0;
	}
};
/** Fetches a token before the last one expires, for as long as a connection lasts. */
var Renewal = class {
	#tokens;
	#environment;
	#alarm;
	#use;
	#failed;
	#run = 0;
	constructor(tokens, environment, use, failed) {
		this.#tokens = tokens;
		this.#environment = environment;
		this.#alarm = new Alarm(environment);
		this.#use = use;
		this.#failed = failed;
	}
	/** The server took `token`; it said that it expires at `expiresAt` (Unix milliseconds), or nothing. */
	schedule(expiresAt, token) {
		if (!this.#tokens.isRenewable) return;
		const { exp, iat } = token === void 0 ? {} : claims(token);
		const end = expiresAt ?? (exp === void 0 ? void 0 : exp * 1e3);
		if (end === void 0) return this.#alarm.clear();
		let left = end - this.#environment.now();
		if (left <= 0) left = exp !== void 0 && iat !== void 0 ? (exp - iat) * 1e3 : Number.POSITIVE_INFINITY;
		if (left === Number.POSITIVE_INFINITY) return this.#alarm.clear();
		this.#alarm.set(Math.max(1e3, left - Math.min(RENEW_BEFORE, left / 5)), () => void this.#renew());
	}
	stop() {
		this.#run++;
		this.#alarm.clear();
	}
	async #renew() {
		const run = this.#run;
		try {
			const token = await this.#tokens.fresh();
			if (run !== this.#run || token === void 0) return;
			this.schedule(void 0, token);
			this.#use(token);
		} catch (error) {
			if (run !== this.#run) return;
			this.#failed(error);
			this.#alarm.set(RETRY_AFTER * (1 + this.#environment.random()), () => void this.#renew());
		}
	}
};
/** What a JWT says of its life, in Unix seconds; nothing for any other token. */
function claims(token) {
	try {
		const body = (token.split(".")[1] ?? "").replaceAll("-", "+").replaceAll("_", "/");
		const fields = JSON.parse(atob(body));
		if (!isFields(fields)) return {};
		const { exp, iat } = fields;
		return {
			...typeof exp === "number" && { exp },
			...typeof iat === "number" && { iat }
		};
	} catch {
		return {};
	}
}
//#endregion
//#region src/wake.ts
/** Calls `tell` until the returned function is called. */
function listen({ network, page }, tell) {
	const online = () => tell("online");
	const offline = () => tell("offline");
	const visible = () => {
		if (page?.visibilityState !== "hidden") tell("visible");
	};
	network?.addEventListener("online", online);
	network?.addEventListener("offline", offline);
	network?.addEventListener("pageshow", visible);
	page?.addEventListener("visibilitychange", visible);
	return () => {
		network?.removeEventListener("online", online);
		network?.removeEventListener("offline", offline);
		network?.removeEventListener("pageshow", visible);
		page?.removeEventListener("visibilitychange", visible);
	};
}
//#endregion
//#region src/connection.ts
/** Keeps one connection to the server: when to connect, over what, and when to give up. */
/** Within how long clients of a server that restarted unannounced come back (milliseconds). */
const RESTART_SPREAD = 5e3;
/** Within how long they come back when the network is there again (milliseconds). */
const ONLINE_SPREAD = 500;
/** The most that attempts to return to a better transport are apart (milliseconds). */
const UPGRADE_CAP = 6e5;
/** The delay after `4029 too many requests` is that of at least so many failed attempts. */
const PENALTY_ATTEMPTS = 4;
var Connection = class {
	status = { state: "idle" };
	#settings;
	#events;
	#tokens;
	#backoff;
	#ladder;
	#renewal;
	#line;
	/** A better transport that is tried beside the line, and its rung. */
	#probe;
	#probeRung = 0;
	#retry;
	#stable;
	#upgrade;
	#upgradeDelay;
	#unlisten;
	/** Refused tokens in a row. */
	#refusals = 0;
	/** When the server wants to see us again after a restart (Unix milliseconds). */
	#drainedUntil;
	#isOffline = false;
	#isStable = false;
	constructor(settings, tokens, events) {
		const { environment } = settings;
		this.#settings = settings;
		this.#tokens = tokens;
		this.#events = events;
		this.#backoff = new Backoff(environment.random, settings.backoff);
		this.#ladder = new Ladder(settings.transports.length);
		this.#retry = new Alarm(environment);
		this.#stable = new Alarm(environment);
		this.#upgrade = new Alarm(environment);
		this.#upgradeDelay = settings.upgradeAfter;
		const renew = (token) => this.#line?.renew(token);
		this.#renewal = new Renewal(tokens, environment, renew, (error) => events.complain(error));
	}
	/** Connects, or tries again at once. */
	connect() {
		const { state } = this.status;
		if (state === "connecting" || state === "connected") return;
		if (state !== "waiting") {
			if (this.#settings.transports.length === 0) throw new TypeError("no transport: pass environment.WebSocket");
			this.#backoff.reset();
			this.#refusals = 0;
			this.#isOffline = false;
			this.#unlisten = listen(this.#settings.environment, (hint) => this.#hinted(hint));
		}
		this.#attempt();
	}
	/** Ends everything; `connect` starts anew. */
	close() {
		if (this.status.state === "closed") return;
		this.#end({ state: "closed" }, new StarlingError("CLOSED", "the client was closed"));
	}
	send(message) {
		this.#line?.send(message);
	}
	#attempt() {
		this.#retry.clear();
		this.#drainedUntil = void 0;
		this.#line = this.#newLine(this.#ladder.rung, {
			opened: (_, welcome) => this.#opened(welcome),
			receive: (_, message) => this.#receive(message),
			lost: (_, loss) => this.#lost(loss)
		});
		this.#become({ state: "connecting" });
	}
	#newLine(rung, events) {
		const transport = this.#settings.transports[rung];
		if (!transport) throw new RangeError(`no transport ${rung}`);
		return new Line(this.#settings, transport, this.#tokens, events);
	}
	#opened(welcome) {
		const { stableAfter } = this.#settings;
		this.#refusals = 0;
		this.#isStable = false;
		this.#stable.set(stableAfter, () => {
			this.#isStable = true;
			this.#backoff.reset();
			this.#ladder.stable();
			if (this.#ladder.rung === 0) this.#upgradeDelay = this.#settings.upgradeAfter;
		});
		this.#renewal.schedule(welcome.expiresAt, this.#line?.token);
		this.#scheduleUpgrade();
		this.#attached(welcome);
	}
	#attached({ connectionId, userId = null }) {
		const line = this.#line;
		this.#events.attached();
		if (line && line === this.#line) this.#become({
			state: "connected",
			transport: line.transport.name,
			connectionId,
			userId
		});
	}
	#receive(message) {
		if (message.type === "auth_ack") return this.#renewal.schedule(message.expiresAt, this.#line?.token);
		if (message.type === "drain") this.#drain(message.reconnectIn);
		this.#events.receive(message);
	}
	/** The server restarts soon, and said when to come back: each of its clients another moment. */
	#drain(reconnectIn) {
		this.#drainedUntil = this.#settings.environment.now() + reconnectIn;
		const drained = new StarlingError("CONNECTION_LOST", "the server restarts");
		this.#retry.set(reconnectIn, () => {
			this.#line?.close();
			this.#lost({
				error: drained,
				closeCode: 1012
			});
		});
	}
	#lost({ error, closeCode }) {
		const wasOpen = this.status.state === "connected";
		this.#settle();
		this.#line = void 0;
		if (wasOpen) this.#events.detached(error);
		if (isRefusal(error) && !this.#mayRefresh(error, wasOpen)) return this.#end({
			state: "failed",
			error
		}, error);
		if (this.#probe?.welcome) return this.#adoptProbe();
		this.#dropProbe();
		if (closeCode === 1012) return this.#wait(error, this.#restartDelay());
		if (error.code === "RATE_LIMITED") this.#backoff.skip(PENALTY_ATTEMPTS);
		if (!wasOpen && error.code !== "TOKEN_SOURCE") this.#ladder.failed("opening");
		else if (!this.#isStable && error.code === "CONNECTION_LOST") this.#ladder.failed("cut");
		this.#wait(error, this.#isOffline ? this.#backoff.cap : this.#backoff.next());
	}
	/** Whether another token is worth an attempt: once, if there is where to get one from. */
	#mayRefresh({ code }, wasOpen) {
		this.#tokens.forget();
		if (!this.#tokens.isRenewable || code === "FORBIDDEN") return false;
		return wasOpen || ++this.#refusals === 1;
	}
	#restartDelay() {
		const { now, random } = this.#settings.environment;
		const until = this.#drainedUntil;
		return until === void 0 ? random() * RESTART_SPREAD : Math.max(0, until - now());
	}
	#wait(error, delay) {
		this.#retry.set(delay, () => this.#attempt());
		this.#become({
			state: "waiting",
			retryAt: this.#settings.environment.now() + delay,
			error
		});
	}
	#hinted(hint) {
		this.#isOffline = hint === "offline";
		if (this.status.state === "connected") return this.#line?.probe();
		if (hint === "offline" || this.status.state !== "waiting" || this.#drainedUntil !== void 0) return;
		const delay = hint === "online" ? this.#settings.environment.random() * ONLINE_SPREAD : 0;
		this.#retry.set(delay, () => this.#attempt());
	}
	#scheduleUpgrade() {
		const rung = this.#ladder.nextBetter();
		if (rung === void 0) return;
		this.#upgrade.set(this.#upgradeDelay, () => this.#tryBetter(rung));
		this.#upgradeDelay = Math.min(this.#upgradeDelay * 2, UPGRADE_CAP);
	}
	/** Opens a better transport beside the present one, and moves when it has lasted: a proxy may cut it soon after. */
	#tryBetter(rung) {
		this.#probeRung = rung;
		this.#probe = this.#newLine(rung, {
			opened: () => this.#upgrade.set(this.#settings.stableAfter, () => this.#adoptProbe()),
			receive: () => {},
			lost: () => {
				this.#dropProbe();
				this.#scheduleUpgrade();
			}
		});
	}
	/** Moves to the transport that was tried. From now on its messages are ours, and its end is the connection's. */
	#adoptProbe() {
		const [old, probe] = [this.#line, this.#probe];
		if (!probe?.welcome) return;
		this.#probe = void 0;
		this.#line = probe;
		probe.events = {
			opened: () => {},
			receive: (_, message) => this.#receive(message),
			lost: (_, loss) => this.#lost(loss)
		};
		if (old) this.#events.detached(new StarlingError("CONNECTION_LOST", "moved to a better transport"));
		this.#ladder.moveTo(this.#probeRung);
		this.#opened(probe.welcome);
		old?.close();
	}
	#dropProbe() {
		this.#probe?.close();
		this.#probe = void 0;
	}
	#end(status, error) {
		this.#settle();
		this.#dropProbe();
		this.#unlisten?.();
		this.#unlisten = void 0;
		this.#line?.close();
		this.#line = void 0;
		this.#events.ended(error);
		this.#become(status);
	}
	/** Clears what is only for the time of a connection. */
	#settle() {
		this.#retry.clear();
		this.#stable.clear();
		this.#upgrade.clear();
		this.#renewal.stop();
	}
	#become(status) {
		this.status = status;
		this.#events.status(status);
	}
};
//#endregion
//#region src/requests.ts
/** Requests and their answers, over any number of connections. */
/** Requests that may await an answer on a connection at once: fewer than the refusals at which a server hangs up. */
const WINDOW = 32;
/** How long nothing is sent after the server refused a request because of its rate (milliseconds). */
const RATE_PAUSE = 500;
var Requests = class {
	#settings;
	#send;
	#lastId = 0;
	/** To be sent, in order. Subscriptions go first after a reconnect, because publishing may depend on them. */
	#urgent = [];
	#waiting = [];
	#sent = /* @__PURE__ */ new Map();
	#publishes = 0;
	#window = WINDOW;
	#pause;
	#isPaused = false;
	constructor(settings) {
		this.#settings = settings;
		this.#pause = new Alarm(settings.environment);
	}
	/** Sends a request as soon as there is a connection. Rejects with a {@link StarlingError} or the signal's reason. */
	request(message, whenLost, options = {}) {
		return new Promise((resolve, reject) => this.start(message, whenLost, options, {
			resolve,
			reject
		}));
	}
	/** The same for callers that must hear of the answer before what follows it. */
	start(message, whenLost, options, answer) {
		const { environment, timeout: usual, publishTimeout, queue } = this.#settings;
		const isPublish = message.type === "publish";
		const { signal, timeout = isPublish ? publishTimeout : usual } = options;
		if (isPublish && this.#publishes >= queue) return answer.reject(new StarlingError("QUEUE_FULL", `${queue} publishes await their acknowledgement`));
		const settle = () => {
			deadline.clear();
			if (isPublish) this.#publishes--;
			this.#forget(request);
		};
		const request = {
			id: ++this.#lastId,
			message,
			whenLost,
			resolve: (ack) => {
				settle();
				answer.resolve(ack);
			},
			reject: (error) => {
				settle();
				answer.reject(error);
			}
		};
		const deadline = new Deadline(environment, {
			timeout,
			signal
		}, message.type, request.reject);
		if (signal?.aborted) return;
		if (isPublish) this.#publishes++;
		(message.type === "subscribe" ? this.#urgent : this.#waiting).push(request);
		this.#pump();
	}
	/** There is a connection. */
	attach(send) {
		this.#send = send;
		this.#window = WINDOW;
		this.#pump();
	}
	/** There is none any more; `error` says why. */
	detach(error) {
		this.#send = void 0;
		this.#isPaused = false;
		this.#pause.clear();
		const sent = [...this.#sent.values()];
		this.#sent.clear();
		const isPoison = error.code === "PAYLOAD_TOO_LARGE" || error.code === "INVALID_MESSAGE";
		const again = sent.filter(({ whenLost }) => whenLost === "again" && !isPoison);
		const moot = [...this.#urgent, ...this.#waiting].filter(({ whenLost }) => whenLost === "moot");
		this.#waiting = [...again, ...this.#waiting].sort((a, b) => a.id - b.id);
		for (const request of [...sent, ...moot]) if (!again.includes(request)) request.reject(error);
	}
	/** An answer; one to an unknown id is to a request that was given up, and is ignored. */
	answered(ack) {
		const request = this.#sent.get(ack.id);
		if (!request) return;
		this.#window = Math.min(WINDOW, this.#window + 1);
		request.resolve(ack);
		this.#pump();
	}
	refused(id, error) {
		const request = this.#sent.get(id);
		if (!request) return;
		if (error.code === "RATE_LIMITED") this.#slowDown(request);
		else request.reject(error);
		this.#pump();
	}
	/** Nothing will follow. */
	end(error) {
		this.#send = void 0;
		this.#pause.clear();
		this.#isPaused = false;
		for (const request of [
			...this.#sent.values(),
			...this.#urgent,
			...this.#waiting
		]) request.reject(error);
	}
	/** Sends a request again that came too fast, a little later and with fewer beside it. */
	#slowDown(request) {
		this.#sent.delete(request.id);
		const queue = request.message.type === "subscribe" ? this.#urgent : this.#waiting;
		queue.push(request);
		queue.sort((a, b) => a.id - b.id);
		this.#window = Math.max(1, this.#window >> 1);
		if (this.#isPaused) return;
		this.#isPaused = true;
		this.#pause.set(RATE_PAUSE, () => {
			this.#isPaused = false;
			this.#pump();
		});
	}
	#pump() {
		while (this.#send && !this.#isPaused && this.#sent.size < this.#window) {
			const request = this.#urgent.shift() ?? this.#waiting.shift();
			if (!request) return;
			this.#sent.set(request.id, request);
			this.#send({
				...request.message,
				id: request.id
			});
		}
	}
	#forget(request) {
		this.#sent.delete(request.id);
		for (const queue of [this.#urgent, this.#waiting]) {
			const at = queue.indexOf(request);
			if (at >= 0) queue.splice(at, 1);
		}
	}
};
//#endregion
//#region src/codec.ts
/** Messages as text or bytes. A codec knows nothing of sockets. */
/** JSON text. Bytes as payload travel as base64. Numbers beyond 2^53 lose digits, as `JSON.parse` has it. */
const json = {
	subprotocol: "starling.v1.json",
	encode(message) {
		const { payload } = message;
		if (!(payload instanceof Uint8Array)) return JSON.stringify(message);
		return JSON.stringify({
			...message,
			payload: toBase64(payload),
			encoding: "base64"
		});
	},
	decode(data) {
		if (typeof data !== "string") throw new TypeError("bytes instead of text");
		const message = JSON.parse(data);
		if (isFields(message)) {
			restoreBytes(message);
			if (Array.isArray(message.messages)) message.messages.filter(isFields).forEach(restoreBytes);
		}
		return message;
	}
};
function restoreBytes(message) {
	if (message.encoding !== "base64" || typeof message.payload !== "string") return;
	message.payload = Uint8Array.from(atob(message.payload), (letter) => letter.charCodeAt(0));
	delete message.encoding;
}
function toBase64(bytes) {
	let text = "";
	for (const byte of bytes) text += String.fromCharCode(byte);
	return btoa(text);
}
//#endregion
//#region src/transport/websocket.ts
/** WebSocket on `/ws`. */
function websocket({ token = "message" } = {}) {
	return {
		name: "websocket",
		isSupported: ({ WebSocket }) => WebSocket !== void 0,
		open: (request, events) => new WebSocketLink(request, events, token === "subprotocol")
	};
}
var WebSocketLink = class {
	needsPings = true;
	#request;
	#events;
	#socket;
	#opened = false;
	#done = false;
	/** The last error that answered no request: why the server is about to close. */
	#complaint;
	constructor(request, events, inSubprotocol) {
		this.#request = request;
		this.#events = events;
		const { token, codec, base, environment } = request;
		const url = new URL("ws", base);
		url.protocol = url.protocol.replace("http", "ws");
		const bearer = inSubprotocol && token !== void 0 ? [`bearer.${token}`] : [];
		try {
			const Constructor = environment.WebSocket;
			this.#socket = new Constructor(url.href, [codec.subprotocol, ...bearer]);
		} catch (error) {
			queueMicrotask(() => this.#lost(new StarlingError("CONNECTION_LOST", String(error), { cause: error })));
			return;
		}
		this.#socket.binaryType = "arraybuffer";
		this.#socket.onopen = () => {
			if (bearer.length === 0) this.#write({
				type: "auth",
				token
			});
		};
		this.#socket.onmessage = ({ data }) => this.#read(data);
		this.#socket.onerror = () => {};
		this.#socket.onclose = ({ code, reason }) => this.#lost(this.#complaint ?? closeError(code, reason), code);
	}
	send(message) {
		this.#write(message);
	}
	renew(token) {
		this.#write({
			type: "auth",
			token
		});
	}
	ping() {
		this.#write({ type: "ping" });
	}
	/** Lets go of the socket at once: on a dead network its own `close` event may take minutes. */
	close() {
		this.#done = true;
		const socket = this.#socket;
		if (!socket) return;
		socket.onopen = socket.onmessage = socket.onclose = null;
		this.#socket = void 0;
		socket.close(1e3);
	}
	#write(message) {
		this.#socket?.send(this.#request.codec.encode(message));
	}
	#read(data) {
		this.#events.heard();
		let message;
		try {
			const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
			message = readServerMessage(this.#request.codec.decode(bytes));
		} catch (error) {
			this.#lost(error instanceof StarlingError ? error : new StarlingError("PROTOCOL", String(error), { cause: error }));
			return;
		}
		if (!message) return;
		if (message.type === "error" && message.id === void 0) {
			this.#complaint = new StarlingError(message.code, message.message);
			if (!this.#opened) return this.#lost(this.#complaint);
		}
		if (message.type === "auth_ack" && !this.#opened) {
			this.#opened = true;
			return this.#events.opened(message);
		}
		this.#events.receive(message);
	}
	#lost(error, closeCode) {
		if (this.#done) return;
		this.close();
		this.#events.lost(closeCode === void 0 ? { error } : {
			error,
			closeCode
		});
	}
};
//#endregion
//#region src/settings.ts
/** @throws TypeError - the address is no URL, or not of http(s) or ws(s). */
function settings(url, options) {
	const base = new URL(url);
	base.protocol = base.protocol.replace("ws", "http");
	if (!/^https?:$/.test(base.protocol)) throw new TypeError(`http:, https:, ws: or wss: expected: ${url}`);
	if (!base.pathname.endsWith("/")) base.pathname += "/";
	const surroundings = environment(options.environment);
	const { transports = [websocket()] } = options;
	return {
		codec: json,
		backoff: {},
		stableAfter: 1e4,
		connectTimeout: 1e4,
		heartbeat: {},
		upgradeAfter: 15e3,
		timeout: 1e4,
		publishTimeout: 6e4,
		queue: 1e3,
		...options,
		environment: surroundings,
		base,
		transports: transports.filter((transport) => transport.isSupported(surroundings))
	};
}
//#endregion
//#region src/client.ts
/** The client: channels over one connection. */
/** A client of one Starling server. Does nothing until it is used. */
var Client = class {
	#settings;
	#events = new Emitter();
	#requests;
	#connection;
	#channels = /* @__PURE__ */ new Map();
	/**
	* @param url - the server's address without `/ws`: `https://example.com`, also with `wss:` or a path before it
	* @throws TypeError - it is no such address
	*/
	constructor(url, options = {}) {
		this.#settings = settings(url, options);
		this.#requests = new Requests(this.#settings);
		this.#connection = new Connection(this.#settings, new Tokens(options.token, this.#settings.environment), {
			status: (status) => this.#events.emit("status", status),
			complain: (error) => this.#events.emit("error", error),
			receive: (message) => this.#receive(message),
			attached: () => {
				for (const { subscription } of this.#channels.values()) subscription.attached();
				this.#requests.attach((message) => this.#connection.send(message));
			},
			detached: (error) => {
				for (const { subscription } of this.#channels.values()) subscription.detached();
				this.#requests.detach(error);
			},
			ended: (error) => {
				for (const channel of this.#channels.values()) channel.ended(error);
				this.#requests.end(error);
			}
		});
	}
	/** Where the client stands. */
	get status() {
		return this.#connection.status;
	}
	/** Calls `listener` with each event of that name. */
	on(name, listener) {
		return this.#events.on(name, listener);
	}
	/**
	* Connects, and stays connected until `close`. Also called by what needs a connection, unless the client was closed
	* or has failed. While it waits for the next attempt, that one is made at once.
	*/
	connect() {
		this.#connection.connect();
	}
	/**
	* Ends the connection. Whoever waits is told `CLOSED`; iterators end; no timer or listener stays. Subscriptions that
	* were made are made again, with recovery, if `connect` is called.
	*/
	close() {
		this.#connection.close();
	}
	/** The channel of that name; always the same object. */
	channel(name) {
		let channel = this.#channels.get(name);
		if (!channel) {
			channel = new Channel(name, this.#settings, this.#requests, () => this.#need());
			this.#channels.set(name, channel);
			if (this.status.state === "connected") channel.subscription.attached();
		}
		return channel;
	}
	/**
	* Sends an event to the application behind the server, and resolves with its reply. It is sent once: if the connection
	* is lost before the answer it rejects with `CONNECTION_LOST`, and the application may have had it.
	*/
	async request(event, payload, { channel, ...options } = {}) {
		this.#need();
		const request = {
			type: "event",
			event,
			payload,
			channel
		};
		return (await this.#requests.request(request, "lost", options)).payload;
	}
	/** Connects for the first time; who closed the client opens it again. */
	#need() {
		const { state, error } = this.status;
		if (state === "idle") this.connect();
		if (state === "closed" || state === "failed") {
			const reason = error ?? new StarlingError("CLOSED", "the client is closed");
			queueMicrotask(() => {
				if (this.status.state !== state) return;
				for (const channel of this.#channels.values()) channel.ended(reason);
				this.#requests.end(reason);
			});
		}
	}
	#receive(message) {
		switch (message.type) {
			case "ack": return this.#requests.answered(message);
			case "error": {
				const error = new StarlingError(message.code, message.message);
				if (message.id !== void 0) this.#requests.refused(message.id, error);
				else this.#events.emit("error", error);
				return;
			}
			case "drain":
				this.#events.emit("drain", { reconnectIn: message.reconnectIn });
				return;
			case "auth_ack":
			case "pong": return;
			default: this.#receiveOf(message);
		}
	}
	/** What concerns a channel. */
	#receiveOf(message) {
		const channel = this.#channels.get(message.channel);
		if (message.type === "message") {
			const { type: _, ...content } = message;
			if (channel) channel.subscription.message(content);
			else this.#events.emit("message", content);
			return;
		}
		if (!channel) return;
		const { subscription, presence } = channel;
		switch (message.type) {
			case "presence_state": return presence.replace(message.members);
			case "presence_diff": return presence.apply(message.joins, message.leaves);
			case "gap": return subscription.gap(message.missed);
			case "unsubscribed": return subscription.removed(new StarlingError(message.code, message.message));
			case "subscribed": return subscription.added(positionOf(message));
		}
	}
};
//#endregion
Object.defineProperty(exports, "Alarm", {
	enumerable: true,
	get: function() {
		return Alarm;
	}
});
Object.defineProperty(exports, "Backoff", {
	enumerable: true,
	get: function() {
		return Backoff;
	}
});
Object.defineProperty(exports, "Channel", {
	enumerable: true,
	get: function() {
		return Channel;
	}
});
Object.defineProperty(exports, "Client", {
	enumerable: true,
	get: function() {
		return Client;
	}
});
Object.defineProperty(exports, "Presence", {
	enumerable: true,
	get: function() {
		return Presence;
	}
});
Object.defineProperty(exports, "StarlingError", {
	enumerable: true,
	get: function() {
		return StarlingError;
	}
});
Object.defineProperty(exports, "isFields", {
	enumerable: true,
	get: function() {
		return isFields;
	}
});
Object.defineProperty(exports, "json", {
	enumerable: true,
	get: function() {
		return json;
	}
});
Object.defineProperty(exports, "readServerMessage", {
	enumerable: true,
	get: function() {
		return readServerMessage;
	}
});
Object.defineProperty(exports, "websocket", {
	enumerable: true,
	get: function() {
		return websocket;
	}
});

//# sourceMappingURL=core-CTyfzYnr.cjs.map