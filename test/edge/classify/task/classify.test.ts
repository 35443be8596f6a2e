import { waitOnExecutionContext } from 'cloudflare:test';
import { expect, test } from 'vitest';
import { classifyText } from '#edge/classify/task/classify.ts';
import type { ClassifyContext } from '#edge/classify/task/take-vote.ts';
import { resolveTask } from '#edge/classify/task/task.ts';
import { getUpstreamBySettings } from '#edge/claude/upstream.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import { parseLimitingCause } from '#edge/money/admission/limitation.ts';
import type { Limits } from '#edge/money/budget/limits.schema.ts';
import { advanceClock } from '#test/support/calendar.ts';
import { bindings, COST_NANODOLLARS, HAIKU, labelMessage, textMessage } from '#test/support/classification.ts';
import { createTrackedContext } from '#test/support/pending-work.ts';
import { DEPLOYED_VARS } from '#test/support/tokens.ts';

/** Who classifies without any request of HTTP, as the consumer of a queue does. */
function worker(answer: (nth: number) => object | Response | Promise<Response>, limits: Limits = {}) {
  const account = `queue-${crypto.randomUUID()}`;
  let calls = 0;
  const context = createTrackedContext('a classification');
  const settings = parseSettings({
    ...DEPLOYED_VARS,
    ANTHROPIC_API_KEY: 'sk-ant-the-key',
    UPSTREAM_MAX_RETRIES: '0',
    DEFAULT_LIMITS: JSON.stringify(limits),
  });
  const fetchUpstream = async (url: string) => {
    if (url.endsWith('/count_tokens')) return Response.json({ input_tokens: 200 });
    const given = await answer(calls++);
    return given instanceof Response ? given : Response.json(given);
  };
  const where = {
    identity: { account, scopes: [], token: undefined },
    accounts: bindings,
    store: bindings.STORE,
    settings,
  };
  const by = (): ClassifyContext => ({
    ...where,
    upstream: getUpstreamBySettings(settings, fetchUpstream),
    requestId: createRequestId(),
    route: 'webhooks',
    waitUntil: (work) => context.waitUntil(work),
  });
  return {
    where,
    by,
    object: () => getAccountStub(bindings, {}, account),
    calls: () => calls,
    settled: () => waitOnExecutionContext(context),
  };
}

const ASKED = { labels: ['bug', 'other'] };

test('classifies and bills a text for an account without an HTTP request', async () => {
  const { where, by, object, settled } = worker(() => labelMessage('bug'));
  const task = await resolveTask(ASKED, where);
  const asking = by();
  expect(await classifyText(task, 'It crashes', asking)).toMatchObject({
    outcome: 'classified',
    result: { label: 'bug', cached: false },
    model: HAIKU,
    nanodollars: COST_NANODOLLARS,
  });
  await settled();
  const row = await object().findRequest(asking.requestId);
  expect(row).toMatchObject({ route: 'webhooks', status: 'complete', cost_usd: COST_NANODOLLARS / 1e9 });
  // A delivery that comes again costs nothing.
  expect(await classifyText(task, 'It crashes', by())).toMatchObject({
    result: { label: 'bug', cached: true },
    nanodollars: 0,
  });
});

test('rejects an unknown or missing classifier before any upstream request', async () => {
  const { where, calls } = worker(() => labelMessage('bug'));
  await expect(resolveTask({ classifier: 'nobody' }, where)).rejects.toMatchObject({ type: 'not_found_error' });
  await expect(resolveTask({ classifier: 'x', labels: ['a'] }, where)).rejects.toMatchObject({ status: 404 });
  await expect(resolveTask({}, where)).rejects.toMatchObject({ type: 'invalid_request_error' });
  expect(calls()).toBe(0);
});

test('reports `limited` for a spent budget, with the time of its reset', async () => {
  const { where, by, calls } = worker(() => labelMessage('bug'), { usd_per_day: (3 * COST_NANODOLLARS) / 1e9 });
  const task = await resolveTask({ ...ASKED, cache_seconds: 0 }, where);
  const outcomes = [];
  for (let n = 0; n < 4; n += 1) outcomes.push(await classifyText(task, `text ${n}`, by()));
  const last = outcomes.at(-1);
  if (last?.outcome !== 'unclassified') throw new Error('the budget was not spent');
  expect(last).toMatchObject({ reason: 'limited', error: { type: 'billing_error' }, nanodollars: 0 });
  const midnight = new Date();
  midnight.setUTCHours(24, 0, 0, 0);
  const { passes, retryAt } = parseLimitingCause(last.error);
  expect(passes).toBe('later');
  expect(Math.abs((retryAt ?? 0) - midnight.getTime())).toBeLessThan(2_000);
  expect(calls()).toBe(outcomes.filter(({ outcome }) => outcome === 'classified').length);
});

test('reports `operator` for a limit that is smaller than one request', async () => {
  const { where, by } = worker(() => labelMessage('bug'), { usd_per_day: 0.000001 });
  expect(await classifyText(await resolveTask(ASKED, where), 'x', by())).toMatchObject({ reason: 'operator' });
});

test.each([
  ['limited', 429, { 'retry-after': '60' }],
  ['unavailable', 529, {}],
  ['unavailable', 500, {}],
  ['unavailable', 504, {}],
  ['input', 400, {}],
  ['input', 413, {}],
  ['operator', 401, {}],
  ['operator', 404, {}],
])('a failed classification has the reason %s when the upstream returns %i', async (reason, status, headers) => {
  const { where, by } = worker(() => Response.json({ type: 'error', error: { message: 'No.' } }, { status, headers }));
  const before = Date.now();
  const outcome = await classifyText(await resolveTask(ASKED, where), 'x', by());
  expect(outcome).toMatchObject({ outcome: 'unclassified', reason, nanodollars: 0 });
  if (outcome.outcome === 'unclassified' && reason === 'limited') {
    expect(parseLimitingCause(outcome.error).retryAt).toBeGreaterThanOrEqual(before + 60_000);
  }
});

test('reports `unavailable` and charges the hold when a proxy before the upstream returns a late 504', async () => {
  const { where, by, object, settled } = worker(async () => {
    advanceClock(80);
    return new Response('<html>', { status: 504 });
  });
  const asking = by();
  const outcome = await classifyText(await resolveTask(ASKED, where), 'x', asking);
  await settled();
  // Whether it stops where nobody waits any more is not known of what does not stream.
  const row = await object().findRequest(asking.requestId);
  expect(row?.hold_usd).toBeGreaterThan(0);
  expect(row).toMatchObject({ status: 'refused_upstream', estimated: true, cost_usd: row?.hold_usd });
  expect(outcome).toMatchObject({
    outcome: 'unclassified',
    reason: 'unavailable',
    nanodollars: Math.round((row?.hold_usd ?? 0) * 1e9),
  });
});

test('reports whether the input, the model’s response or a cancellation made a classification fail', async () => {
  const of = async (answer: object, input: unknown = 'x', more: Partial<ClassifyContext> = {}) => {
    const { where, by } = worker(() => answer);
    return await classifyText(await resolveTask(ASKED, where), input, { ...by(), ...more });
  };
  expect(await of(labelMessage('bug'), '')).toMatchObject({ reason: 'input', nanodollars: 0 });
  expect(await of(labelMessage('bug'), 7)).toMatchObject({ reason: 'input' });
  expect(await of(textMessage('', { stop_reason: 'refusal' }))).toMatchObject({
    reason: 'input',
    nanodollars: COST_NANODOLLARS,
  });
  expect(await of(textMessage('?'))).toMatchObject({ reason: 'answer', nanodollars: 2 * COST_NANODOLLARS });
  expect(await of(labelMessage('bug'), 'x', { signal: AbortSignal.abort() })).toMatchObject({
    reason: 'cancelled',
    nanodollars: 0,
  });
});

test('reports `limited` for a used rate limit, and `operator` for a rate limit that is smaller than one request', async () => {
  const limited = worker(() => labelMessage('bug'), { requests_per_minute: 1 });
  const task = await resolveTask({ ...ASKED, cache_seconds: 0 }, limited.where);
  await classifyText(task, 'x', limited.by());
  expect(await classifyText(task, 'x', limited.by())).toMatchObject({
    reason: 'limited',
    error: { type: 'rate_limit_error' },
  });
  const small = worker(() => labelMessage('bug'), { input_tokens_per_minute: 10 });
  expect(await classifyText(await resolveTask(ASKED, small.where), 'x', small.by())).toMatchObject({
    reason: 'operator',
  });
});
