import { onTestFinished, vi } from 'vitest';
import { WorkPacer } from '#edge/kit/async/run-in-steps.ts';
import { waitForCondition } from './eventually.ts';

/**
 * Holds work in steps at the first break for which something is true. Objects wait by themselves: none may wait for what another
 * context does.
 */
export function holdStep(isIt: () => boolean): { readonly isReached: boolean; open(): void } {
  const { waitForTurn: before } = WorkPacer.prototype;
  let [isReached, isOpen] = [false, false];
  const waitUntilOpen = () => waitForCondition(() => isOpen);
  const gate = vi.spyOn(WorkPacer.prototype, 'waitForTurn').mockImplementation(function holding(
    this: WorkPacer,
    bytes,
  ) {
    const turn = before.call(this, bytes);
    if (!turn || isReached || !isIt()) return turn;
    isReached = true;
    return turn.then(waitUntilOpen);
  });
  onTestFinished(() => gate.mockRestore());
  return {
    get isReached() {
      return isReached;
    },
    open: () => {
      isOpen = true;
      gate.mockRestore();
    },
  };
}
