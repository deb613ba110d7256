Object.defineProperty(exports, Symbol.toStringTag, { value: "Module" });
let react = require("react");
//#region src/react.ts
/**
* React hooks. None of them reads from the server while React renders on one.
*
* @packageDocumentation
*/
const ClientContext = (0, react.createContext)(void 0);
/** Gives the components below it a client. Who made the client closes it. */
function StarlingProvider({ client, children }) {
	return (0, react.createElement)(ClientContext.Provider, { value: client }, children);
}
/** The client of the nearest {@link StarlingProvider}. */
function useClient() {
	const client = (0, react.useContext)(ClientContext);
	if (!client) throw new Error("no StarlingProvider above");
	return client;
}
/** The client's status, kept up to date. */
function useStatus() {
	const client = useClient();
	const subscribe = (0, react.useCallback)((changed) => client.on("status", changed), [client]);
	const read = () => client.status;
	return (0, react.useSyncExternalStore)(subscribe, read, read);
}
/** Channels that components use now, and how many of them. */
const users = /* @__PURE__ */ new WeakMap();
/**
* Subscribes to a channel for as long as a component that uses it is there. The options of the first component count.
*/
function useChannel(name, options = {}) {
	const channel = useClient().channel(name);
	const latest = (0, react.useRef)(options);
	(0, react.useEffect)(() => {
		latest.current = options;
	});
	const [outcome, setOutcome] = (0, react.useState)(PENDING);
	(0, react.useEffect)(() => {
		const { rewind, presence, data } = latest.current;
		let isMounted = true;
		const refused = (error) => isMounted && setOutcome({
			state: "refused",
			error
		});
		const offs = [
			channel.onMessage((message) => latest.current.onMessage?.(message)),
			channel.watch("gap", (gap) => latest.current.onStale?.(gap)),
			channel.watch("recovered", ({ recovered }) => recovered || latest.current.onStale?.({ recovered })),
			channel.watch("unsubscribed", refused)
		];
		setOutcome(PENDING);
		const subscribed = () => isMounted && setOutcome({
			state: "subscribed",
			error: void 0
		});
		channel.subscribe({
			rewind,
			presence,
			data
		}).then(subscribed, refused);
		const leave = use(channel);
		return () => {
			isMounted = false;
			for (const off of offs) off();
			leave();
		};
	}, [channel]);
	return {
		channel,
		...outcome
	};
}
const PENDING = {
	state: "pending",
	error: void 0
};
/** Counts a user of a channel. The last one to leave unsubscribes, unless another comes in the same moment. */
function use(channel) {
	users.set(channel, (users.get(channel) ?? 0) + 1);
	return () => {
		users.set(channel, (users.get(channel) ?? 1) - 1);
		queueMicrotask(() => {
			if (users.get(channel) === 0) channel.unsubscribe().catch(() => {});
		});
	};
}
/**
* The latest messages of a channel, the oldest first; at most `limit` (default 100). Subscribes as {@link useChannel}
* does.
*/
function useMessages(name, { limit = 100, event, rewind } = {}) {
	const [messages, setMessages] = (0, react.useState)([]);
	const add = (message) => {
		if (event === void 0 || message.event === event) setMessages((known) => [...known, message].slice(-limit));
	};
	const { channel } = useChannel(name, {
		...rewind !== void 0 && { rewind },
		onMessage: add
	});
	(0, react.useEffect)(() => {
		if (channel) setMessages([]);
	}, [channel]);
	return messages;
}
/** Who is in a channel, kept up to date. `data`: what to show of oneself; left out, one only watches. */
function usePresence(name, data) {
	const { channel } = useChannel(name, {
		presence: true,
		...data !== void 0 && { data }
	});
	const { presence } = channel;
	const [members, setMembers] = (0, react.useState)([]);
	(0, react.useEffect)(() => {
		const read = () => setMembers([...presence.members.values()]);
		read();
		return presence.onChange(read);
	}, [presence]);
	return members;
}
//#endregion
exports.StarlingProvider = StarlingProvider;
exports.useChannel = useChannel;
exports.useClient = useClient;
exports.useMessages = useMessages;
exports.usePresence = usePresence;
exports.useStatus = useStatus;

//# sourceMappingURL=react.cjs.map