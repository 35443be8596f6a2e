import fc from 'fast-check';
import { expect, test } from 'vitest';
import { messagesRequest, validateMessages } from '#edge/claude/messages.schema.ts';
import { validateBySchema } from '#edge/kit/http/validate.ts';
import { tryCases } from '#test/support/property-cases.ts';

const anything = fc.oneof(fc.jsonValue({ maxDepth: 2 }), fc.constantFrom('user', '', 0, -1, 0.5, true));
const message = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({ role: fc.constantFrom('user', 'x'), content: fc.constantFrom<unknown>('Hi', []) }),
  },
  fc.record({ role: fc.constant('system'), content: fc.constant([]), output_config: anything }, { requiredKeys: [] }),
  fc.record({ role: anything, content: anything }, { requiredKeys: [] }),
  anything,
);
const request = fc.record(
  {
    model: fc.oneof({ weight: 4, arbitrary: fc.constant('claude-haiku-5-5') }, anything),
    max_tokens: fc.oneof({ weight: 4, arbitrary: fc.nat() }, anything),
    messages: fc.oneof({ weight: 4, arbitrary: fc.array(message, { maxLength: 3 }) }, anything),
    stream: fc.oneof({ weight: 4, arbitrary: fc.constantFrom(true, null) }, anything),
    thread: fc.constantFrom({ type: 'continue' }, 7),
    fallbacks: anything,
  },
  { requiredKeys: [] },
);

test('validateMessages accepts and rejects the same requests as the schema, with the same errors', () => {
  const judged = (judge: () => unknown) => {
    try {
      return { passes: judge() };
    } catch (thrown) {
      return { fault: String(thrown) };
    }
  };
  let passed = 0;
  tryCases(3_000, fc.oneof({ weight: 9, arbitrary: request }, anything), (value) => {
    const own = judged(() => validateMessages(value));
    expect(own).toEqual(judged(() => validateBySchema(messagesRequest, value)));
    if ('passes' in own) passed += 1;
  });
  expect(passed).toBeGreaterThan(100);
});

test('a system message requires content or output_config', () => {
  const request = (message: object) => ({
    model: 'm',
    max_tokens: 1,
    messages: [{ role: 'user', content: 'Hi' }, message],
  });
  const output_config = { effort: 'high' };
  for (const content of [undefined, '', [], 'Be brief.']) {
    expect(
      validateMessages(request({ role: 'system', ...(content === undefined ? {} : { content }), output_config })),
    ).toBeDefined();
  }
  for (const message of [
    { role: 'system' },
    { role: 'system', output_config: null },
    { role: 'user', output_config },
  ]) {
    expect(() => validateMessages(request(message))).toThrow('messages.1.content: Field required');
  }
});
