// Who heard what, and the judgement: the publishers' acknowledgements, the log and every follower must tell one story.

/** What one follower heard. It only writes down; it never mends. */
export class Record {
  heard = new Map(); // channel → [{ epoch, offset, payload }]
  told = []; // admissions that something is missing
  returns = 0; // connections after the first
  #ended = new Set();

  constructor(name, channels) {
    this.name = name;
    this.channels = channels;
    for (const channel of channels) this.heard.set(channel, []);
  }

  take(channel, { epoch, offset, payload }) {
    this.heard.get(channel).push({ epoch, offset, payload });
    if (payload.end === true) this.#ended.add(channel);
  }

  /** It has a position in every channel: from here on it must miss nothing. */
  get isStarted() {
    return this.channels.every((channel) => this.heard.get(channel).length > 0);
  }

  /** It has heard the last message of every channel. */
  get isFinished() {
    return this.#ended.size === this.channels.length;
  }

  tell(what) {
    this.told.push(what);
  }

  /** Where to go on, or nothing before the first message. */
  position(channel) {
    const last = this.heard.get(channel).at(-1);
    return last && { epoch: last.epoch, offset: last.offset };
  }

  get count() {
    return [...this.heard.values()].reduce((sum, list) => sum + list.length, 0);
  }
}

/** What publishers were promised. */
export class Acknowledgements {
  all = []; // { channel, id, epoch, offset }
  tries = 0;

  add(channel, id, { epoch, offset }) {
    this.all.push({ channel, id, epoch, offset });
  }
}

/** Every message of a channel's log, oldest first, read through the HTTP API. */
export async function readLog(node, channel) {
  const log = [];
  for (;;) {
    const after = log.at(-1)?.offset ?? 0;
    const { status, body, text } = await node.api("GET", `/api/channels/${encodeURIComponent(channel)}/history?limit=1000&after=${after}`);
    if (status !== 200) throw new Error(`the history of ${channel}: HTTP ${status} ${text}`);
    if (body.messages.length === 0) return { epoch: body.epoch, messages: log };
    log.push(...body.messages.map(({ id, offset, payload }) => ({ id, offset, payload })));
  }
}

const first = (list, more = 5) => list.slice(0, more).join(", ") + (list.length > more ? `, … (${list.length})` : "");

/**
 * What is wrong, in sentences; nothing is wrong in an empty list. `logs`: channel → what `readLog` gave. A follower owes
 * an account of everything from the first message that it heard.
 */
export function judge(logs, acknowledgements, records) {
  const faults = [];
  for (const [channel, { epoch, messages }] of logs) {
    const ids = new Set();
    messages.forEach(({ id, offset }, at) => {
      if (offset !== at + 1) faults.push(`${channel}: offset ${offset} stands at place ${at + 1} of the log`);
      if (ids.has(id)) faults.push(`${channel}: ${id} stands in the log twice`);
      ids.add(id);
    });
    const promised = acknowledgements.all.filter((it) => it.channel === channel);
    const broken = promised.filter((it) => it.epoch !== epoch || messages[it.offset - 1]?.id !== it.id);
    if (broken.length > 0) faults.push(`${channel}: acknowledged but not in the log where it was said to be: ${first(broken.map(({ id, offset }) => `${id}@${offset}`))}`);
    for (const record of records) {
      if (record.heard.has(channel)) faults.push(...compare(channel, epoch, messages, record));
    }
  }
  for (const { name, told } of records) {
    if (told.length > 0) faults.push(`${name} was told: ${first(told)}`);
  }
  return faults;
}

function compare(channel, epoch, messages, { name, heard }) {
  const faults = [];
  const list = heard.get(channel);
  const offsets = list.map(({ offset }) => offset);
  const had = new Set(offsets);
  const lost = messages.map(({ offset }) => offset).filter((offset) => offset > offsets[0] && !had.has(offset));
  const seen = new Set();
  const repeated = offsets.filter((offset) => seen.size === seen.add(offset).size);
  const unordered = offsets.filter((offset, at) => at > 0 && offset < offsets[at - 1]);
  const wrong = list.filter((it) => it.epoch !== epoch || JSON.stringify(messages[it.offset - 1]?.payload) !== JSON.stringify(it.payload));
  if (lost.length > 0) faults.push(`${name} lost on ${channel}: ${first(lost)}`);
  if (repeated.length > 0) faults.push(`${name} heard twice on ${channel}: ${first(repeated)}`);
  if (unordered.length > 0) faults.push(`${name} heard out of order on ${channel}: ${first(unordered)}`);
  if (wrong.length > 0) faults.push(`${name} heard on ${channel} what the log does not have: ${first(wrong.map(({ offset, payload }) => `${offset} ${JSON.stringify(payload)}`))}`);
  return faults;
}
