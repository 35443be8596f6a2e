import { signal } from '@preact/signals';
import { useMemo } from 'preact/hooks';
import { formatErrorForUser } from './client.ts';

/** Runs some work, and shows whether it is under way and why it has failed. */
export class AsyncAction {
  readonly isBusy = signal(false);
  readonly fault = signal<string | undefined>(undefined);

  /** Runs some work. @returns whether it succeeded */
  readonly run = async (work: () => Promise<unknown>): Promise<boolean> => {
    this.isBusy.value = true;
    this.fault.value = undefined;
    try {
      await work();
      return true;
    } catch (thrown) {
      this.fault.value = formatErrorForUser(thrown);
      return false;
    } finally {
      this.isBusy.value = false;
    }
  };
}

/** Keeps an action for as long as its component is shown. */
export function useAsyncAction(): AsyncAction {
  return useMemo(() => new AsyncAction(), []);
}
