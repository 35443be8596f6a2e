import { expect, test } from 'vitest';
import { SluiceError } from '#client/index.ts';
import { STATUS_BY_TYPE } from '#edge/kit/http/errors.ts';
import { describeErrorForUser, formatErrorDetails, isApprovalRequiredError } from '#page/edge/error-messages.ts';

const TYPES = [...Object.keys(STATUS_BY_TYPE), 'connection_error', 'closed'];
const UNKNOWN = describeErrorForUser(new SluiceError('a_new_error', ''));
/** Names of fields, routes, methods and placeholders: what only a programmer knows. */
const FOR_PROGRAMMERS = /[_/{}<>`=]|\b(GET|POST|PUT|PATCH|HTTP|JSON|API|SDK|token limit|retry-after|upstream|null)\b/;

test.each(TYPES)('%s is explained by a sentence without technical terms', (type) => {
  const error = new SluiceError(type, 'messages.0: see GET /conversations/c1/approvals', {
    status: 400,
    requestId: 'req_1',
  });
  const said = describeErrorForUser(error);
  expect(said).toMatch(/^[A-Z].*\.$/);
  expect(said).not.toMatch(FOR_PROGRAMMERS);
  if (type !== 'api_error') expect(said, type).not.toBe(UNKNOWN);
  // What the edge said is not lost.
  expect(formatErrorDetails(error)).toBe(`${type} · HTTP 400 · req_1\nmessages.0: see GET /conversations/c1/approvals`);
});

test('describes an unknown error type by its status', () => {
  const like = (type: string) => describeErrorForUser(new SluiceError(type, ''));
  expect(describeErrorForUser(new SluiceError('toString', '', { status: 418 }))).toBe(like('invalid_request_error'));
  expect(describeErrorForUser(new SluiceError('a_new_error', '', { status: 503 }))).toBe(like('api_error'));
});

test('states when a used-up limit resets if the wait is long', () => {
  const spent = (retryAfter: number) => {
    const headers = new Headers({ 'sluice-budget-used': '1' });
    return describeErrorForUser(new SluiceError('billing_error', '', { status: 429, retryAfter, headers }));
  };
  expect(spent(60)).toBe('Your budget is used up.');
  expect(spent(40 * 86_400)).toMatch(/^Your budget is used up\. The limit resets on \d+ [A-Z]\w+ at \d\d:\d\d\.$/);
});

test.each([
  [409, { 'sluice-paused': 'approval' }, true],
  [423, {}, true],
  [409, {}, false],
])('a %i with headers %o means that the conversation waits for a decision: %o', (status, headers, waits) => {
  const error = new SluiceError('conflict_error', 'Decide.', { status, headers: new Headers(headers) });
  expect(isApprovalRequiredError(error)).toBe(waits);
  expect(describeErrorForUser(error) === 'Decide on the call above first. The response waits for your decision.').toBe(
    waits,
  );
});

test('explains a conflict with a response that is still streaming in the same conversation', () => {
  const describeConflict = (headers: object) =>
    describeErrorForUser(new SluiceError('conflict_error', '', { status: 409, headers: new Headers({ ...headers }) }));
  expect(describeConflict({ location: '/conversations/c1/stream' })).toBe(
    'Another response is being written in this conversation. Wait until it ends, then send your message again.',
  );
  expect(describeConflict({ location: '/conversations/c1/messages' })).toBe(describeConflict({}));
});

test('reports a model that the account cannot use as unavailable, not as deleted', () => {
  const notFound = (headers: object) =>
    describeErrorForUser(new SluiceError('not_found_error', '', { status: 404, headers: new Headers({ ...headers }) }));
  expect(notFound({ 'sluice-limited-by': 'token' })).toBe('This model is not available to you. Choose another one.');
  expect(notFound({})).toBe('This does not exist, or was deleted.');
});
