import fc from 'fast-check';
import { expect, test } from 'vitest';
import { MessageBuilder } from '../../../src/conversations/turn/message-builder.ts';
import { isObject, type Json } from '../../../src/json/object.ts';
import { finalMessage, madeMessage } from '../../support/made-messages.ts';

test('a message is built from its events as the official client builds it', async () => {
  await fc.assert(
    fc.asyncProperty(madeMessage, async (events) => {
      const builder = new MessageBuilder();
      for (const event of events) {
        const text = JSON.stringify(event);
        if (builder.form?.takeData(text) === undefined) builder.take(JSON.parse(text) as Json, text);
      }
      const built = { ...builder.message, content: builder.blocks.map(({ value }) => value) };
      const expected = await finalMessage(events);
      expect(isObject(expected)).toBe(true);
      expect(JSON.parse(JSON.stringify(built))).toEqual(expected);
    }),
    { numRuns: 200 },
  );
});
