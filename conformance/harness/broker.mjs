// Real brokers on free ports, in folders of their own, stopped whatever happens.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { binary, eventually, freePort } from "./server.mjs";

const running = new Set();
process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

const KINDS = {
  redis: {
    program: "redis-server",
    args: (port, folder) => ["--port", `${port}`, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", "yes", "--appendfsync", "always"],
    url: (port) => `redis://127.0.0.1:${port}`,
  },
  nats: {
    program: "nats-server",
    args: (port, folder) => ["-a", "127.0.0.1", "-p", `${port}`, "-js", "-sd", folder],
    url: (port) => `nats://127.0.0.1:${port}`,
  },
  kafka: {
    program: "java",
    args: (port, folder) => [...java(), "kafka.Kafka", join(folder, "server.properties")],
    url: (port) => `kafka://127.0.0.1:${port}?partitions=4`,
    async prepare(port, folder) {
      const properties = join(folder, "server.properties");
      writeFileSync(properties, kafkaProperties(port, await freePort(), folder));
      if (existsSync(join(folder, "data"))) return;
      const made = spawnSync("java", [...java(), "kafka.tools.StorageTool", "format", "-t", "c3RhcmxpbmctdGVzdHMtMQ", "-c", properties]);
      if (made.status !== 0) throw new Error(`Kafka's storage: ${made.stderr}`);
    },
    isInstalled: () => kafkaJars() !== undefined,
  },
};

let jars;
/** The folder with Kafka's jars; undefined where it cannot be had. */
function kafkaJars() {
  const fetched = jars ?? spawnSync(join(import.meta.dirname, "../../scripts/kafka"), { encoding: "utf8" });
  jars = fetched;
  return fetched.status === 0 ? fetched.stdout.trim() : undefined;
}

const java = () => ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", `${kafkaJars()}/*`];

/** One node in KRaft mode. */
const kafkaProperties = (port, controller, folder) => `
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:${controller}
listeners=CLIENT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller}
advertised.listeners=CLIENT://127.0.0.1:${port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=CLIENT
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs=${folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
log.cleaner.dedupe.buffer.size=4194304
`;

/** Whether the binary has the Kafka engine: a build without it names those that it has. */
function hasKafka() {
  try {
    const asked = spawnSync(binary(), ["serve", "--dev", "--engine", "kafka://127.0.0.1?no=1"], { encoding: "utf8", timeout: 20_000 });
    return !asked.stderr.includes("is not in this build");
  } catch {
    return false;
  }
}

/** The kinds that the binary can use. */
export const kinds = Object.keys(KINDS).filter((kind) => kind !== "kafka" || hasKafka());
export const isInstalled = (kind) => spawnSync("sh", ["-c", `command -v ${KINDS[kind].program}`]).status === 0 && (KINDS[kind].isInstalled?.() ?? true);

/** One broker. Its data outlive a restart. */
export class Broker {
  /** `more`: arguments of the program, after those that every test has. */
  static async start(kind, more = []) {
    const broker = new Broker();
    broker.kind = KINDS[kind];
    broker.more = more;
    broker.port = await freePort();
    broker.folder = mkdtempSync(join(tmpdir(), `starling-${kind}-`));
    broker.url = broker.kind.url(broker.port);
    await broker.begin();
    return broker;
  }

  async begin() {
    await this.kind.prepare?.(this.port, this.folder);
    this.child = spawn(this.kind.program, [...this.kind.args(this.port, this.folder), ...this.more], { stdio: "ignore" });
    running.add(this.child);
    const { child } = this;
    this.exited = new Promise((done) => child.once("close", () => { running.delete(child); done(); }));
    await eventually(() => new Promise((done) => {
      const probe = connect(this.port, "127.0.0.1", () => { probe.destroy(); done(true); });
      probe.on("error", () => done(false));
    }), this.kind.program, 120_000);
  }

  signal(name) {
    this.child.kill(name);
  }

  /** Removes its data. It must not be running. */
  wipe() {
    rmSync(this.folder, { recursive: true, force: true });
    mkdirSync(this.folder);
  }

  /** Ends it without warning; the data stay. */
  async kill() {
    this.child.kill("SIGCONT");
    this.child.kill("SIGKILL");
    await this.exited;
  }

  async stop() {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
