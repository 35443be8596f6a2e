import { evictDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { SentHistory } from '#edge/claude/request/sent-history.ts';
import { getUpstreamBySettings, type Upstream } from '#edge/claude/upstream.ts';
import {
  type CachedHistory,
  findLastAnswerAndAfter,
  historyCache,
} from '#edge/conversations/history/storage/history-cache.ts';
import { Conversation } from '#edge/conversations/object/conversation.ts';
import { installSimulator, listMessages, stubOf } from '#test/support/conversations.ts';
import { caseCount, tryAsyncCases, tryCases } from '#test/support/property-cases.ts';
import { createBody, runTurn } from '#test/support/turns.ts';

const cachedHistory = (bytes: number): CachedHistory => ({
  model: 'm',
  isForLoop: false,
  from: 0,
  history: SentHistory.EMPTY.appendMessages([JSON.stringify('x'.repeat(bytes))]),
  tail: [],
  lastTurn: undefined,
  frozen: { system: undefined, tools: undefined, runs: undefined },
});

test('historyCache stays within its limit by evicting the least recently used histories', () => {
  const keys = Array.from({ length: 30 }, () => ({}));
  for (const [at, key] of keys.entries()) {
    historyCache.set(key, cachedHistory(1_180_000));
    expect(historyCache.get(keys[0] as object)).toBeDefined();
    if (at > 0) expect(historyCache.get(key)).toBeDefined();
  }
  expect(keys.filter((key) => historyCache.get(key) !== undefined)).toHaveLength(20);
  const tooLong = {};
  historyCache.set(tooLong, cachedHistory(8_000_000));
  expect(historyCache.get(tooLong)).toBeUndefined();
  for (const key of keys) historyCache.delete(key);
});

test('findLastAnswerAndAfter returns the last response and the messages after it', () => {
  tryCases(100, fc.array(fc.constantFrom('user', 'assistant')), (roles) => {
    const messages = roles.map((role, at) => ({ role, text: String(at) }));
    const tail: typeof messages = [];
    for (const message of messages.toReversed()) {
      if (tail.at(-1)?.role === 'assistant' && message.role !== 'assistant') break;
      tail.push(message);
    }
    expect(findLastAnswerAndAfter(messages)).toEqual(tail.reverse());
  });
});

type Step =
  | { kind: 'say'; text: string; simulate: string }
  | { kind: 'rewind' }
  | { kind: 'history'; max_tokens: number | null };

test('a conversation sends the same requests with and without a cached history', async () => {
  const settings = installSimulator();
  const upstream = getUpstreamBySettings(settings);
  const sent: string[] = [];
  const listening: Upstream = {
    ...upstream,
    fetch: async (url, init) => {
      if (String(url).includes('/v1/messages')) sent.push(new TextDecoder().decode(init?.body as Uint8Array));
      return await upstream.fetch(url, init);
    },
  };
  vi.spyOn(Conversation.prototype as unknown as { upstream(): Upstream }, 'upstream').mockReturnValue(listening);
  const step: fc.Arbitrary<Step> = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constant('say' as const),
        text: fc.string({ minLength: 1, maxLength: 40 }).filter((text) => text.trim() !== ''),
        simulate: fc.constantFrom(
          'answer=Fine',
          'answer=',
          'stop-reason=refusal',
          'answer=one%20two%20three%20four;cut-events=5',
          'status=529',
        ),
      }),
    },
    fc.constant<Step>({ kind: 'rewind' }),
    fc.record({ kind: fc.constant('history' as const), max_tokens: fc.constantFrom(null, 30, 200) }),
  );
  let run = 0;
  await tryAsyncCases(caseCount(25), fc.array(step, { maxLength: 10 }), async (steps) => {
    run += 1;
    const bodies: string[][] = [];
    for (const isCached of [true, false]) {
      const id = `c${run}-${isCached}`;
      sent.length = 0;
      await runTurn(createBody('Hello', { system: 'Be brief.' }), { id });
      for (const each of steps) {
        if (!isCached) await evictDurableObject(stubOf(id));
        if (each.kind === 'say') {
          await runTurn({ messages: [{ role: 'user', content: each.text }] }, { id, simulate: each.simulate }).catch(
            () => {},
          );
        } else if (each.kind === 'rewind') {
          const rows = await listMessages(id);
          if (rows.length > 2) await stubOf(id).rewindConversation(rows.at(-1)?.id ?? '');
        } else {
          const { max_tokens } = each;
          await stubOf(id).patchConversation({
            history: max_tokens === null ? null : { max_tokens, strategy: 'truncate' },
          });
        }
      }
      bodies.push([...sent]);
    }
    expect(bodies[0]?.length).toBeGreaterThan(0);
    expect(bodies[0]).toEqual(bodies[1]);
  });
});
