import { env } from 'cloudflare:workers';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { createUnansweredOutcome } from '#edge/claude/outcome.ts';
import { parseSettingsOnce } from '#edge/config/settings.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { JsonBody } from '#edge/kit/http/body/json-body.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account } from '#edge/money/account/account.ts';
import { BilledRequest } from '#edge/money/admission/billed-request.ts';
import type { RequestToBill } from '#edge/money/admission/request-to-bill.ts';
import type { AdmissionRequest } from '#edge/money/contracts/admission.ts';
import { advanceClock, stopClock } from '#test/support/calendar.ts';

const bindings = env as unknown as Bindings;
const MODEL = 'claude-haiku-4-5-20251001';
/** What the API counts, and what it has counted of the repaired request, with what was thought. */
const COUNTED = 15_000;
const COUNT_OF_REPAIRED = 18_000;

/** What the requests of a test have started, and what must end before its accounts are emptied. */
const works: Promise<unknown>[] = [];

afterEach(async () => {
  vi.restoreAllMocks();
  await Promise.all(works.splice(0));
});

/** @returns a request whose history has a thought of thousands of tokens */
function bodyWithThought(question: string): JsonBody {
  const thought = { type: 'thinking', thinking: 'I think. '.repeat(2_000), signature: 'c2ln'.repeat(5_000) };
  const json = {
    model: MODEL,
    max_tokens: 100,
    messages: [
      { role: 'user', content: 'word '.repeat(20_000) },
      { role: 'assistant', content: [thought, { type: 'text', text: 'Yes.' }] },
      { role: 'user', content: question },
    ],
  };
  return createJsonBody(json);
}

function createJsonBody(json: JsonBody['json']): JsonBody {
  const text = JSON.stringify(json);
  return { bytes: new TextEncoder().encode(text), text, json };
}

function createRequest(requestId: string, more: Partial<RequestToBill>): RequestToBill {
  const upstream: RequestToBill['upstream'] = {
    baseURL: 'https://api.anthropic.com',
    apiKey: 'key',
    fetch: async () => Response.json({ input_tokens: COUNTED }),
    isSimulated: false,
    pool: undefined,
  };
  return {
    ...{
      requestId,
      accounts: bindings,
      store: bindings.STORE,
      settings: parseSettingsOnce(bindings),
      upstream,
      model: MODEL,
    },
    ...{
      identity: { account: 'thinker', scopes: new Set() } as unknown as RequestToBill['identity'],
      route: 'messages',
    },
    ...{ headers: {}, waitUntil: (work: Promise<unknown>) => void works.push(work) },
    body: bodyWithThought('Why?'),
    ...more,
  };
}

/** @returns the bounds by which the account is asked from now on */
function listenForBounds(): AdmissionRequest['maximumCost'][] {
  const bounds: AdmissionRequest['maximumCost'][] = [];
  const { admitJson } = Account.prototype;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(function (this: Account, request) {
    bounds.push((JSON.parse(request) as AdmissionRequest).maximumCost);
    return admitJson.call(this, request);
  });
  return bounds;
}

test('holds a repaired request by its own count, after an attempt without a response was counted', async () => {
  const bounds = listenForBounds();
  const repaired = bodyWithThought('Why, in words?');
  const unanswered = createUnansweredOutcome({ sentAt: undefined }, Date.now());
  const fresh = new BilledRequest(createRequest('req_1', { body: repaired, tokenCount: COUNT_OF_REPAIRED }), {
    modelInBody: MODEL,
  });
  await fresh.reserve();
  await fresh.settle(unanswered).done;
  const billed = new BilledRequest(createRequest('req_2', {}), { modelInBody: MODEL });
  await billed.reserve();
  // A count of count_tokens leaves out what was thought. The count of the repaired request does not.
  expect(await billed.countPrompt()).toBeGreaterThan(COUNTED);
  await billed.replaceBody({ body: repaired, tokenCount: COUNT_OF_REPAIRED }, unanswered);
  await billed.settle(unanswered).done;
  expect(bounds).toHaveLength(3);
  expect(bounds[2]?.inputCost).toBe(bounds[0]?.inputCost);
});

describe('a request whose second attempt is rejected', () => {
  const counting = createRequest('', {}).upstream;
  const notCounting = { ...counting, fetch: async () => new Response(null, { status: 404 }) };

  test.each([
    ['counted', counting],
    ['not-counted', notCounting],
  ])('reports the cost of the first attempt, whose prompt was %s', async (name, upstream) => {
    const account = () => getAccountStub(bindings, {}, name);
    await account().setLimits({ usd_per_day: 1 });
    const identity = { account: name, scopes: new Set() } as unknown as RequestToBill['identity'];
    const billed = new BilledRequest(createRequest(`req_${name}`, { identity, upstream }), { modelInBody: MODEL });
    await billed.reserve();
    await billed.settleFailedAttempt(createUnansweredOutcome({ sentAt: Date.now() - 80 }, Date.now()));
    await account().setLimits({ usd_per_day: 0 });
    await expect(billed.retry()).rejects.toMatchObject({ status: 429 });
    const { nanodollars, outputTokens, budget, done } = billed.settle(
      createUnansweredOutcome({ sentAt: undefined }, Date.now()),
    );
    const { outcome, cost } = await done;
    const { data } = await account().listRequests({ limit: 10 });
    expect(data).toMatchObject([{ status: 'retried', cost_usd: cost / 1e9 }]);
    expect(cost).toBeGreaterThan(0);
    expect({ outcome, nanodollars, outputTokens }).toEqual({
      outcome: 'duplicate',
      nanodollars: cost,
      outputTokens: data[0]?.usage.output_tokens,
    });
    expect(budget?.used).toBe(Math.floor(cost / 1e5) / 1e4);
  });
});

test('waits at most HOLD_WAIT_MS for its model and its fallback models together', async () => {
  stopClock();
  const account = getAccountStub(bindings, {}, 'waiting');
  await account.setLimits({ usd_per_day: 0.01 });
  const spent = { requestId: 'req_0', status: 'complete', cost: 10_000_000, startedAt: Date.now() };
  await account.settleJson(JSON.stringify({ ...spent, admittedFields: { route: 'messages', model: MODEL } }));
  const waits: (number | undefined)[] = [];
  const { admitJson } = Account.prototype;
  vi.spyOn(Account.prototype, 'admitJson').mockImplementation(async function (this: Account, request) {
    waits.push((JSON.parse(request) as AdmissionRequest).waitMs);
    advanceClock(20_000);
    return await admitJson.call(this, request);
  });
  const identity = { account: 'waiting', scopes: new Set() } as unknown as RequestToBill['identity'];
  const fallbackModels = ['claude-sonnet-5', 'claude-haiku-5-5'];
  const model = 'claude-opus-5-5';
  const body = createJsonBody({ model, max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] });
  const request = createRequest('req_1', { identity, body, model, fallbackModels });
  const billed = new BilledRequest(request, { modelInBody: model });
  await expect(billed.reserve()).rejects.toMatchObject({ status: 429 });
  expect(waits).toEqual([30_000, 10_000, undefined]);
});
