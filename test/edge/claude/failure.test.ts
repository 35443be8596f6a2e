import { expect, test } from 'vitest';
import { callerLeft, interrupted, notTheApi, redirected, timedOut, upstreamUnreachable } from '#edge/claude/failure.ts';
import { upstreamRefusedKey } from '#edge/kit/http/errors.ts';
import { OWN_FAILURES, sayOwnFailure } from '#page/budget/figures/own-failures.ts';

test('the page says each failure of a call in the words that its caller read, by what the ledger has of it', () => {
  const failures = [
    upstreamRefusedKey(),
    upstreamUnreachable(new Error('refused')),
    ...[timedOut(), interrupted(true), interrupted(false), redirected(), notTheApi(), callerLeft()],
  ];
  for (const { logged, message } of failures) expect(sayOwnFailure(logged.split(':', 1).join(''))).toBe(message);
  expect(failures).toHaveLength(Object.keys(OWN_FAILURES).length);
});
