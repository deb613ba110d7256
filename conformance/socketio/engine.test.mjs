// Engine.IO 4 by hand: the handshake, packets, heartbeats, closing and the upgrade, on both paths where it is spoken.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { PING_INTERVAL, PING_TIMEOUT, Suite } from "./suite.mjs";

let suite;
before(async () => { suite = await Suite.start(); });
after(() => suite.stop());

const POLL = "EIO=4&transport=polling";
/** What a poll brings for which nothing but heartbeats waits. */
const PINGS = /^2(\x1e2)*$/;
const PINGS_OR_NOTHING = /^(6|2(\x1e2)*)$/;

for (const path of ["/engine.io/", "/socket.io/"]) {
  describe(`handshake at ${path}`, () => {
    const isHandshake = (packet, upgrades) => {
      assert.equal(packet[0], "0");
      const { sid, ...rest } = JSON.parse(packet.slice(1));
      assert.equal(typeof sid, "string");
      assert.deepEqual(rest, { upgrades, pingInterval: PING_INTERVAL, pingTimeout: PING_TIMEOUT, maxPayload: 1_000_000 });
    };

    test("polling", async () => {
      const answer = await suite.at(path, POLL);
      assert.equal(answer.status, 200);
      assert.match(answer.headers.get("content-type"), /^text\/plain; charset=UTF-8$/i);
      isHandshake(await answer.text(), ["websocket"]);
    });

    test("WebSocket", async () => {
      const socket = suite.socket(path);
      isHandshake(await socket.next(), []);
      socket.close();
    });

    const wrong = [
      ["without a version", "transport=polling", "GET", 5],
      ["of a version that there is not", "EIO=abc&transport=polling", "GET", 5],
      ["of version 3", "EIO=3&transport=polling", "GET", 5],
      ["without a transport", "EIO=4", "GET", 0],
      ["of a transport that there is not", "EIO=4&transport=abc", "GET", 0],
      ["by POST", POLL, "POST", 2],
      ["by PUT", POLL, "PUT", 2],
      ["WebSocket without an upgrade", "EIO=4&transport=websocket", "GET", 3],
      ["of a session that there is not", `${POLL}&sid=nobody`, "GET", 1],
      ["to a session that there is not", `${POLL}&sid=nobody`, "POST", 1],
    ];
    for (const [name, query, method, code] of wrong) {
      test(`${name}: HTTP 400 with code ${code}`, async () => {
        const answer = await suite.at(path, query, { method });
        assert.equal(answer.status, 400);
        const body = await answer.json();
        assert.equal(body.code, code);
        assert.equal(typeof body.message, "string");
      });
    }

    for (const query of ["transport=websocket", "EIO=abc&transport=websocket", "EIO=3&transport=websocket", "EIO=4", "EIO=4&transport=abc", "EIO=4&transport=websocket&sid=nobody"]) {
      test(`no WebSocket for ${query}`, async () => {
        const socket = suite.socket(path, query);
        await socket.closed;
        assert.match(socket.error.message, /400/);
      });
    }
  });

  describe(`heartbeat at ${path}`, () => {
    test("polling", async () => {
      const sid = await suite.poll(path);
      for (let n = 0; n < 3; n += 1) {
        const answer = await suite.at(path, `${POLL}&sid=${sid}`);
        assert.equal(answer.status, 200);
        assert.match(await answer.text(), PINGS);
        const pong = await suite.at(path, `${POLL}&sid=${sid}`, { method: "POST", body: "3" });
        assert.deepEqual([pong.status, await pong.text()], [200, "ok"]);
        if (path === "/socket.io/" && n === 1) break; // It enters no namespace, and is closed soon.
      }
    });

    test("a client that polls and does not answer", async () => {
      const sid = await suite.poll(path);
      let answer = await suite.at(path, `${POLL}&sid=${sid}`);
      assert.match(await answer.text(), PINGS);
      for (const deadline = Date.now() + 60_000; answer.status === 200 && Date.now() < deadline; ) {
        answer = await suite.at(path, `${POLL}&sid=${sid}`);
        await answer.text();
      }
      assert.equal(answer.status, 400);
    });

    test("WebSocket", async () => {
      const socket = await suite.opened(path);
      for (let n = 0; n < 2; n += 1) {
        assert.equal(await socket.next({ pings: true }), "2");
        socket.send("3");
      }
      socket.close();
    });

    test("a WebSocket that does not answer", async () => {
      const socket = await suite.opened(path);
      await socket.closed;
    });
  });

  describe(`closing at ${path}`, () => {
    test("polling: the poll that waits ends", async () => {
      let sid, polled, text;
      do {
        sid = await suite.poll(path);
        [polled] = await Promise.all([
          suite.at(path, `${POLL}&sid=${sid}`),
          suite.at(path, `${POLL}&sid=${sid}`, { method: "POST", body: "1" }),
        ]);
        text = await polled.text();
        // Where a heartbeat was there before, it did not wait.
      } while (PINGS.test(text));
      assert.deepEqual([polled.status, text], [200, "6"]);
      assert.equal((await suite.at(path, `${POLL}&sid=${sid}`)).status, 400);
    });

    test("WebSocket", async () => {
      const socket = await suite.opened(path);
      socket.send("1");
      await socket.closed;
    });
  });

  describe(`upgrade at ${path}`, () => {
    async function probed() {
      const sid = await suite.poll(path);
      const socket = suite.socket(path, `EIO=4&transport=websocket&sid=${sid}`);
      await socket.opened();
      socket.send("2probe");
      assert.equal(await socket.next(), "3probe");
      return { sid, socket };
    }

    test("a poll during the probe ends soon, also a second one, and one that waits already", async () => {
      const sid = await suite.poll(path);
      const waiting = suite.at(path, `${POLL}&sid=${sid}`).then((answer) => answer.text());
      const socket = suite.socket(path, `EIO=4&transport=websocket&sid=${sid}`);
      await socket.opened();
      socket.send("2probe");
      assert.equal(await socket.next(), "3probe");
      assert.match(await waiting, PINGS_OR_NOTHING);
      for (let n = 0; n < 2; n += 1) {
        const answer = await suite.at(path, `${POLL}&sid=${sid}`);
        assert.equal(answer.status, 200);
        assert.match(await answer.text(), PINGS_OR_NOTHING);
      }
      socket.send("5");
      socket.close();
    });

    test("what comes during the probe is polled: the WebSocket may come to nothing", async () => {
      if (path !== "/engine.io/") return;
      const { sid, socket } = await probed();
      const brought = await suite.at(path, `${POLL}&sid=${sid}`, { method: "POST", body: "4hello" });
      assert.deepEqual([brought.status, await brought.text()], [200, "ok"]);
      let text = "6";
      while (PINGS_OR_NOTHING.test(text)) text = await (await suite.at(path, `${POLL}&sid=${sid}`)).text();
      assert.match(text, /4hello/);
      socket.close();
    });

    test("afterwards, polling the session is refused", async () => {
      const { sid, socket } = await probed();
      socket.send("5");
      let status = 200;
      for (const deadline = Date.now() + 60_000; status === 200 && Date.now() < deadline; ) {
        const answer = await suite.at(path, `${POLL}&sid=${sid}`);
        await answer.text();
        status = answer.status;
      }
      assert.equal(status, 400);
      if (path === "/engine.io/") {
        socket.send("4hello");
        assert.equal(await socket.next(), "4hello");
      }
      socket.close();
    });

    test("afterwards, another WebSocket is refused", async () => {
      const { sid, socket } = await probed();
      socket.send("5");
      const other = suite.socket(path, `EIO=4&transport=websocket&sid=${sid}`);
      await other.closed;
      if (path === "/engine.io/") {
        socket.send("4hello");
        assert.equal(await socket.next(), "4hello");
      }
      socket.close();
    });

    test("a WebSocket that goes away during the probe leaves the session polling", async () => {
      const { sid, socket } = await probed();
      socket.close();
      await socket.closed;
      let text = "6";
      for (const deadline = Date.now() + 60_000; text === "6" && Date.now() < deadline; ) {
        text = await (await suite.at(path, `${POLL}&sid=${sid}`)).text();
      }
      assert.match(text, PINGS);
    });
  });
}

describe("messages of Engine.IO alone", () => {
  const path = "/engine.io/";
  const exchange = async (body) => {
    const sid = await suite.poll(path);
    const brought = await suite.at(path, `${POLL}&sid=${sid}`, { method: "POST", body });
    assert.deepEqual([brought.status, await brought.text()], [200, "ok"]);
    for (;;) {
      const answer = await suite.at(path, `${POLL}&sid=${sid}`);
      assert.equal(answer.status, 200);
      // A heartbeat may come first.
      const packets = (await answer.text()).split("\x1e").filter((packet) => packet !== "2");
      if (packets.length > 0) return packets.join("\x1e");
    }
  };

  for (const body of ["4hello", "4test1\x1e4test2\x1e4test3", "4hello\x1ebAQIDBA==", '4"quoted" \\ é \u0001']) {
    test(`polling: ${JSON.stringify(body)}`, async () => assert.equal(await exchange(body), body));
  }

  for (const body of ["abc", "", "0", "4a\x1eb!", "4a\x1e", Buffer.from([0x34, 0xff])]) {
    test(`polling: ${JSON.stringify(body.toString())} closes the session`, async () => {
      const sid = await suite.poll(path);
      assert.equal((await suite.at(path, `${POLL}&sid=${sid}`, { method: "POST", body })).status, 400);
      assert.equal((await suite.at(path, `${POLL}&sid=${sid}`)).status, 400);
    });
  }

  test("two polls at once close the session", async () => {
    let sid, answers;
    do {
      sid = await suite.poll(path);
      answers = await Promise.all([1, 2].map(async () => {
        const answer = await suite.at(path, `${POLL}&sid=${sid}`);
        return [answer.status, await answer.text()];
      }));
      // A heartbeat between the two ends the first of them.
    } while (answers.some(([, text]) => PINGS.test(text)));
    assert.deepEqual(answers.map(([status]) => status).sort(), [200, 400]);
    assert.equal(answers.find(([status]) => status === 200)[1], "1");
    assert.equal((await suite.at(path, `${POLL}&sid=${sid}`)).status, 400);
  });

  test("a poll that is given up closes the session", async () => {
    const sid = await suite.poll(path);
    const given = new AbortController();
    const poll = suite.at(path, `${POLL}&sid=${sid}`, { signal: given.signal }).catch(() => {});
    // So that the poll has begun: this is answered behind it.
    await suite.at(path, "EIO=4");
    given.abort();
    await poll;
    let answer;
    for (const deadline = Date.now() + 60_000; Date.now() < deadline; ) {
      answer = await suite.at(path, `${POLL}&sid=${sid}`);
      if (answer.status !== 200) break;
    }
    assert.equal(answer.status, 400);
  });

  test("a body that is too large", async () => {
    const sid = await suite.poll(path);
    assert.equal((await suite.at(path, `${POLL}&sid=${sid}`, { method: "POST", body: `4${"x".repeat(1_000_001)}` })).status, 413);
  });

  test("WebSocket: text, bytes, and what is no packet", async () => {
    const socket = await suite.opened(path);
    socket.send("4hello", Uint8Array.from([1, 2, 3, 4]));
    assert.equal(await socket.next(), "4hello");
    assert.deepEqual(await socket.next(), Buffer.from([1, 2, 3, 4]));
    socket.send("abc");
    await socket.closed;
  });
});

describe("pages of other origins", () => {
  test("preflight and CORS headers", async () => {
    const origin = "https://app.example.com";
    const preflight = await suite.at("/socket.io/", POLL, { method: "OPTIONS", headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "content-type" } });
    assert.equal(preflight.status, 204);
    assert.equal(preflight.headers.get("access-control-allow-origin"), "*");
    for (const query of [POLL, "EIO=3&transport=polling"]) {
      const answer = await suite.at("/socket.io/", query, { headers: { origin } });
      assert.equal(answer.headers.get("access-control-allow-origin"), "*");
    }
  });
});
