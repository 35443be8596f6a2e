// In workerd: headers are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type ClassifiedFailure, classifyFailure } from '#edge/claude/classify-failure.ts';
import { registerSecrets } from '#edge/kit/http/secrets.ts';
import {
  ERROR_BODIES,
  namedErrorStream,
  namelessErrorStream,
  TOO_LONG_MESSAGE,
  UNIVERSAL_ERRORS,
  UPSTREAM_SPECIFIC_ERRORS,
} from '#test/support/foreign-gateway/errors.ts';
import { tryCases } from '#test/support/property-cases.ts';

const AT_ONCE = 10;
const LATE = 5_000;
const body = (type: string, message = 'In its words.') => JSON.stringify({ type: 'error', error: { type, message } });
const answer = (status: number, headers: Record<string, string> = {}) => ({ status, headers: new Headers(headers) });

function refusalOf(
  status: number,
  text: string,
  headers: Record<string, string> = {},
  elapsedMs = AT_ONCE,
): ClassifiedFailure {
  const judged = classifyFailure(answer(status, headers), { text, elapsedMs });
  if (judged.kind === 'answer') throw new Error('That was judged as an answer.');
  return judged;
}

const HIDDEN = /^The upstream rejected this deployment\. The operator/;
const KEY = 'This API key may not.';
const MODEL = 'Fast mode is not available for this model in your plan';
const NO_CREDIT = 'Your credit balance is too low to access the Anthropic API.';

test.each<[number, string, ClassifiedFailure['kind'], number, string, string | RegExp]>([
  [400, body('invalid_request_error'), 'request', 400, 'invalid_request_error', 'In its words.'],
  [400, body('invalid_request_error', NO_CREDIT), 'refused', 500, 'upstream_auth', HIDDEN],
  [401, body('authentication_error'), 'refused', 500, 'upstream_auth', HIDDEN],
  [401, '<html>', 'unclear', 500, 'upstream_auth', HIDDEN],
  [402, '', 'refused', 500, 'upstream_auth', HIDDEN],
  [403, body('permission_error', KEY), 'refused', 500, 'upstream_auth', HIDDEN],
  [403, body('permission_error', ' '), 'refused', 500, 'upstream_auth', HIDDEN],
  [403, body('permission_error', MODEL), 'request', 403, 'permission_error', MODEL],
  [403, body('forbidden', 'Request not allowed'), 'unclear', 500, 'upstream_auth', HIDDEN],
  [403, '{"message":"User is not authorized"}', 'unclear', 500, 'upstream_auth', HIDDEN],
  [307, '', 'unclear', 500, 'upstream_redirect', /redirect/],
  [404, body('not_found_error'), 'request', 404, 'not_found_error', 'In its words.'],
  [404, '<html>', 'request', 404, 'upstream_404', /404 without/],
  [408, body('timeout_error'), 'down', 408, 'timeout_error', 'In its words.'],
  [409, body('conflict_error'), 'again', 409, 'conflict_error', 'In its words.'],
  [429, body('rate_limit_error'), 'overloaded', 429, 'rate_limit_error', /limits the requests of this deployment/],
  [500, body('api_error'), 'down', 500, 'api_error', 'In its words.'],
  [500, body('of_the_future'), 'down', 500, 'upstream_500', 'In its words.'],
  [503, '<html>', 'overloaded', 503, 'upstream_503', /503 without/],
  [529, body('overloaded_error'), 'overloaded', 529, 'overloaded_error', 'In its words.'],
  [200, '<html>', 'down', 500, 'upstream_no_answer', /not the Claude API/],
])('classifies a %i with %j as %s: the caller gets %i, and the log %s', (status, text, kind, told, logged, message) => {
  const { kind: found, forCaller, forOperator } = refusalOf(status, text);
  expect([found, forCaller.status, forOperator, forCaller.logged]).toEqual([kind, told, logged, logged]);
  expect(forCaller.message).toEqual(typeof message === 'string' ? message : expect.stringMatching(message));
});

describe.each(Object.entries(ERROR_BODIES))('a gateway error (%s)', (form, bodyOf) => {
  const isOfApi = form === 'the form of the API';
  const gateways = (status: number, words = TOO_LONG_MESSAGE) => refusalOf(status, JSON.stringify(bodyOf(words)));

  test.each([
    [400, 'invalid_request_error'],
    [404, 'not_found_error'],
    [413, 'request_too_large'],
    [422, 'invalid_request_error'],
  ])('keeps its message with a %i', (status, type) => {
    const { kind, forCaller, isVerbatim } = gateways(status);
    const told = [forCaller.status, forCaller.message, forCaller.type];
    expect([kind, ...told]).toEqual(['request', status, TOO_LONG_MESSAGE, isOfApi ? 'invalid_request_error' : type]);
    expect(isVerbatim).toBe(isOfApi);
  });

  test('is recognized with status 200, as JSON or as a stream, with or without an event name', () => {
    const whole = bodyOf(TOO_LONG_MESSAGE);
    for (const text of [
      JSON.stringify(whole),
      namelessErrorStream(whole),
      namedErrorStream(whole),
      `: wait\n\nevent: ping\ndata: {"type":"ping"}\n\n${namelessErrorStream(whole)}`,
      namedErrorStream(whole).replaceAll('\n', '\r\n'),
    ]) {
      // These may be an answer, too.
      if (['a message', 'a detail', 'a list of details'].includes(form)) continue;
      const { forCaller, mayHaveRun, isVerbatim } = refusalOf(200, text, {}, LATE);
      expect([forCaller.status, forCaller.type, forCaller.message]).toEqual([
        400,
        'invalid_request_error',
        TOO_LONG_MESSAGE,
      ]);
      expect([mayHaveRun, isVerbatim]).toEqual([false, false]);
    }
  });

  test('has its message cut to 500 whole characters, unless it has the API’s form, and secrets are masked', () => {
    registerSecrets('test', ['sk-a-secret-of-the-operator']);
    onTestFinished(() => registerSecrets('test', []));
    const { message } = gateways(400, `sk-a-secret-of-the-operator ${'🌍'.repeat(400)}`).forCaller;
    expect(message).not.toContain('operator');
    expect(message).toContain('[secret] 🌍');
    expect(message.isWellFormed()).toBe(true);
    if (!isOfApi) expect(message).toHaveLength(500);
  });

  test.each([
    'Budget has been exceeded! Current cost: 12, Max budget: 10',
    'ExceededBudget: over',
    'insufficient_quota',
    'The organization acme may not.',
    'org-acme may not.',
    'Authentication Error: this key may not.',
    'The api_key vk-7 may not.',
    'No API keys are left.',
    'virtual_key vk-7 may not.',
  ])('hides a message about the operator, unless the error has the API’s form: %s', (words) => {
    const { message } = gateways(400, words).forCaller;
    if (!isOfApi)
      expect(message).toBe(
        'The upstream responded with 400 without an explanation. If this persists, give the operator the request id.',
      );
    else expect(message).toBe(words);
  });

  test('hides its message if the caller did not cause the error, unless it has the API’s form', () => {
    if (isOfApi) return;
    for (const status of [307, 401, 402, 403, 408, 409, 429, 500, 503, 529])
      expect(JSON.stringify(gateways(status).forCaller.message)).not.toContain(TOO_LONG_MESSAGE);
  });
});

test.each<[string, number, string]>([
  ['{"error":{"message":"Busy","type":"overloaded_error"}}', 529, 'overloaded_error'],
  ['{"error":{"message":"Busy","code":"503"}}', 503, 'api_error'],
  ['{"object":"error","message":"Odd","code":422}', 422, 'invalid_request_error'],
  ['{"error":{"message":"Odd"}}', 500, 'api_error'],
  ['{"error":"Odd"}', 500, 'api_error'],
  ['{"error":{"message":"Odd","code":422.5}}', 422, 'invalid_request_error'],
])('takes the status of a gateway error in a stream from its type or code, if any: %s', (body, status, type) => {
  const { forCaller } = refusalOf(200, `data: ${body}\n\n`);
  expect([forCaller.status, forCaller.type]).toEqual([status, type]);
  expect(forCaller.message).toBe(
    status === 422
      ? 'Odd'
      : `The upstream responded with ${status} without an explanation. If this persists, give the operator the request id.`,
  );
});

test('finds the message in error bodies of several forms, and none in deeply nested bodies', () => {
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`;
  for (const text of [deep, `{"error":${deep}}`, `{"detail":${deep}}`, '{"error":{"message":7}}', '[]', 'null', '7'])
    expect(refusalOf(400, text).forCaller.message).toBe(
      'The upstream responded with 400 without an explanation. If this persists, give the operator the request id.',
    );
  expect(refusalOf(400, '{"error":"Bad Request","message":"n: too many"}').forCaller.message).toBe('n: too many');
  expect(refusalOf(400, '{"detail":[{"msg":"a"},{"msg":"b"}]}').forCaller.message).toBe('a; b');
  const long = [{ msg: 'a'.repeat(490) }, { msg: '1234567🌍' }];
  expect(refusalOf(400, JSON.stringify({ detail: long })).forCaller.message).toMatch(/^a+; 1234567\uFFFD$/);
});

test('recognizes the API’s documented errors by their message in any form, but no upstream-specific errors', () => {
  for (const bodyOf of Object.values(ERROR_BODIES)) {
    const isPublished = (words: string) => refusalOf(400, JSON.stringify(bodyOf(words))).isPublished;
    expect(Object.entries(UNIVERSAL_ERRORS).filter(([, words]) => !isPublished(words))).toEqual([]);
    expect(UPSTREAM_SPECIFIC_ERRORS.filter(([, words]) => isPublished(words))).toEqual([]);
  }
});

describe('a spend limit', () => {
  const coded = JSON.stringify({
    type: 'error',
    error: { type: 'rate_limit_error', message: 'Acme', details: { error_code: 'enforced_spend_limit_reached' } },
  });
  const OWN = 'You have reached your specified API usage limits.';
  const saying = (message: string) => body('invalid_request_error', message);
  const DAY = 86_400;
  test.each<[string, string, string, number | undefined]>([
    ['of the tier ends with the month', '2026-11-26T12:00:00Z', coded, 4.5 * DAY],
    ['of the tier ends with the month, a moment before', '2026-11-30T23:59:59.500Z', coded, 1],
    ['of the tier lasts 31 days at most', '2026-12-01T00:00:00Z', coded, 31 * DAY],
    ['of the tier ends with a year', '2027-12-31T00:00:00Z', coded, DAY],
    ['of the tier ends with a February', '2028-02-28T00:00:00Z', coded, 2 * DAY],
    [
      'of its own says when',
      '2026-11-26T12:00:00Z',
      saying(`${OWN} You will regain access on 2026-12-01 at 00:00 UTC.`),
      4.5 * DAY,
    ],
    [
      'of its own is no longer than a month',
      '2026-11-26T12:00:00Z',
      saying(`${OWN} You will regain access on 2027-01-01 at 00:00 UTC.`),
      undefined,
    ],
    [
      'of its own that is past says nothing',
      '2026-12-01T00:00:01Z',
      saying(`${OWN} You will regain access on 2026-12-01 at 00:00 UTC.`),
      undefined,
    ],
    [
      'of its own names no day',
      '2026-11-26T12:00:00Z',
      saying(`${OWN} You will regain access on 2026-13-41 at 00:00 UTC.`),
      undefined,
    ],
    ['of its own may say nothing', '2026-11-26T12:00:00Z', saying(OWN), undefined],
  ])('%s', (_, now, text, seconds) => {
    vi.spyOn(Date, 'now').mockReturnValue(Date.parse(now));
    const { kind, forCaller } = refusalOf(400, text);
    const known = seconds === undefined ? [500, 'api_error', undefined] : [429, 'billing_error', String(seconds)];
    expect([kind, forCaller.status, forCaller.type, forCaller.headers['retry-after']]).toEqual(['refused', ...known]);
    expect(forCaller.headers['x-should-retry']).toBe('false');
  });
});

test.each([
  'messages.0.content: You have reached your specified API usage limits',
  'tools.0.name: This organization has been disabled.',
  'You said: You have reached your API usage limits: your organization has crossed',
])('classifies an error that quotes the caller’s input as a caller error: %s', (message) => {
  expect(refusalOf(400, body('invalid_request_error', message))).toMatchObject({ kind: 'request', isVerbatim: true });
});

test('an error code about the caller takes precedence over the message', () => {
  const details = { error_code: 'tool_name_conflict' };
  for (const message of [NO_CREDIT, 'This organization has been disabled.']) {
    const text = JSON.stringify({ type: 'error', error: { type: 'invalid_request_error', message, details } });
    expect(refusalOf(400, text)).toMatchObject({ kind: 'request', isVerbatim: true });
  }
});

const TYPES = {
  invalid_request_error: 400,
  authentication_error: 401,
  billing_error: 402,
  permission_error: 403,
  not_found_error: 404,
  conflict_error: 409,
  request_too_large: 413,
  rate_limit_error: 429,
  api_error: 500,
  timeout_error: 504,
  overloaded_error: 529,
};

describe.each(Object.entries(TYPES))('an error of the type %s', (type, status) => {
  test.each(['In its words.', KEY, NO_CREDIT])(
    'is classified the same with status 200 as with its own status: %s',
    (message) => {
      const text = body(type, message);
      const usual = refusalOf(status, text);
      for (const one of [refusalOf(200, text), refusalOf(200, `event: error\ndata: ${text}\n\n`)]) {
        // The body is told in the form of an error, and not as it came.
        const told = { ...usual, isVerbatim: false };
        expect({ ...one, forCaller: { ...one.forCaller } }).toEqual({ ...told, forCaller: { ...usual.forCaller } });
      }
    },
  );
});

test('accepts a 200 without an error as a response, whatever its first bytes', () => {
  for (const text of [
    '',
    '{"type":"mess',
    '{"type":"message"}',
    '  {',
    '{"content":[{"text":"\\"type\\":\\"error\\""}]}',
  ]) {
    expect(classifyFailure(answer(200), { text, elapsedMs: LATE })).toEqual({ kind: 'answer', mayHaveRun: true });
  }
  const stream = answer(200, { 'content-type': 'text/event-stream' });
  for (const text of [': wait\n\n', 'event: message_start\ndata: {"type":"message_start"}\n\n']) {
    expect(classifyFailure(stream, { text, elapsedMs: LATE }).kind).toBe('answer');
  }
});

test('shows the caller only error messages of the API, and no secret of the operator', () => {
  const secret = 'of-the-operator';
  tryCases(
    100,
    fc.integer({ min: 300, max: 599 }),
    fc.oneof(
      fc.constantFrom(...Object.keys(TYPES), 'forbidden').map((type) => body(type, `${secret} key`)),
      fc.string().map((text) => `${secret} ${text}`),
      fc.json(),
    ),
    fc.constantFrom<Record<string, string>>({}, { 'x-should-retry': 'true' }, { 'retry-after': '7' }),
    (status, text, headers) => {
      const { kind, forCaller, isVerbatim, waitMs } = refusalOf(status, text, headers);
      if (!isVerbatim) expect(JSON.stringify([forCaller.message, forCaller.headers])).not.toContain(secret);
      if (kind === 'refused' || kind === 'unclear') {
        expect([isVerbatim, forCaller.status, forCaller.headers['x-should-retry']]).toEqual([false, 500, 'false']);
      } else {
        expect(forCaller.status).toBe(status);
        expect(waitMs).toBe('retry-after' in headers ? 7_000 : undefined);
      }
    },
  );
});

test('mayHaveRun is true only for late failures without a response from the API', () => {
  tryCases(100, fc.integer({ min: 300, max: 599 }), fc.nat(400), (status, elapsedMs) => {
    const isGateway =
      status === 408 || status === 499 || (status >= 500 && ![521, 523, 525, 526, 530].includes(status));
    expect(refusalOf(status, '<html>', {}, elapsedMs).mayHaveRun).toBe(isGateway && elapsedMs > 50);
    expect(refusalOf(status, body('api_error'), {}, elapsedMs).mayHaveRun).toBe(false);
    expect(refusalOf(status, '<html>', { 'request-id': 'req_1' }, elapsedMs).mayHaveRun).toBe(false);
    expect(refusalOf(200, body('api_error'), {}, elapsedMs).mayHaveRun).toBe(false);
    for (const words of ['connection reset', 'DNS lookup failed', 'TLS handshake failed']) {
      const failure = classifyFailure({ thrown: new TypeError(words) }, { text: '', elapsedMs });
      expect([failure.kind, failure.mayHaveRun]).toEqual(['down', words.startsWith('conn') && elapsedMs > 50]);
    }
  });
});
