import { expect, test } from 'vitest';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { isObject, type Json } from '#edge/kit/json/object.ts';
import { finalMessage, madeMessage } from '#test/support/made-messages.ts';
import { tryAsyncCases } from '#test/support/runs.ts';

test('a message is built from its events as the official client builds it', async () => {
  await tryAsyncCases(200, madeMessage, async (events) => {
    const builder = new MessageBuilder();
    for (const event of events) builder.take(JSON.parse(JSON.stringify(event)) as Json);
    const built = { ...builder.message, content: builder.blocks.map(({ value }) => value) };
    const expected = await finalMessage(events);
    expect(isObject(expected)).toBe(true);
    expect(JSON.parse(JSON.stringify(built))).toEqual(expected);
  });
});
