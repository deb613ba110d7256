// @vitest-environment happy-dom

import { act, StrictMode } from "react";
import { createRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeEach, expect, test } from "vitest";
import { StarlingProvider, useChannel, useMessages, usePresence, useStatus } from "../../src/react.js";
import { message, Rig } from "../support/rig.js";

type Events = { chat: string; other: number };

let root: Root;
let page: HTMLElement;

beforeEach(() => {
  Object.assign(globalThis, { IS_REACT_ACT_ENVIRONMENT: true });
  page = document.createElement("div");
  root = createRoot(page);
});
afterEach(() => act(() => root.unmount()));

function Room() {
  const { state, error } = useChannel<Events>("room");
  const messages = useMessages<Events, "chat">("room", { event: "chat", limit: 2 });
  return (
    <p>
      {[useStatus().state, state, error?.code, ...messages.map(({ payload }) => payload)].filter(Boolean).join(" ")}
    </p>
  );
}

function Members() {
  return (
    <p>
      {usePresence<string>("room", "me")
        .map(({ data }) => data)
        .join(" ")}
    </p>
  );
}

function Listener({ onStale }: { onStale: (why: unknown) => void }) {
  useChannel("room", { onStale });
  return null;
}

const render = (rig: Rig, element: React.ReactNode) =>
  act(async () => root.render(<StarlingProvider client={rig.client}>{element}</StarlingProvider>));

test("a component subscribes while it is there", async () => {
  const rig = new Rig();
  await render(
    rig,
    <StrictMode>
      <Room />
    </StrictMode>,
  );
  expect(page.textContent).toBe("connecting pending");
  await act(() => rig.socket.welcome());
  await act(() => rig.socket.ack("subscribe", { epoch: "e", offset: 0 }));
  expect(page.textContent).toBe("connected subscribed");
  await act(() => rig.socket.say(message("room", 1, { event: "chat", payload: "one" })));
  await act(() => rig.socket.say(message("room", 2, { event: "other" })));
  await act(() => rig.socket.say(message("room", 3, { event: "chat", payload: "two" })));
  await act(() => rig.socket.say(message("room", 4, { event: "chat", payload: "three" })));
  expect(page.textContent).toBe("connected subscribed two three");
  await render(rig, null);
  expect(rig.socket.take("unsubscribe").channel).toBe("room");
  expect(rig.socket.sent).toEqual([]);
});

test("a refusal is shown", async () => {
  const rig = new Rig();
  await render(rig, <Room />);
  await act(() => rig.socket.welcome());
  await act(() => rig.socket.refuse("subscribe", "FORBIDDEN"));
  expect(page.textContent).toBe("connected refused FORBIDDEN");
});

test("members, also where another component subscribed first", async () => {
  const rig = new Rig();
  await render(
    rig,
    <>
      <Room />
      <Members />
    </>,
  );
  await act(() => rig.socket.welcome());
  const request = await act(() => rig.socket.ack("subscribe", { epoch: "e", offset: 0 }));
  expect(request).toMatchObject({ presence: true });
  const members = ["me", "you"].map((data, at) => ({ userId: data, connectionId: `c${at}`, data }));
  await act(() => rig.socket.say({ type: "presence_state", channel: "room", members }));
  expect(page.lastElementChild?.textContent).toBe("me you");
});

test("on a server it renders what there is, and connects to nothing", () => {
  const rig = new Rig();
  const html = renderToString(
    <StarlingProvider client={rig.client}>
      <Room />
      <Members />
    </StarlingProvider>,
  );
  expect(html).toBe("<p>idle pending</p><p></p>");
  expect(rig.sockets.length).toBe(0);
});

test("stale: what may be missed is told", async () => {
  const rig = new Rig();
  const stale: unknown[] = [];
  await render(rig, <Listener onStale={(why) => stale.push(why)} />);
  await act(() => rig.socket.welcome());
  await act(() => rig.socket.ack("subscribe", { epoch: "e", offset: 0 }));
  await act(() => rig.socket.say({ type: "gap", channel: "room", missed: 2 }));
  await act(() => rig.socket.end());
  await act(() => rig.reconnected());
  await act(() => rig.socket.ack("subscribe", { epoch: "e", offset: 9, recovered: false }));
  expect(stale).toEqual([{ missed: 2, announced: true }, { recovered: false }]);
});
