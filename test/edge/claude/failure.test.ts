import { expect, test } from 'vitest';
import {
  createCallerLeftError,
  createHeadersTimeoutError,
  createInterruptedError,
  createNotApiResponseError,
  createRedirectError,
  createUpstreamUnreachableError,
} from '#edge/claude/failure.ts';
import { createUpstreamKeyRejectedError } from '#edge/kit/http/errors.ts';
import { describeEdgeFailure, EDGE_FAILURES } from '#page/budget/figures/edge-failures.ts';

test('the page says each failure of a call in the words that its caller read, by what the ledger has of it', () => {
  const failures = [
    createUpstreamKeyRejectedError(),
    createUpstreamUnreachableError(new Error('refused')),
    createHeadersTimeoutError(),
    createInterruptedError(true),
    createInterruptedError(false),
    createRedirectError(),
    createNotApiResponseError(),
    createCallerLeftError(),
  ];
  for (const { logged, message } of failures) expect(describeEdgeFailure(logged.split(':', 1).join(''))).toBe(message);
  expect(failures).toHaveLength(Object.keys(EDGE_FAILURES).length);
});
