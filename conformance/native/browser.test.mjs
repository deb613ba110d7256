// The demo page of `starling serve --dev` in a real Chromium: two tabs chat, presence, a dropped connection, the frames.
//
// CHROMIUM names the browser (default /usr/bin/chromium). Screenshots go to $SCREENSHOTS, or a temporary folder that is named at the end.

import assert from "node:assert/strict";
import { existsSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, test } from "node:test";

import { chromium } from "playwright-core";

import { Server } from "../harness/server.mjs";

const CHROMIUM = process.env.CHROMIUM ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find(existsSync);
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
const DEV = { id: "1", key: "dev-key", secret: "dev-secret" };
const SCREENSHOTS = process.env.SCREENSHOTS ?? mkdtempSync(join(tmpdir(), "starling-screenshots-"));

let server;
let browser;
const complaints = [];

before(async () => {
  server = await Server.start({}, { args: ["--dev"] });
  server.app = DEV;
  browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: FLAGS });
});
after(async () => {
  await browser?.close();
  await server?.stop();
  console.log(`screenshots: ${SCREENSHOTS}`);
});

afterEach(() => Promise.all(browser.contexts().map((context) => context.close())));

/** A tab of its own (nothing shared with other tabs) in `channel`, under `name`. */
async function tab(channel, name, options = {}) {
  const page = await (await browser.newContext({ viewport: { width: 1280, height: 900 }, reducedMotion: "reduce", ...options })).newPage();
  page.setDefaultTimeout(120_000); // for a machine that has other things to do
  page.on("console", (message) => {
    // The one thing a page may miss is an icon.
    if (["error", "warning"].includes(message.type()) && !/favicon/.test(message.location().url)) complaints.push(`${name}: ${message.text()}`);
  });
  page.on("pageerror", (error) => complaints.push(`${name}: ${error.message}`));
  page.on("request", (request) => {
    if (!request.url().startsWith(server.origin)) complaints.push(`${name}: a request to ${request.url()}`);
  });
  await page.goto(`${server.origin}/#${encodeURIComponent(channel)}`);
  await page.locator('#state[data-state="on"]').waitFor();
  await page.fill("#name", name);
  await page.press("#name", "Enter");
  await page.locator(".member", { hasText: name }).waitFor();
  return page;
}

async function say(page, text) {
  await page.fill("#text", text);
  await page.press("#text", "Enter");
  await page.locator(".message.own:not(.pending)", { hasText: text }).waitFor();
}

const hears = (page, text) => page.locator("#messages .body", { hasText: text }).waitFor();
const bodies = (page) => page.locator("#messages .body").allTextContents();

test("two tabs talk; each message is there once, in one order, with its offset", async () => {
  const [ada, grace] = [await tab("talk", "Ada"), await tab("talk", "Grace")];
  await say(ada, "Is anybody there?");
  await hears(grace, "Is anybody there?");
  await say(grace, "Yes, here.");
  await hears(ada, "Yes, here.");
  await server.publish("talk", { name: "backend", text: "And here." }, { event: "chat" });
  for (const page of [ada, grace]) {
    await hears(page, "And here.");
    assert.deepEqual(await bodies(page), ["Is anybody there?", "Yes, here.", "And here."]);
    assert.match((await page.locator("#messages .at").allTextContents()).join(), /#1,.*#2,.*#3/);
  }
});

test("presence follows names, and tabs that come and go", async () => {
  const [ada, grace] = [await tab("presence", "Ada"), await tab("presence", "Grace")];
  await ada.locator(".member", { hasText: "Grace" }).waitFor();
  assert.match(await ada.locator(".member", { hasText: "Ada" }).textContent(), /you/);
  await grace.fill("#name", "Admiral");
  await grace.press("#name", "Enter");
  await ada.locator(".member", { hasText: "Admiral" }).waitFor();
  await ada.locator(".member", { hasText: "Grace" }).waitFor({ state: "detached" });
  assert.equal(await ada.textContent("#count"), "2");
  await grace.close();
  await ada.locator(".member", { hasText: "Admiral" }).waitFor({ state: "detached" });
});

test("history is there on joining; another channel is another room", async () => {
  const ada = await tab("past", "Ada");
  for (const text of ["one", "two", "three"]) await say(ada, text);
  const late = await tab("past", "Late");
  await hears(late, "three");
  assert.deepEqual(await bodies(late), ["one", "two", "three"]);
  await late.fill("#channel", "elsewhere");
  await late.press("#channel", "Enter");
  await ada.locator(".member", { hasText: "Late" }).waitFor({ state: "detached" });
  assert.deepEqual(await bodies(late), []);
  await late.fill("#channel", "past");
  await late.press("#channel", "Enter");
  await hears(late, "three");
});

test("a dropped connection recovers what was missed", async () => {
  const [ada, grace] = [await tab("drop", "Ada", { colorScheme: "dark" }), await tab("drop", "Grace")];
  await say(ada, "before");
  await hears(grace, "before");
  await grace.click("#drop");
  await grace.locator('#state[data-state="waiting"]').waitFor();
  await ada.locator(".member", { hasText: "Grace" }).waitFor({ state: "detached" });
  await say(ada, "missed, the first");
  await server.publish("drop", { name: "backend", text: "missed, the second" });
  // Said while offline: it goes out after the reconnect.
  await grace.fill("#text", "said offline");
  await grace.press("#text", "Enter");
  await grace.click("#toggle");
  await grace.locator(".notice.good", { hasText: "recovered 2 messages" }).waitFor();
  await hears(ada, "said offline");
  assert.deepEqual(await bodies(ada), ["before", "missed, the first", "missed, the second", "said offline"]);
  await grace.locator(".message.own:not(.pending)", { hasText: "said offline" }).waitFor();
  assert.deepEqual(await bodies(grace), await bodies(ada));
  await ada.screenshot({ path: join(SCREENSHOTS, "demo-dark.png"), fullPage: true });
  await grace.screenshot({ path: join(SCREENSHOTS, "demo-light.png"), fullPage: true });
});

test("the page comes back by itself", async () => {
  const ada = await tab("itself", "Ada");
  const { body } = await server.api("GET", "/api/channels/itself/presence");
  await ada.click("#drop");
  await ada.locator('#state[data-state="on"]').waitFor();
  await ada.locator(".notice.good", { hasText: "nothing was missed" }).waitFor();
  assert.equal(body.members[0].data.name, "Ada");
});

test("disconnect and connect", async () => {
  const ada = await tab("toggle", "Ada");
  await ada.click("#toggle");
  await ada.locator('#state[data-state="off"]').waitFor();
  await ada.click("#toggle");
  await ada.locator('#state[data-state="on"]').waitFor();
  await say(ada, "back");
});

test("an application that refuses: the page says so and stays away", async () => {
  const ada = await tab("refused", "Ada");
  const { body } = await server.api("GET", "/api/channels/refused/presence");
  await server.api("POST", `/api/connections/${encodeURIComponent(body.members[0].connectionId)}/disconnect`);
  await ada.locator('#state[data-state="refused"]').waitFor();
});

test("frames: shown, unfolded with their digits, paused, cleared, at most 200", async () => {
  const ada = await tab("frames", "Ada");
  await server.publish("frames", 0);
  await server.api("POST", "/api/publish", '{"channel":"frames","event":"big","payload":{"n":9007199254740993}}');
  await hears(ada, '{"n":9007199254740993}');
  const big = ada.locator(".frame", { hasText: "big" });
  await big.locator("summary").click();
  assert.match(await big.locator("pre").textContent(), /"n": 9007199254740993/);
  for (let at = 0; at < 250; at++) await server.publish("frames", `m${at}`);
  await hears(ada, "m249");
  assert.equal(await ada.locator(".frame").count(), 200);
  await ada.click("#pause");
  await server.publish("frames", "while paused");
  await hears(ada, "while paused");
  assert.equal(await ada.locator(".frame").count(), 200);
  await ada.click("#clear");
  assert.equal(await ada.locator(".frame").count(), 0);
  await ada.click("#pause");
  await say(ada, "shown again");
  assert.ok(await ada.locator(".frame").count() > 0);
});

test("what users write is text, never markup", async () => {
  const ada = await tab("<img src=x onerror=alert(1)>", '<b onclick="x">Eve</b>');
  await say(ada, "<script>document.title = 'bad'</script>");
  await server.publish("<img src=x onerror=alert(1)>", { name: "<i>x</i>", text: "<img src=x onerror=alert(1)>" });
  await hears(ada, "<img src=x");
  assert.equal(await ada.locator("#messages :is(img, script, i)").count(), 0);
  assert.doesNotMatch(await ada.title(), /^bad/);
});

test("the ways in name this server, and curl runs from the page", async () => {
  const ada = await tab("it's a room", "Ada");
  for (const way of await ada.locator("#tabs [role=tab]").all()) {
    await way.click();
    const code = await ada.textContent("#snippet-code");
    assert.ok(code.includes(`127.0.0.1:${server.port}`) || code.includes(String(server.port)), code);
    assert.ok(code.includes("room"), code);
  }
  await ada.locator("#tabs [role=tab]").first().click();
  await ada.click("#run");
  await hears(ada, "Hello from HTTP");
  assert.match(await ada.textContent("#snippet-result"), /^HTTP 200/);
});

test("it can be used with the keyboard alone", async () => {
  const ada = await tab("keys", "Ada");
  await ada.keyboard.press("Tab");
  await ada.focus("#text");
  await ada.keyboard.type("typed");
  await ada.keyboard.press("Tab");
  await ada.keyboard.press("Enter");
  await hears(ada, "typed");
  await ada.focus("#tabs [role=tab]");
  await ada.keyboard.press("ArrowRight");
  assert.equal(await ada.locator("#tabs [aria-selected=true]").textContent(), await ada.locator("#tabs [role=tab]").nth(1).textContent());
});

test("a phone shows all of it without scrolling sideways", async () => {
  const phone = await tab("phone", "Pia", { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true });
  await say(phone, "A message long enough to be wrapped on a screen that is no wider than a hand, and averylongwordthatmustnotpushthepagewideratallwhateverhappens");
  const [inner, scroll] = await phone.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
  assert.ok(scroll <= inner, `${scroll} > ${inner}`);
  await phone.screenshot({ path: join(SCREENSHOTS, "demo-phone.png"), fullPage: true });
});

test("side by side: every client of the page hears the same messages, whoever said them", async () => {
  const ada = await tab("side", "Ada");
  await ada.click("#sides-toggle");
  const columns = await ada.locator(".side").all();
  assert.deepEqual(
    await ada.locator(".side header b").allTextContents(),
    ["@starling/client", "socket.io-client", "phoenix.js", "pusher-js", "EventSource"],
  );
  for (const column of columns) await column.locator('xpath=self::*[@data-state="on"]').waitFor();
  await say(ada, "Hello from the page");
  await server.publish("side", { name: "backend", text: "Hello from HTTP" }, { event: "chat" });
  const said = ["Hello from the page", "Hello from HTTP"];
  // One after the other, so that there is one order.
  for (const speaker of await ada.locator(".side:has(button)").all()) {
    const title = await speaker.locator("header b").textContent();
    await speaker.locator("button").click();
    await hears(ada, `Hello from ${title}`);
    said.push(`Hello from ${title}`);
  }
  assert.equal(said.length, 5);
  for (const column of columns) {
    await column.locator(".heard li", { hasText: said.at(-1) }).waitFor();
    const heard = await column.locator(".heard li").allTextContents();
    assert.deepEqual(heard.map((text) => text.slice(text.indexOf("Hello"))), said, await column.getAttribute("data-side"));
  }
  await ada.screenshot({ path: join(SCREENSHOTS, "demo-sides.png"), fullPage: true });
  await ada.click("#sides-toggle");
  assert.equal(await ada.locator(".side").count(), 0);
});

test("a restart of the server is announced, and survived", async () => {
  const ada = await tab("restart", "Ada");
  await say(ada, "before the restart");
  server.signal("SIGTERM");
  await ada.locator(".notice.warn", { hasText: "restarting" }).waitFor();
  await ada.locator('#state[data-state="waiting"]').waitFor();
  assert.equal((await server.exited).code, 0);
});

test("no tab complained: no error, no violated policy, no request to elsewhere", () => {
  // A refused WebSocket is reported by the browser itself, in the test that stops the server.
  assert.deepEqual(complaints.filter((text) => !/WebSocket connection .* failed/.test(text)), []);
});
