// The dashboard: reads /metrics, shows the numbers, and how they change. No dependencies.

const PERIOD = 2000; // milliseconds between readings
const KEPT = 120; // readings drawn

const $ = (selector) => document.querySelector(selector);
const number = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });
const bytes = (count) => (count >= 2 ** 30 ? `${number.format(count / 2 ** 30)} GiB` : `${number.format(count / 2 ** 20)} MiB`);

/** Samples of the Prometheus text format: [{name, labels, value}]. */
function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const [, name, set, value] = line.match(/^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)/) ?? [];
    if (name === undefined) continue;
    const labels = {};
    for (const [, label, content] of (set ?? "").matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)) labels[label] = content;
    samples.push({ name, labels, value: Number(value) });
  }
  return samples;
}

/** One reading of all numbers. */
class Reading {
  constructor(samples, at) {
    this.samples = samples;
    this.at = at;
  }

  sum(name, labels = {}) {
    const matches = (sample) => sample.name === name && Object.entries(labels).every(([label, value]) => sample.labels[label] === value);
    return this.samples.filter(matches).reduce((sum, { value }) => sum + value, 0);
  }

  values(name, label) {
    return [...new Set(this.samples.filter((sample) => sample.name === name).map(({ labels }) => labels[label]))];
  }

  /** How much a counter grew per second since `before`; a counter that fell was restarted. */
  rate(before, name, labels) {
    if (!before) return 0;
    const grown = this.sum(name, labels) - before.sum(name, labels);
    return Math.max(0, grown) / ((this.at - before.at) / 1000);
  }
}

const TILES = [
  { title: "Connections", of: (now) => now.sum("starling_connections") },
  { title: "Channels", of: (now) => now.sum("starling_channels") },
  { title: "Memberships", of: (now) => now.sum("starling_members") },
  { title: "Published per second", of: (now, before) => now.rate(before, "starling_messages_published_total") },
  { title: "Delivered per second", of: (now, before) => now.rate(before, "starling_messages_delivered_total") },
  { title: "Dropped per second", of: (now, before) => now.rate(before, "starling_messages_dropped_total"), alarm: (value) => value > 0 },
  { title: "Conflated per second", of: (now, before) => now.rate(before, "starling_messages_conflated_total") },
  { title: "Rate-limited per second", of: (now, before) => now.rate(before, "starling_rate_limited_total"), alarm: (value) => value > 0 },
  { title: "Slow consumers per minute", of: (now, before) => 60 * now.rate(before, "starling_connections_closed_total", { reason: "slow_consumer" }), alarm: (value) => value > 0 },
  { title: "Not recovered per minute", of: (now, before) => 60 * now.rate(before, "starling_recoveries_total", { result: "not_recovered" }), alarm: (value) => value > 0 },
  { title: "Processor", of: (now, before) => 100 * now.rate(before, "process_cpu_seconds_total"), show: (value) => `${number.format(value)} %` },
  { title: "Memory", of: (now) => now.sum("process_resident_memory_bytes"), show: bytes },
  { title: "Descriptors", of: (now) => now.sum("process_open_fds") },
];

for (const tile of TILES) {
  tile.history = [];
  tile.element = document.createElement("div");
  tile.element.className = "tile";
  tile.element.innerHTML = '<h2></h2><p></p><svg viewBox="0 0 100 20" preserveAspectRatio="none" aria-hidden="true"><polyline></polyline></svg>';
  tile.element.querySelector("h2").textContent = tile.title;
  $("#tiles").append(tile.element);
}

function draw(tile, value) {
  tile.history.push(value);
  if (tile.history.length > KEPT) tile.history.shift();
  tile.element.querySelector("p").textContent = (tile.show ?? number.format)(value);
  tile.element.classList.toggle("alarm", tile.alarm?.(value) ?? false);
  const most = Math.max(...tile.history, 1e-9);
  const points = tile.history.map((it, at) => `${(at / (KEPT - 1)) * 100},${20 - (it / most) * 19}`);
  tile.element.querySelector("polyline").setAttribute("points", points.join(" "));
}

function fill(selector, rows) {
  $(`${selector} tbody`).replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells.map((cell) => {
      const data = document.createElement("td");
      data.textContent = typeof cell === "number" ? number.format(cell) : cell;
      return data;
    }));
    return row;
  }));
}

function show(now, before) {
  for (const tile of TILES) draw(tile, tile.of(now, before));
  fill("#protocols", now.values("starling_connections", "protocol").map((protocol) => [
    protocol, now.sum("starling_connections", { protocol }), now.rate(before, "starling_messages_delivered_total", { protocol }),
  ]));
  fill("#closes", now.values("starling_connections_closed_total", "reason")
    .map((reason) => [reason.replaceAll("_", " "), now.sum("starling_connections_closed_total", { reason }), 60 * now.rate(before, "starling_connections_closed_total", { reason })])
    .filter(([, count]) => count > 0));
  fill("#apps", now.values("starling_connections", "app").map((app) => [
    app, now.sum("starling_connections", { app }), now.sum("starling_channels", { app }), now.sum("starling_members", { app }),
  ]));
  const up = now.sum("starling_engine_up") === 1;
  $("#state").dataset.state = up ? "up" : "down";
  const since = new Date(1000 * now.sum("process_start_time_seconds"));
  $("#state").textContent = up ? `up since ${since.toLocaleString()}` : "the engine is away: publishes are refused";
}

let before = null;
async function read() {
  try {
    const answer = await fetch("../metrics", { headers: { accept: "text/plain" }, cache: "no-store" });
    if (!answer.ok) throw new Error(`HTTP ${answer.status}`);
    const now = new Reading(parse(await answer.text()), performance.now());
    show(now, before);
    before = now;
  } catch (error) {
    $("#state").dataset.state = "down";
    $("#state").textContent = `no answer: ${error.message}`;
    before = null;
  }
  setTimeout(read, PERIOD);
}
read();
