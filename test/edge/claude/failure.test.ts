import { expect, test } from 'vitest';
import {
  callerLeftError,
  headersTimeoutError,
  interruptedError,
  notApiError,
  redirectError,
  upstreamUnreachableError,
} from '#edge/claude/failure.ts';
import { upstreamKeyRejectedError } from '#edge/kit/http/errors.ts';
import { describeEdgeFailure, EDGE_FAILURES } from '#page/budget/figures/edge-failures.ts';

test('the page says each failure of a call in the words that its caller read, by what the ledger has of it', () => {
  const failures = [
    upstreamKeyRejectedError(),
    upstreamUnreachableError(new Error('refused')),
    headersTimeoutError(),
    interruptedError(true),
    interruptedError(false),
    redirectError(),
    notApiError(),
    callerLeftError(),
  ];
  for (const { logged, message } of failures) expect(describeEdgeFailure(logged.split(':', 1).join(''))).toBe(message);
  expect(failures).toHaveLength(Object.keys(EDGE_FAILURES).length);
});
