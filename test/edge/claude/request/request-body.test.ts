import fc from 'fast-check';
import { expect, test } from 'vitest';
import { computeMaximumCost } from '#edge/claude/pricing/maximum-cost.ts';
import { RequestBody } from '#edge/claude/request/request-body.ts';
import { SentHistory } from '#edge/claude/request/sent-history.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { tryCases } from '#test/support/property-cases.ts';

const image = { type: 'image', source: { type: 'base64', media_type: 'image/png', data: 'x'.repeat(9_000) } };
const block = fc.oneof(
  fc.record({ type: fc.constant('text'), text: fc.string({ unit: 'grapheme' }) }),
  fc.constantFrom(
    image,
    { type: 'image', source: { type: 'url', url: 'https://example.com/a.png' } },
    { type: 'document', source: { type: 'file', file_id: 'file_1' } },
    { type: 'tool_result', tool_use_id: 'a', content: [image] },
    { type: 'text', text: 'x', cache_control: { type: 'ephemeral', ttl: '1h' } },
    { type: 'unheard_of' },
  ),
);
const message = fc.record({
  role: fc.constantFrom('user', 'assistant'),
  content: fc.oneof(fc.string({ unit: 'grapheme' }), fc.array(block, { maxLength: 3 })),
});
const messages = fc.array(message, { maxLength: 4 });
const { models } = parseSettings({});

test('a prompt puts the history before the new messages, in bytes, text, JSON and maximum cost', () => {
  tryCases(100, fc.array(messages, { maxLength: 4 }), messages, fc.nat(2), (turns, news, indent) => {
    const history = turns.reduce(
      (sent, turn) => sent.appendMessages(turn.map((one) => JSON.stringify(one))),
      SentHistory.EMPTY,
    );
    const rest = { model: 'claude-haiku-5-5', max_tokens: 100, system: 'é "messages":[]' };
    const prompt = new RequestBody(JSON.stringify({ ...rest, messages: news, stream: true }, null, indent), history);
    const whole = { ...rest, messages: [...turns.flat(), ...news], stream: true };
    expect(prompt.json).toEqual(whole);
    expect(new TextEncoder().encode(prompt.text)).toEqual(prompt.bytes);
    expect(prompt.ownJson.messages).toEqual(news);
    expect(prompt.withChanges({ max_tokens: '7' }).json).toEqual({ ...whole, max_tokens: 7 });
    const options = { bytes: prompt.bytes.length, models };
    expect(computeMaximumCost(prompt.ownJson, { ...options, before: prompt.before })).toEqual(
      computeMaximumCost(whole, options),
    );
  });
});

test('appending to a history does not change the earlier history in the same buffer', () => {
  tryCases(100, fc.array(fc.tuple(fc.nat(), fc.string({ unit: 'grapheme' })), { maxLength: 20 }), (steps) => {
    const histories = [{ sent: SentHistory.EMPTY, texts: [] as string[] }];
    for (const [from, text] of steps) {
      const before = histories[from % histories.length];
      if (!before) continue;
      const added = JSON.stringify({ content: text });
      histories.push({ sent: before.sent.appendMessages([added]), texts: [...before.texts, added] });
    }
    for (const { sent, texts } of histories) {
      expect(new TextDecoder().decode(sent.joinedBytes)).toBe(texts.join(','));
      expect(sent.bufferSizeBytes).toBeGreaterThanOrEqual(sent.joinedBytes.length);
    }
  });
});
