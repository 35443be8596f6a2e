import fc from 'fast-check';
import { expect, test } from 'vitest';
import { ConcurrencyLimiter } from '#edge/classify/task/concurrency-limiter.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';

test('runs every call, never more at once than allowed, and frees the slot of a failed call', async () => {
  await tryAsyncCases(
    caseCount(200),
    fc.integer({ min: 1, max: 4 }),
    fc.array(fc.tuple(fc.nat(3), fc.boolean()), { maxLength: 20 }),
    async (most, calls) => {
      const gate = new ConcurrencyLimiter(most);
      let running = 0;
      const outcomes = await Promise.allSettled(
        calls.map(([turns, fails]) =>
          gate.runWithLimit(
            async () => {
              running += 1;
              expect(running).toBeLessThanOrEqual(most);
              for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
              running -= 1;
              if (fails) throw new Error('failed');
            },
            () => false,
          ),
        ),
      );
      expect(outcomes.map(({ status }) => status)).toEqual(
        calls.map(([, fails]) => (fails ? 'rejected' : 'fulfilled')),
      );
    },
  );
});

test('repeats a crowded-out call when another call ends, and gives up only when no call is running', async () => {
  await tryAsyncCases(
    caseCount(200),
    fc.integer({ min: 0, max: 3 }),
    fc.array(fc.nat(5), { minLength: 1, maxLength: 20 }),
    async (allowed, calls) => {
      const gate = new ConcurrencyLimiter(6);
      let running = 0;
      const results = await Promise.all(
        calls.map((turns) =>
          gate.runWithLimit(
            async () => {
              // The refusal takes its time on the way.
              await Promise.resolve();
              if (running >= allowed) {
                await Promise.resolve();
                return 'crowded';
              }
              running += 1;
              for (let turn = 0; turn < turns; turn += 1) await Promise.resolve();
              running -= 1;
              return 'done';
            },
            (result) => result === 'crowded',
          ),
        ),
      );
      expect(results).toEqual(calls.map(() => (allowed === 0 ? 'crowded' : 'done')));
    },
  );
});
