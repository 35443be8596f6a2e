import { expect, test } from 'vitest';
import { MessageBuilder } from '#edge/conversations/turn/message-builder.ts';
import { isObject, type JsonObject } from '#edge/kit/json/object.ts';
import { arbitraryMessageEvents, readFinalMessage } from '#test/support/arbitrary-messages.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';

test('MessageBuilder builds a message from its events as the official client does', async () => {
  await tryAsyncCases(200, arbitraryMessageEvents, async (events) => {
    const builder = new MessageBuilder();
    for (const event of events) builder.addEventData(JSON.parse(JSON.stringify(event)) as JsonObject);
    const built = { ...builder.message, content: builder.blocks.map(({ value }) => value) };
    const expected = await readFinalMessage(events);
    expect(isObject(expected)).toBe(true);
    expect(JSON.parse(JSON.stringify(built))).toEqual(expected);
  });
});
