/** A clock that stands still until it is told to move, with the timers that run on it. */

interface Task {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export class Clock {
  #now = 1_700_000_000_000;
  #order = 0;
  #tasks = new Map<number, Task>();

  readonly now = () => this.#now;

  readonly setTimeout = (run: () => void, delay: number): number => {
    const order = ++this.#order;
    this.#tasks.set(order, { at: this.#now + delay, order, run });
    return order;
  };

  readonly clearTimeout = (timer: unknown): void => {
    this.#tasks.delete(timer as number);
  };

  /** Timers that are set. */
  get pending(): number {
    return this.#tasks.size;
  }

  /** When the next timer is due, in milliseconds from now. */
  get next(): number | undefined {
    const first = this.#first();
    return first && first.at - this.#now;
  }

  /** Lets `milliseconds` pass, with everything that happens meanwhile. */
  async advance(milliseconds: number): Promise<void> {
    const end = this.#now + milliseconds;
    await settle();
    for (let task = this.#first(); task && task.at <= end; task = this.#first()) {
      this.#now = Math.max(this.#now, task.at);
      this.#tasks.delete(task.order);
      task.run();
      await settle();
    }
    this.#now = end;
  }

  /** The machine sleeps: time passes, and no timer runs until it wakes. */
  async sleep(milliseconds: number): Promise<void> {
    this.#now += milliseconds;
    await this.advance(0);
  }

  #first(): Task | undefined {
    let first: Task | undefined;
    for (const task of this.#tasks.values()) {
      if (!first || task.at < first.at || (task.at === first.at && task.order < first.order)) first = task;
    }
    return first;
  }
}

/** Lets every promise that can be settled be settled. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}
