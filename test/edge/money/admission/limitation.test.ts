/** Each way that asks for something, and each limit: what limits it is said, and waited for, alike. */

import { expect, test } from 'vitest';
import { Account } from '#edge/money/account/account.ts';
import { createLimitRejectionError } from '#edge/money/admission/limit-headers.ts';
import { parseLimitingCause } from '#edge/money/admission/limitation.ts';
import { isSharedBudget } from '#edge/money/budget/budget-windows.ts';
import { createLimitRejection } from '#edge/money/budget/refusals.ts';
import type { LimitOwner, LimitRejection } from '#edge/money/contracts/admission.ts';
import { createSkyEdge } from '#test/support/agents.ts';
import { createClassifyCaller, LABELS } from '#test/support/classification.ts';
import { createInputs, createJobEdge, wrapMethod } from '#test/support/classification-jobs.ts';
import { installSimulator } from '#test/support/conversations.ts';
import {
  answerByScript,
  answerTools,
  callsAnswer,
  type ScriptedAnswer,
  textAnswer,
  weatherCall,
  weatherTool,
} from '#test/support/scripted-runs.ts';
import {
  createConversationWith,
  installSimulatorUnless,
  isSummaryRequest,
  readSummaryRows,
  sendManyTurns,
} from '#test/support/summaries.ts';
import { createBody, runTurn, sendTurn } from '#test/support/turns.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { createEvent, createWebhookWorks, getInbox } from '#test/support/webhooks.ts';

const OWNERS = ['account', 'token', 'group', 'deployment', 'upstream'] as const;
const KINDS = ['held', 'late', 'spent', 'rate', 'never'] as const;
type Kind = (typeof KINDS)[number];
type By = (typeof OWNERS)[number];

const SECOND = 1_000;
const DAY = 86_400 * SECOND;
const WAITS: Record<Kind, number> = { held: 2 * SECOND, late: 2 * SECOND, rate: 10 * SECOND, spent: DAY, never: 0 };
const PASSES = { held: 'soon', late: 'soon', rate: 'soon', spent: 'later', never: 'never' } as const;

function refusalOf(by: LimitOwner, kind: Kind): LimitRejection {
  const now = Date.now();
  const reason = kind === 'spent' || kind === 'never' ? 'spend' : kind === 'late' ? 'held' : kind;
  const limit = kind === 'rate' ? 'requests_per_minute' : 'usd_per_day';
  return {
    ...createLimitRejection(reason, limit, now, now + WAITS[kind], 10, 0, kind === 'never'),
    by,
    late: kind === 'late',
  };
}

/** Has the account refuse what it admits otherwise. @param of by the number of the request, and its route */
function refusing(by: LimitOwner, kind: Kind, of: (nth: number, route: string) => boolean = () => true) {
  let requests = 0;
  const refused = { outcome: 'refused', refusal: refusalOf(by, kind), quota: {}, unlisted: false };
  for (const method of ['admitJson', 'admitBatchJson'])
    wrapMethod(Account, method, (whole, first) => {
      requests += 1;
      const { route = 'batches' } = JSON.parse(String(first)) as { route?: string };
      return of(requests, route) ? JSON.stringify(refused) : whole();
    });
}

/** What an upstream says whose own limit is reached. */
function refusedThere(kind: Kind): Response {
  if (kind === 'rate') {
    const error = { type: 'rate_limit_error', message: 'Too many.' };
    return Response.json({ type: 'error', error }, { status: 429, headers: { 'retry-after': '10' } });
  }
  const details = { error_code: 'enforced_spend_limit_reached' };
  const error = { type: 'invalid_request_error', message: 'No more this month.', details };
  return Response.json({ type: 'error', error }, { status: 400 });
}

/** Has a way limited from its `from`th request on. @returns what its upstream says, in place of an answer */
function limiting(by: By, kind: Kind, { only, route }: { only?: number; route?: string } = {}) {
  if (by !== 'upstream') refusing(by, kind, (nth, of) => (only ?? nth) === nth && (route ?? of) === of);
  return (nth: number) => (by === 'upstream' && (only ?? nth) === nth ? refusedThere(kind) : undefined);
}

/** What a caller hears. */
const heard = (headers: Headers | Record<string, string>) => {
  const plain = Object.fromEntries(headers instanceof Headers ? headers : Object.entries(headers));
  const { passes } = parseLimitingCause({ headers: plain });
  return `${plain['sluice-limited-by']} ${passes}`;
};

type Way = (by: By, kind: Kind) => Promise<string>;

const WAYS: Record<string, Way> = {
  message: async (by, kind) => {
    const there = limiting(by, kind);
    const { request: send } = await createClassifyCaller((_, nth) => there(nth + 1) ?? {}, { scopes: ['messages'] });
    const answer = await send(createBody('Hi'), { path: '/v1/messages' });
    return heard(answer.headers);
  },
  turn: async (by, kind) => {
    const there = limiting(by, kind);
    answerByScript((_, nth) => there(nth) ?? textAnswer('So.'));
    const answer = await sendTurn(createBody('Hi'));
    return answer.kind === 'error'
      ? heard(answer.error.headers)
      : answer.kind === 'response'
        ? heard(answer.headers)
        : '';
  },
  step: async (by, kind) => {
    const there = limiting(by, kind, { only: 2 });
    const script = (_: unknown, nth: number): ScriptedAnswer | Response =>
      there(nth) ?? (nth === 1 ? callsAnswer(weatherCall('toolu_1', 'Bern')) : textAnswer('Sun.'));
    answerByScript(script);
    answerTools(() => new Response('sun'));
    const { text } = await runTurn(createBody('Hi', { tools: [weatherTool()] }));
    return text.includes('Sun.') ? 'waits' : (/: sluice-paused=(\w+)/.exec(text)?.[1] ?? 'ends');
  },
  vote: async (by, kind) => {
    const there = limiting(by, kind);
    const { request: send } = await createClassifyCaller((_, nth) => there(nth + 1) ?? {});
    return heard((await send({ input: 'It crashes', labels: LABELS })).headers);
  },
  'batch vote': async (by, kind) => {
    const there = limiting(by, kind);
    const edge = createJobEdge();
    edge.instead = ({ method }) => (method === 'POST' ? there(1) : undefined);
    return heard((await edge.requestJob({ inputs: createInputs(1) })).headers);
  },
  summary: async (by, kind) => {
    const there = limiting(by, kind, { route: 'summary' });
    installSimulatorUnless((body) => (isSummaryRequest(body) ? there(1) : undefined));
    await createConversationWith({ max_tokens: 1_000 });
    await sendManyTurns(5);
    const rows = await readSummaryRows();
    // What waits is asked for with each answer, and what has failed ever later.
    return rows.length > 1 && rows.every(({ status, cost }) => status === 'void' && cost === 0)
      ? 'waits'
      : String(rows[0]?.status);
  },
  'webhook label': async (by, kind) => {
    const there = limiting(by, kind);
    const works = createWebhookWorks();
    works.upstream.answer = () => there(1);
    return await stateOf(works, kind);
  },
  'webhook agent': async (by, kind) => {
    await createSkyEdge();
    const there = limiting(by, kind);
    answerByScript((_, nth) => there(nth) ?? textAnswer('So.'));
    return await stateOf(createWebhookWorks({}, createWebhookVars('github', { agent: 'sky' })), kind);
  },
};

/** @returns what becomes of an event, and when it is looked at again */
async function stateOf(works: ReturnType<typeof createWebhookWorks>, kind: Kind): Promise<string> {
  const began = works.clock.now;
  await getInbox('github').acceptEvent(createEvent('github_1'));
  await works.consume(['github_1']);
  const { state, next_attempt_at } = await works.report('github_1');
  const after = Date.parse(next_attempt_at ?? '') - began;
  const isThen = after >= WAITS[kind] - SECOND && after < WAITS[kind] + 10 * SECOND;
  return state === 'waiting' && !isThen ? `waiting for ${after} ms` : state;
}

/** What each way comes to, by what limits it. */
function expected(way: string, by: By, kind: Kind): string {
  const passes = PASSES[kind];
  switch (way) {
    case 'step':
      // It pauses: more tries would only add to what is too much already.
      if (passes === 'soon') return by === 'upstream' ? 'upstream' : 'waits';
      return by === 'upstream' ? 'ends' : 'budget';
    case 'summary':
      return passes === 'soon' && by !== 'upstream' ? 'waits' : 'failed';
    case 'webhook label':
    case 'webhook agent':
      return by === 'upstream' || passes === 'never' ? 'accepted' : 'waiting';
    default:
      // Its budget covers it by its figures, so no payer is named.
      return `${kind === 'late' ? undefined : by} ${passes}`;
  }
}

/** Only a shared budget is asked elsewhere, and may be too late. Nobody holds anything of an upstream's limit, and it says of none that it is for ever. */
const LIMITS = OWNERS.flatMap((by) =>
  KINDS.filter((kind) =>
    kind === 'late' ? isSharedBudget(by) : by !== 'upstream' || kind === 'rate' || kind === 'spent',
  ).map((kind) => [kind, by] as const),
);

test.each(Object.keys(WAYS).flatMap((way) => LIMITS.map(([kind, by]) => [way, kind, by] as const)))(
  'reports or waits out the rejection of a %s: limit %s, owner %s',
  async (way, kind, by) => {
    installSimulator();
    expect(await WAYS[way]?.(by, kind)).toBe(expected(way, by, kind));
  },
);

test('parses the owner, the duration and the retry time of a rejection, an hour for limits that never reset', () => {
  const now = Date.now();
  const spent = { ...createLimitRejection('spend', 'usd_total', now, now + DAY, 10, 0, false), by: 'group' as const };
  expect(parseLimitingCause(createLimitRejectionError(spent, {}), now)).toEqual({
    by: 'group',
    isOwn: true,
    passes: 'later',
    retryAt: now + 3_600 * SECOND,
  });
  expect(parseLimitingCause({ headers: {} }, now)).toMatchObject({ by: undefined, isOwn: false, passes: 'soon' });
  // What batches hold is not free again in a moment.
  const byBatch = {
    ...createLimitRejection('held', 'usd_per_day', now, now + 3_600 * SECOND, 10, 0, false),
    byBatch: true,
  };
  expect(parseLimitingCause(createLimitRejectionError(byBatch, {}), now)).toMatchObject({
    passes: 'later',
    retryAt: now + 3_600 * SECOND,
  });
  // A pool that covers it by its figures has limited nothing, so no payer is named.
  const late = {
    ...createLimitRejection('held', '', now, now + 2 * SECOND, 10, 0, false),
    by: 'deployment' as const,
    late: true,
  };
  expect(parseLimitingCause(createLimitRejectionError(late, {}), now)).toEqual({
    by: undefined,
    isOwn: true,
    passes: 'soon',
    retryAt: now + 2 * SECOND,
  });
  expect(createLimitRejectionError(late, {})).toMatchObject({
    status: 429,
    message: expect.not.stringMatching(/deployment|limit/),
  });
  const tooLarge = createLimitRejection('rate', 'input_tokens_per_minute', now, now + SECOND, 10, 0, true);
  expect(parseLimitingCause(createLimitRejectionError(tooLarge, {}), now)).toMatchObject({
    passes: 'never',
    retryAt: null,
  });
});
