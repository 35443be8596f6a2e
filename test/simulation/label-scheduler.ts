/** A scheduler that a test leads: by the labels of what waits. */
import type { Scheduler } from './world.ts';

interface WaitingTask {
  label: string;
  release: () => void;
}

export class LabelScheduler implements Scheduler {
  #waiting: WaitingTask[] = [];
  #chosen: WaitingTask | undefined;

  schedule<T>(task: Promise<T>, label: string): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ label, release: () => void task.then(resolve, reject) });
    });
  }

  /** Has what has this in its label come next. @returns false where nothing has */
  choose(label: string): boolean {
    this.#chosen = this.#waiting.find((one) => one.label.includes(label));
    return this.#chosen !== undefined;
  }

  /** Releases what was chosen, or what has waited longest; time passes only when nothing else waits. */
  async waitOne(): Promise<void> {
    const next = this.#chosen ?? this.#waiting.find(({ label }) => label !== 'time') ?? this.#waiting[0];
    this.#chosen = undefined;
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
