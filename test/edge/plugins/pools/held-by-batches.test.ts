import { env } from 'cloudflare:workers';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { createLimitRejectionError } from '#edge/money/admission/limit-headers.ts';
import type { AdmissionDecision, AdmissionRequest } from '#edge/money/contracts/admission.ts';
import type { BatchAdmissionRequest, BatchDecision } from '#edge/plugins/batches/contracts/batch.ts';
import { getPoolStub } from '#edge/plugins/pools/call-pool.ts';
import { worstCaseWith } from '#test/edge/money/account/admission-requests.ts';

const bindings = env as unknown as Bindings;
const SHARED = { defaults: { on_shortfall: 'refuse' }, pools: { deployment: true } } as const;

async function holdByBatch(account: string, cost: number): Promise<void> {
  const model = 'claude-opus-5-5';
  const order: BatchAdmissionRequest = {
    batch: 'msgbatch_1',
    requestId: 'req_batch',
    items: 1,
    rows: [{ requestId: 'req_batch.0', model, unpriced: false, items: 1, cost }],
    models: [[model]],
    known: true,
    digest: 'one',
    repeats: false,
    dryRun: false,
    ...SHARED,
  };
  const answer = await getAccountStub(bindings, {}, account).admitBatchJson(JSON.stringify(order));
  expect((JSON.parse(answer) as BatchDecision).outcome).toBe('admitted');
}

async function ask(account: string, id: string, outputTokens: number): Promise<AdmissionDecision> {
  const maximumCost = worstCaseWith({ outputTokens });
  const request: AdmissionRequest = {
    requestId: id,
    route: 'messages',
    model: 'claude-opus-5-5',
    maximumCost,
    waitMs: 30_000,
    ...SHARED,
  };
  return JSON.parse(
    await getAccountStub(bindings, {}, account).admitJson(JSON.stringify(request)),
  ) as AdmissionDecision;
}

test('a request does not wait for shared budget held by a batch, and the error says when to retry', async () => {
  await getPoolStub(bindings, {}, 'deployment').setLimits({ usd_total: 30_000 / 1e9 });
  const before = Date.now();
  await holdByBatch('alice', 20_000);
  // Its next call tells the pool what the batch holds.
  expect(await ask('alice', 'req_1', 100)).toMatchObject({ outcome: 'admitted' });
  const decision = await ask('bob', 'req_2', 950);
  expect(decision).toMatchObject({ outcome: 'refused', refusal: { reason: 'held', by: 'deployment', byBatch: true } });
  if (decision.outcome !== 'refused') throw new Error('It was admitted.');
  const day = 24 * 60 * 60_000;
  expect(decision.refusal.resetsAt).toBeGreaterThanOrEqual(before + day);
  const { message, headers } = createLimitRejectionError(decision.refusal, decision.quota);
  expect(message).toMatch(/^The rest of this deployment's total spend limit is reserved for its unfinished batches/);
  expect(headers).toMatchObject({ 'x-should-retry': 'false', 'sluice-limited-by': 'deployment' });
  expect(Number(headers['retry-after'])).toBeGreaterThan(60);
});
