import { expect, test } from 'vitest';
import { NetworkFailure } from '#edge/claude/call-network.ts';
import {
  createCallerLeftError,
  createHeadersTimeoutError,
  createInterruptedError,
  createNetworkError,
  createNotApiResponseError,
  createRedirectError,
  createUnreadableError,
} from '#edge/claude/failure.ts';
import { createUpstreamKeyRejectedError } from '#edge/kit/http/errors.ts';
import { describeEdgeFailure, EDGE_FAILURES } from '#page/budget/figures/edge-failures.ts';

test('the page describes each recorded failure with the message that the caller received', () => {
  const failures = [
    createUpstreamKeyRejectedError(),
    createNetworkError(new Error('refused')),
    createNetworkError(new NetworkFailure(new Error('refused'), true)),
    createHeadersTimeoutError(),
    createInterruptedError(true),
    createInterruptedError(false),
    createUnreadableError(),
    createRedirectError(),
    createNotApiResponseError(),
    createCallerLeftError(),
  ];
  for (const { logged, message } of failures) expect(describeEdgeFailure(logged.split(':', 1).join(''))).toBe(message);
  expect(failures).toHaveLength(Object.keys(EDGE_FAILURES).length);
});
