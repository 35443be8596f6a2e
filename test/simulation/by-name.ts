/** A scheduler that a test leads: by the labels of what waits. */
import type { Scheduler } from './world.ts';

interface Waiting {
  label: string;
  release: () => void;
}

export class ByName implements Scheduler {
  #waiting: Waiting[] = [];
  #next: Waiting | undefined;

  schedule<T>(task: Promise<T>, label: string): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ label, release: () => void task.then(resolve, reject) });
    });
  }

  /** Has what has this in its label come next. @returns false where nothing has */
  choose(label: string): boolean {
    this.#next = this.#waiting.find((one) => one.label.includes(label));
    return this.#next !== undefined;
  }

  /** Releases what was chosen, or what has waited longest; time passes only when nothing else waits. */
  async waitOne(): Promise<void> {
    const next = this.#next ?? this.#waiting.find(({ label }) => label !== 'time') ?? this.#waiting[0];
    this.#next = undefined;
    if (!next) throw new Error('nothing waits');
    this.#waiting = this.#waiting.filter((one) => one !== next);
    next.release();
  }

  count(): number {
    return this.#waiting.length;
  }

  /** What waits. */
  get labels(): string[] {
    return this.#waiting.map(({ label }) => label);
  }
}
