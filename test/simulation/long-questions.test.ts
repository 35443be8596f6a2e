import { expect, onTestFinished, test, vi } from 'vitest';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { WorkPacer } from '#edge/kit/async/run-in-steps.ts';
import { findFailingSchedule } from './conversation.ts';
import { MAX_DURATION_MS, RUNS } from './property.ts';

test(
  `a conversation keeps its guarantees in ${RUNS} schedules if its questions are stored in steps`,
  async () => {
    // Each text has a piece of its own, as a long one, the history is read in steps, too, and each step ends with a wait.
    const spies = [
      vi.spyOn(Transcript.prototype, 'exceedsRow').mockReturnValue(true),
      vi.spyOn(Transcript.prototype, 'isLarge', 'get').mockImplementation(function isStored(this: Transcript) {
        return this.uncheckedProfile !== undefined;
      }),
      vi
        .spyOn(WorkPacer.prototype, 'waitForTurn')
        .mockImplementation(() => new Promise((resolve) => setTimeout(resolve, 1))),
    ];
    onTestFinished(() => {
      for (const spy of spies) spy.mockRestore();
    });
    const failure = await findFailingSchedule();
    expect(failure?.report).toBeUndefined();
  },
  MAX_DURATION_MS,
);
