/** Listeners by the name of what they listen to. */

/** Ends what it was returned for. Calling it twice does no harm. */
export type Off = () => void;

/** Calls listeners; what one of them throws reaches the platform's handler of uncaught errors, and nobody else. */
export class Emitter<Events extends object> {
  #listeners = new Map<keyof Events, Set<(event: never) => void>>();

  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Off {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    // A function of its own, so that the same listener may be added twice.
    const entry = (event: Events[Name]) => listener(event);
    listeners.add(entry);
    return () => {
      listeners.delete(entry);
    };
  }

  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])] as ((event: Events[Name]) => void)[]) {
      try {
        listener(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
