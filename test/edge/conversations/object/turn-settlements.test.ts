import { abortAllDurableObjects, env, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { beforeEach, describe, expect, test } from 'vitest';
import { UpstreamDurableObject } from '#edge/claude/upstream-object.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { findTurnByNumber } from '#edge/conversations/history/storage/turn-queries.ts';
import { TurnSettlementTracker } from '#edge/conversations/object/turn-settlements.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { createBody as streamOf } from '#test/support/app.ts';
import {
  bindings,
  createTimeAdvancer,
  installSimulator,
  setConversationUpstream,
  stubOf,
  waitUntilAtRest,
} from '#test/support/conversations.ts';
import { eventually } from '#test/support/eventually.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';
import { createBody, runTurn, sendTurn } from '#test/support/turns.ts';
import { messageEnd, messageStart, sseEvent, sseResponse, textBlock } from '#test/support/wire.ts';

beforeEach(() => {
  installSimulator();
});
/** Shows what an object passes to the modules that do its work. */
class Shown extends UpstreamDurableObject {
  get surroundings() {
    return this.services;
  }
}

test("a conversation's cost includes the settled cost of its turn once, however often it is confirmed", async () => {
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  await runInDurableObject(stubOf(), async (_, state) => {
    const transcript = new Transcript(state.storage);
    const [ended] = transcript.listTurns();
    const others = (transcript.storedProfile?.cost ?? 0) - (ended?.cost ?? 0);
    const { surroundings } = new Shown(state, env as unknown as Bindings);
    const object = { ...surroundings, transcript, erase: async () => {} };
    const settlements = new TurnSettlementTracker(object, {
      scheduleRetry: () => {},
      reportConversation: () => {},
      onSettled: () => {},
    });
    // What is heard again is heard by somebody who knows the turn as it was, or as it has become.
    const heard = fc.record({ cost: fc.nat(1_000_000), stale: fc.nat(2), fresh: fc.nat(2) });
    await tryAsyncCases(40, fc.array(heard, { minLength: 1, maxLength: 4 }), async (figures) => {
      for (const { cost, stale, fresh } of figures) {
        const known = findTurnByNumber(transcript, ended?.seq ?? 0);
        if (!known) throw new TypeError('no turn');
        const settled = async () => ({ outcome: 'settled' as const, cost, overHold: false });
        for (let times = 0; times <= stale; times += 1) await settlements.waitForConfirmation({ ...known }, settled());
        for (let times = 0; times < fresh; times += 1) {
          await settlements.waitForConfirmation(findTurnByNumber(transcript, known.seq) ?? known, settled());
        }
        expect(findTurnByNumber(transcript, known.seq)?.cost).toBe(cost);
        expect(transcript.storedProfile?.cost).toBe(others + cost);
      }
    });
  });
});

test.each([
  ['before', 0],
  ['behind', 4_000 * 1_000],
])(
  'a turn stopped %s its first event whose object then dies is settled once, at no less than the reported usage',
  async (when, told) => {
    const pass = createTimeAdvancer();
    let calls = 0;
    setConversationUpstream(async () => {
      calls += 1;
      if (when === 'before') return await new Promise<Response>(() => {});
      return sseResponse(
        streamOf(
          [messageStart({ model: 'claude-opus-5-5', usage: { input_tokens: 1_000 } }), sseEvent('ping')],
          'silence',
        ),
      );
    });
    const asked = sendTurn(createBody('Hello')).catch(() => undefined);
    await eventually(async () => expect(calls).toBe(1));
    if (when === 'behind') await asked;
    await stubOf().stopRunningTurn();
    await abortAllDurableObjects();
    const rows = async () => (await getAccountStub(bindings, {}, 'alice').listRequests({})).data;
    let booked: unknown;
    for (const _ of [1, 2]) {
      pass(2 * 60_000);
      await runDurableObjectAlarm(stubOf());
      await waitUntilAtRest();
      const [row, ...others] = await rows();
      expect(others).toEqual([]);
      expect(row).toMatchObject({ estimated: true });
      expect(row?.cost_usd).toBeGreaterThan(told / 1e9);
      booked ??= row?.cost_usd;
      expect(row?.cost_usd).toBe(booked);
    }
  },
);

/** @returns what the account has booked, and what the conversation and the list of conversations say it has cost; US dollars */
async function totals(): Promise<{ booked: number; own: number | undefined; listed: number | undefined }> {
  const account = getAccountStub(bindings, {}, 'alice');
  const { data } = await account.listRequests({});
  const booked = data.reduce((sum, { cost_usd }) => sum + Math.round((cost_usd ?? 0) * 1e9), 0);
  const own = await runInDurableObject(stubOf(), (_, state) => new Transcript(state.storage).storedProfile?.cost);
  const [listed] = (await account.listConversations({ limit: 20 })).data;
  return { booked, own, listed: listed && Math.round(listed.cost_usd * 1e9) };
}

test.each(['before', 'behind'])(
  "a conversation's total equals the settled costs, also after a first turn that was stopped %s its first event",
  async (when) => {
    let calls = 0;
    const held = Promise.withResolvers<void>();
    const opened = [messageStart({ model: 'claude-opus-5-5', usage: { input_tokens: 1_000 } }), sseEvent('ping')];
    setConversationUpstream(async () => {
      calls += 1;
      if (calls > 1) return sseResponse([...opened, textBlock(['Yes.']), messageEnd()].join(''));
      if (when === 'before') await held.promise;
      return sseResponse(streamOf(opened, 'silence'));
    });
    const asked = sendTurn(createBody('Hello')).catch(() => undefined);
    await eventually(async () => expect(calls).toBe(1));
    if (when === 'behind') await asked;
    await stubOf().stopRunningTurn();
    await runTurn(createBody('And now?'));
    held.resolve();
    await waitUntilAtRest();
    const { booked, own, listed } = await totals();
    expect(booked).toBeGreaterThan(2 * 4_000 * 1_000);
    expect({ own, listed }).toEqual({ own: booked, listed: booked });
  },
);

describe('a turn whose object dies before its first event', () => {
  const LONG = 'word '.repeat(20_000);
  /** What the turn is booked at, if a count of its prompt is answered so. */
  const bookedWith = async (id: string, count: () => Response, stops: boolean) => {
    const pass = createTimeAdvancer();
    const sent = { messages: 0, counts: 0 };
    setConversationUpstream(async (url) => {
      if (String(url).includes('count_tokens')) {
        sent.counts += 1;
        return count();
      }
      sent.messages += 1;
      return await new Promise<Response>(() => {});
    });
    const account = id;
    void sendTurn(createBody(LONG), { id, account }).catch(() => undefined);
    await eventually(async () => expect(sent.messages).toBe(1));
    if (stops) {
      await stubOf(id, account).stopRunningTurn();
      await eventually(async () => expect(sent.counts).toBe(1));
      const counted = () =>
        runInDurableObject(stubOf(id, account), (_, state) => {
          const [turn] = new Transcript(state.storage).listTurns();
          return turn?.outcome?.prompt_tokens;
        });
      if (count().ok) await eventually(async () => expect(await counted()).toBeGreaterThanOrEqual(20_000));
    }
    await abortAllDurableObjects();
    pass(2 * 60_000);
    await runDurableObjectAlarm(stubOf(id, account));
    const rows = async () => (await getAccountStub(bindings, {}, account).listRequests({})).data;
    await eventually(async () => expect((await rows()).at(0)?.settled_at).toEqual(expect.any(String)));
    const [row, ...others] = await rows();
    expect(others).toEqual([]);
    expect(row).toMatchObject({ estimated: true });
    return { cost: Math.round((row?.cost_usd ?? 0) * 1e9), counts: sent.counts };
  };
  const counted = () => Response.json({ input_tokens: 20_000 });
  const refused = () => Response.json({ type: 'error', error: { type: 'api_error', message: 'no' } }, { status: 400 });

  test.each([
    ['while it is read on behind a stop', true],
    ['while it is waited for', false],
  ])("is settled by a token count of its prompt, not by the prompt's bytes: %s", async (_, stops) => {
    const boundByCount = await bookedWith(`counted-${stops}`, counted, stops);
    const byBytes = await bookedWith(`uncounted-${stops}`, refused, stops);
    expect(boundByCount.counts).toBe(1);
    // A byte is a token at most, and a token of the prompt costs 4,000 nanodollars at least.
    expect(byBytes.cost - boundByCount.cost).toBeGreaterThan(70_000 * 4_000);
    expect(boundByCount.cost).toBeGreaterThan(20_000 * 4_000);
  });
});

test("a turn stopped before its cost is known reports none, and the conversation's total includes the final cost", async () => {
  setConversationUpstream(async () =>
    sseResponse(streamOf([messageStart({ usage: { input_tokens: 1_000 } }), textBlock(['Hel'])], 'silence')),
  );
  const answer = await sendTurn(createBody('Hello'));
  if (answer.kind !== 'stream') throw new TypeError('no stream');
  const text = new Response(answer.body).text();
  await stubOf().stopRunningTurn();
  const told = await text;
  expect(told).toContain(': sluice-stopped\n');
  expect(told).not.toContain('sluice-cost-usd');
  expect(told).not.toContain('nanodollars');
  await waitUntilAtRest();
  const { booked, own, listed } = await totals();
  expect(booked).toBeGreaterThan(0);
  expect({ own, listed }).toEqual({ own: booked, listed: booked });
});
