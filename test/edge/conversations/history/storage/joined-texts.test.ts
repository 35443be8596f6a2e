import { runInDurableObject } from 'cloudflare:test';
import fc from 'fast-check';
import { beforeEach, expect, test } from 'vitest';
import { SentHistory } from '#edge/claude/request/sent-history.ts';
import { readJoinedTexts } from '#edge/conversations/history/storage/joined-texts.ts';
import type { TurnStatus } from '#edge/conversations/history/storage/rows.ts';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { runAtOnce } from '#edge/kit/async/run-in-steps.ts';
import { installSimulator, stubOf, waitUntilAtRest } from '#test/support/conversations.ts';
import { tryCases } from '#test/support/property-cases.ts';
import { createBody, runTurn } from '#test/support/turns.ts';

beforeEach(() => {
  installSimulator();
});
const image = { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } };
const block = fc.oneof(
  fc.record({ type: fc.constant('text'), text: fc.string({ unit: 'grapheme' }) }),
  fc.constantFrom(
    image,
    { type: 'text', text: 'x', cache_control: { type: 'ephemeral', ttl: '1h' } },
    { type: 'document', source: { type: 'file', file_id: 'file_1' } },
    { type: 'thinking', thinking: 'Hm', signature: 's' },
    { type: 'unheard_of' },
  ),
);
const content = fc.oneof(
  { weight: 3, arbitrary: fc.string({ unit: 'grapheme' }) },
  { weight: 3, arbitrary: fc.array(block, { maxLength: 3 }) },
  { weight: 1, arbitrary: fc.constant('long '.repeat(1_500)) },
);
/** A key may be written in more than one way, and twice: what is counted must be what the API reads. */
const disguised = fc.constantFrom(
  '{"role":"user","content":"x","content":[{"type":"image","source":{"type":"url","url":"u"}}]}',
  '{"role":"user","content":"x","\\u0063ontent":[{"type":"image","source":{"type":"url","url":"u"}}]}',
  '{"role":"user","content":[{"type":"text","text":"x"}, {"type":"image","source":{"type":"url","url":"u"}}]}',
  '{"role":"user","content":[{"type":"text","text":"x"},{"ty\\u0070e":"image","source":{"type":"url","url":"u"}}]}',
  '{"role":"user","content":[{"type":"text","text":"x","cache_\\u0063ontrol":{"ttl":"1h"}}]}',
);
const message = fc.oneof(
  {
    weight: 9,
    arbitrary: fc
      .tuple(fc.record({ role: fc.constantFrom('user', 'assistant'), content }), fc.boolean())
      .map(([one, isSpaced]) => JSON.stringify(one, null, isSpaced ? 1 : 0)),
  },
  { weight: 1, arbitrary: disguised },
);
const turn = fc.record({
  status: fc.constantFrom<TurnStatus>('complete', 'complete', 'complete', 'stopped', 'refused', 'running', 'failed'),
  texts: fc.array(message, { minLength: 1, maxLength: 60 }),
});

test('a history joined by SQLite equals the history read row by row, including its features', async () => {
  await runTurn(createBody('Hello'));
  await waitUntilAtRest();
  await runInDurableObject(stubOf(), (_, { storage }) => {
    const transcript = new Transcript(storage);
    const [template] = transcript.listTurns();
    if (!template) throw new TypeError('no turn');
    tryCases(60, fc.array(turn, { maxLength: 6 }), fc.nat(200), fc.nat(4), (turns, from, gap) => {
      transcript.runWriteStatement('delete from turns');
      transcript.runWriteStatement('delete from messages');
      transcript.runWriteStatement('delete from pieces');
      let seq = 1;
      for (const [at, { status, texts }] of turns.entries()) {
        const row = { ...template, seq: at + 1, id: `turn_${at}`, status };
        transcript.storeNewTurn(row, []);
        transcript.updateTurn(row, { status });
        for (const text of texts) {
          const long =
            text.includes('long') && at === 0 ? JSON.stringify({ role: 'user', content: 'é'.repeat(700_000) }) : text;
          transcript.addMessage({ seq, turn: at + 1, id: `msg_${seq}`, role: 'user', createdAt: 0, text: long });
          seq += 1 + gap;
        }
      }
      const rows = Array.from(transcript.messages.readMessageTexts({ from, sent: true }), ({ text }) => text);
      const read = SentHistory.EMPTY.appendMessages(rows);
      const joined = runAtOnce(
        SentHistory.createFromMessages(readJoinedTexts(transcript, from, new Set()), Number.POSITIVE_INFINITY),
      );
      expect(joined?.features).toEqual(read.features);
      expect(new TextDecoder().decode(joined?.joinedBytes) === new TextDecoder().decode(read.joinedBytes)).toBe(true);
      const next = '{"role":"user","content":"And?"}';
      expect(new TextDecoder().decode(joined?.appendMessages([next]).joinedBytes)).toBe([...rows, next].join(','));
    });
  });
});
