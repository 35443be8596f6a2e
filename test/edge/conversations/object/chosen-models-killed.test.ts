import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import type { TurnRequest } from '#edge/conversations/object/contract.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import type { Account } from '#edge/money/account/account.ts';
import {
  createRouterEdge,
  isLabelRequest,
  LARGE,
  LEVELS,
  type Level,
  lastTextOf,
  readLedger,
} from '#test/support/chosen-models.ts';
import { bindings, stubOf } from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { textAnswer } from '#test/support/scripted-runs.ts';
import { buildTurnRequest, createBody, readStream, sendTurnRequest } from '#test/support/turns.ts';

/** What the models cost beside each other: the order of `LEVELS`. */
const MODELS = ['claude-haiku-5-5', 'claude-sonnet-5-5', LARGE];

/** @returns the model for each question of a conversation, as the guide says it */
function expectedModels(levels: readonly Level[]): string[] {
  const ranks = levels.map((level) => LEVELS.indexOf(level));
  let now = -1;
  return ranks.map((rank, nth) => {
    const agreed = Math.min(rank, nth > 0 ? (ranks[nth - 1] ?? 0) : rank);
    if (now < 0) now = rank;
    else if (agreed > now) now = agreed;
    return MODELS[now] ?? '';
  });
}

/** Sends a request, and reads what comes before its object dies. */
async function tell(request: TurnRequest) {
  const answer = await sendTurnRequest(request).catch(() => undefined);
  return { answer, read: answer?.kind === 'stream' ? await readStream(answer.body) : undefined };
}

const moment = fc.constantFrom('never', 'never', 'while it is labelled', 'before the answer', 'in the answer');
const asked = fc.record({ level: fc.constantFrom(...LEVELS), dies: moment });

test('each retry of a question uses the model of its label, whenever objects die', async () => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
  let dies = 'never';
  let lost = 0;
  let isReached = false;
  /** Tells the test that the moment has come. Nothing more happens in the object: the test has it aborted. */
  const die = async () => {
    dies = 'never';
    isReached = true;
    await new Promise(() => {});
  };
  const { up } = await createRouterEdge({
    before: async (body) => {
      if (isLabelRequest(body) && dies === 'while it is labelled') {
        lost += 1;
        await die();
      }
      if (!isLabelRequest(body) && dies === 'before the answer') await die();
    },
    answer: () => {
      const { content } = textAnswer('So it is.');
      if (dies !== 'in the answer') return { content };
      const first = (text: string) => text.slice(0, text.indexOf('event: content_block_stop'));
      return {
        content,
        change: (text) =>
          new ReadableStream({
            async start(controller) {
              controller.enqueue(new TextEncoder().encode(first(text)));
              await die();
            },
          }),
      };
    },
  });
  let conversation = 0;
  await tryAsyncCases(caseCount(40), fc.array(asked, { minLength: 1, maxLength: 6 }), async (questions) => {
    conversation += 1;
    const id = `c${conversation}`;
    for (const [nth, { level, dies: when }] of questions.entries()) {
      const text = `${id} ${nth}: ${level}`;
      dies = when;
      const request = {
        ...buildTurnRequest(createBody(text), { id, account: 'bob', hash: text }),
        edgeOptions: { agent: 'router' },
      };
      for (let tries = 0; ; tries += 1) {
        isReached = false;
        let isOver = false;
        const telling = tell({
          ...request,
          call: { ...request.call, id: createRequestId(), isClientRetry: tries > 0 },
        });
        telling.finally(() => {
          isOver = true;
        });
        await eventually(() => expect(isOver || isReached).toBe(true));
        if (isReached) await abortAllDurableObjects();
        const { read } = await telling;
        if (read?.isWhole) break;
        expect(tries).toBeLessThan(10);
      }
    }
    const expected = expectedModels(questions.map(({ level }) => level));
    for (const [nth, { level }] of questions.entries()) {
      const tried = up.filter((body) => lastTextOf(body) === `${id} ${nth}: ${level}`);
      expect(new Set(tried.map(({ model }) => model))).toEqual(new Set([expected[nth]]));
    }
  });
  await eventually(async () => {
    // A conversation whose settlement was lost with its object says it again by its alarm.
    const ids = Array.from({ length: conversation }, (_, nth) => `c${nth + 1}`);
    await Promise.all(ids.map((id) => runDurableObjectAlarm(stubOf(id, 'bob') as unknown as DurableObjectStub)));
    const held = await heldRows();
    expect(held.filter(({ route }) => route !== 'choice')).toEqual([]);
    expect(held.length).toBeLessThanOrEqual(lost);
  });
  await eventually(async () => {
    // None is set where nothing is held, or while the account's own alarm runs.
    await aMinutePasses();
    expect(await heldRows()).toEqual([]);
  });
  expect((await readLedger()).filter(({ chosen_by }) => chosen_by === undefined)).toEqual([]);
});

const heldRows = async () => (await readLedger()).filter(({ status }) => status === 'held');

/** Has the alarm of the account come when a minute has passed. @returns whether one was set */
async function aMinutePasses(): Promise<boolean> {
  const account = getAccountStub(bindings, {}, 'bob');
  await runInDurableObject(account as unknown as DurableObjectStub<Account>, (object) => {
    Object.assign(object, { now: () => Date.now() + 60_000 });
  });
  return await runDurableObjectAlarm(account as unknown as DurableObjectStub<Account>);
}

test('the account settles the label request of a dead object within a minute, and stops counting it as running', async () => {
  let isAsked = false;
  await createRouterEdge({
    before: async () => {
      isAsked = true;
      await new Promise(() => {});
    },
  });
  const telling = tell({
    ...buildTurnRequest(createBody('A hard one.'), { account: 'bob' }),
    edgeOptions: { agent: 'router' },
  });
  await eventually(() => expect(isAsked).toBe(true));
  await abortAllDurableObjects();
  expect((await telling).answer).toBeUndefined();
  expect(await heldRows()).toMatchObject([{ route: 'choice', conversation: 'c1' }]);
  expect(await aMinutePasses()).toBe(true);
  expect(await readLedger()).toMatchObject([{ route: 'choice', status: 'orphaned', estimated: true }]);
  expect((await getAccountStub(bindings, {}, 'bob').getQuotaReport()).running_requests).toBe(0);
});
