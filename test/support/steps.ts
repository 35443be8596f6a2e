import { type Mock, onTestFinished, vi } from 'vitest';

/**
 * Holds work in steps at the first break for which something is true. Objects wait by themselves: none may wait for what another
 * context does.
 */
export function holdStep(isIt: () => boolean): { readonly isReached: boolean; open(): void } {
  const { setTimeout } = globalThis;
  let [isReached, isOpen] = [false, false];
  const gate = vi.spyOn(globalThis, 'setTimeout') as unknown as Mock<(run: () => void, ms?: number) => unknown>;
  gate.mockImplementation((run, ms) => {
    if (ms !== 0) return setTimeout(run, ms);
    if (isReached || !isIt()) return setTimeout(run, 0);
    isReached = true;
    const look = () => void (isOpen ? run() : setTimeout(look, 2));
    return setTimeout(look, 2);
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
