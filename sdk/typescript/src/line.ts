/** One connection from the fetching of its token to its end: a link, its time to open, its heartbeat. */

import { Alarm } from "./environment.js";
import { StarlingError } from "./errors.js";
import { Heartbeat } from "./heartbeat.js";
import type { ClientMessage, ServerMessage, Welcome } from "./protocol.js";
import type { Settings } from "./settings.js";
import type { Tokens } from "./token.js";
import type { Link, Loss, Transport } from "./transport/transport.js";

/** What a line tells its owner; nothing after `lost` or {@link Line.close}. */
export interface LineEvents {
  opened(welcome: Welcome): void;
  receive(message: ServerMessage): void;
  lost(loss: Loss): void;
}

export class Line {
  readonly transport: Transport;
  /** What the server said when it agreed; before that there is nothing to send on. */
  welcome: Welcome | undefined;
  /** The token that it was opened with. */
  token: string | undefined;
  #settings: Settings;
  /** Its owner; another one may take it over. */
  events: LineEvents;
  #link: Link | undefined;
  #alarm: Alarm;
  #heartbeat: Heartbeat;
  #done = false;

  constructor(settings: Settings, transport: Transport, tokens: Tokens, events: LineEvents) {
    this.#settings = settings;
    this.transport = transport;
    this.events = events;
    const { environment, heartbeat, connectTimeout } = settings;
    this.#alarm = new Alarm(environment);
    this.#heartbeat = new Heartbeat(
      environment,
      heartbeat,
      () => this.#link?.ping(),
      () => this.#lost({ error: new StarlingError("CONNECTION_LOST", "no sign of life") }),
    );
    this.#alarm.set(connectTimeout, () =>
      this.#lost({ error: new StarlingError("TIMEOUT", `connect: no answer in ${connectTimeout} ms`) }),
    );
    tokens.current().then(
      (token) => this.#open(token),
      (error: StarlingError) => this.#lost({ error }),
    );
  }

  send(message: ClientMessage): void {
    this.#link?.send(message);
  }

  renew(token: string): void {
    this.token = token;
    this.#link?.renew(token);
  }

  /** Makes sure that the path is alive. */
  probe(): void {
    this.#heartbeat.probe();
  }

  close(): void {
    this.#done = true;
    this.#alarm.clear();
    this.#heartbeat.stop();
    this.#link?.close();
    this.#link = undefined;
  }

  #open(token: string | undefined): void {
    if (this.#done) return;
    this.token = token;
    const { environment, base, codec } = this.#settings;
    this.#link = this.transport.open(
      { environment, base, codec, token },
      {
        opened: (welcome) => {
          this.welcome = welcome;
          this.#alarm.clear();
          this.#heartbeat.start(this.#link?.needsPings ?? true);
          this.events.opened(welcome);
        },
        receive: (message) => this.events.receive(message),
        heard: () => this.#heartbeat.heard(),
        lost: (loss) => this.#lost(loss),
      },
    );
  }

  #lost(loss: Loss): void {
    if (this.#done) return;
    this.close();
    this.events.lost(loss);
  }
}
