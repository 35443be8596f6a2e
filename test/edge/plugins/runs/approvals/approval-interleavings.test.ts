import { abortAllDurableObjects, runDurableObjectAlarm } from 'cloudflare:test';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import {
  bindings,
  fetchApprovals,
  listMessages,
  parseResult,
  readConversation,
  sendDecision,
  stubOf,
} from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { caseCount, tryAsyncCases } from '#test/support/property-cases.ts';
import { answerByScript, answerTools, callsAnswer, textAnswer, weatherTool } from '#test/support/scripted-runs.ts';
import { createBody, readStream, runTurn, sendTurn } from '#test/support/turns.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const RUNS = caseCount(100);
const OPERATIONS = ['approve', 'deny', 'stop', 'cancel', 'rewind', 'message', 'crash'] as const;
type Operation = (typeof OPERATIONS)[number];

/** What becomes of a call that waits for approval. */
type Outcome = 'waits' | 'approved' | 'denied' | 'cancelled' | 'rewound';

const NEXT = { messages: [{ role: 'user', content: 'And now?' }] };

/** A conversation whose call waits. */
interface Waiting {
  id: string;
  approval: string;
  turn: string;
  question: string;
}

async function waitingIn(id: string): Promise<Waiting> {
  const tools = [weatherTool({ approval: 'always', once: true }, 'pay')];
  const { turn } = await runTurn(createBody('Pay the bill.', { tools }), { id });
  const [row] = await fetchApprovals(id);
  const [message] = await listMessages(id);
  return { id, turn, approval: String(row?.id), question: String(message?.id) };
}

/** Does one thing to it. @returns whether that has changed something; undefined where the object died meanwhile */
async function perform(operation: Operation, { id, approval, turn, question }: Waiting): Promise<boolean | undefined> {
  try {
    switch (operation) {
      case 'approve':
      case 'deny': {
        const decision = { id: approval, decision: operation, isAdmin: false, requestId: createRequestId() };
        return (await sendDecision(stubOf(id), decision)).ok;
      }
      case 'stop':
        return (await stubOf(id).stopRunningTurn()).ok;
      case 'cancel':
        return (await stubOf(id).cancelTurn(turn)).ok;
      case 'rewind':
        return (await stubOf(id).rewindConversation(question)).ok;
      case 'message': {
        const answer = await sendTurn(NEXT, { id });
        if (answer.kind === 'stream') await readStream(answer.body);
        return answer.kind === 'stream';
      }
      case 'crash':
        await abortAllDurableObjects();
        return true;
    }
  } catch {
    return undefined;
  }
}

test(`${RUNS} interleavings of decisions, stops, rewinds, messages and crashes each end in exactly one outcome`, async () => {
  const faults: string[] = [];
  answerByScript((body) => {
    const fault = findBrokenRule(body.messages as never);
    if (fault !== undefined) faults.push(fault);
    const { messages } = body;
    return JSON.stringify(messages.at(-1)?.content).includes('Pay the bill.')
      ? callsAnswer({
          type: 'tool_use',
          id: `toolu_${createRequestId().slice(4)}`,
          name: 'pay',
          input: { amount: 500 },
        })
      : textAnswer('Well.');
  });
  const came = answerTools(async () => {
    await yieldToEventLoop(3);
    return new Response('paid');
  });
  const counts: Record<string, number> = {};
  let number = 0;
  const operations = fc.array(fc.tuple(fc.constantFrom(...OPERATIONS), fc.constantFrom(0, 0, 2, 8)), {
    minLength: 2,
    maxLength: 6,
  });
  await tryAsyncCases(RUNS, operations, async (planned) => {
    number += 1;
    const place = await waitingIn(`i${number}`);
    const { id, turn, approval } = place;
    const done = await Promise.all(
      planned.map(async ([operation, after]) => {
        await yieldToEventLoop(after);
        return { operation, hasWorked: await perform(operation, place) };
      }),
    );
    // It comes to rest by itself, whoever died.
    await eventually(async () => {
      await runDurableObjectAlarm(stubOf(id));
      expect(await readConversation(id)).toMatchObject({ state: 'idle' });
    });
    const told = await stubOf(id).readTurnReport(turn);
    const account = told.ok ? await parseResult(told) : undefined;
    const [step] = (account?.steps ?? []) as JsonObject[];
    const [call] = (step?.calls ?? []) as (JsonObject & { approval: JsonObject | null })[];
    const decision = call?.approval?.decision as string | null | undefined;
    const outcomes: Record<string, Outcome> = { approve: 'approved', deny: 'denied', cancel: 'cancelled' };
    // A turn that was rewound stays until it is settled.
    const outcome: Outcome =
      !account || account.status === 'failed' ? 'rewound' : decision ? (outcomes[decision] ?? 'waits') : 'waits';
    counts[outcome] = (counts[outcome] ?? 0) + 1;

    // Of two decisions one counts.
    const worked = (wanted: Operation) => done.some(({ operation, hasWorked }) => operation === wanted && hasWorked);
    expect(worked('approve') && worked('deny')).toBe(false);
    const made = came.filter(({ body }) => body.conversation === id);
    // What was not approved is not called, and what was is called once.
    expect(made.length).toBeLessThanOrEqual(1);
    if (outcome !== 'approved' && outcome !== 'rewound') expect(made).toEqual([]);
    const isSaid = (wanted: Operation) => planned.some(([operation]) => operation === wanted);
    if (made.length > 0) expect(isSaid('approve')).toBe(true);
    if (outcome === 'approved' && !isSaid('crash') && !isSaid('stop') && !isSaid('cancel')) {
      expect(made).toHaveLength(1);
    }
    if (outcome === 'waits') {
      expect((await sendTurn(NEXT, { id })).kind).toBe('error');
      const again = { id: approval, decision: 'deny' as const, isAdmin: false, requestId: createRequestId() };
      expect(await sendDecision(stubOf(id), again)).toMatchObject({ ok: true, value: { status: 202 } });
      await eventually(async () => {
        expect(await readConversation(id)).toMatchObject({ state: 'idle' });
      });
    }
    // The conversation goes on, with a history that the API accepts.
    expect((await runTurn(NEXT, { id })).text).toContain('Well.');
    expect(faults).toEqual([]);
  });
  await eventually(async () => {
    expect(await getAccountStub(bindings, {}, 'alice').getQuotaReport()).toMatchObject({ running_requests: 0 });
  });
  // biome-ignore lint/suspicious/noConsole: the table of what has become of them.
  console.log(`calls that waited: ${JSON.stringify(counts)}`);
});
