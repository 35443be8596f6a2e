import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createEventReader, type ServerSentEvent } from '#client/events.ts';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

const STREAM = `: a remark\n\n${TEXT_STREAM}id: turn_a-7\n${TOOL_STREAM}data: two\ndata: lines\n\n: sluice-cost-usd=0.1\n\n`;

function read(pieces: Uint8Array[]): { events: ServerSentEvent[]; comments: string[] } {
  const events: ServerSentEvent[] = [];
  const comments: string[] = [];
  const push = createEventReader(
    (event) => events.push(event),
    (comment) => comments.push(comment),
  );
  for (const piece of pieces) push(piece);
  return { events, comments };
}

test.each([
  ['line feeds', STREAM],
  ['carriage returns too', STREAM.replaceAll('\n', '\r\n')],
])('a stream with %s yields the same events however it is cut into pieces', (_, stream) => {
  const bytes = new TextEncoder().encode(stream);
  const whole = read([new TextEncoder().encode(STREAM)]);
  expect(whole.comments).toEqual(['a remark', 'sluice-cost-usd=0.1']);
  expect(whole.events.at(-1)).toEqual({ id: undefined, event: '', data: 'two\nlines', remark: undefined });
  expect(whole.events.filter(({ id }) => id !== undefined)).toMatchObject([{ id: 'turn_a-7', event: 'message_start' }]);
  tryCases(caseCount(300), fc.array(fc.nat(bytes.length), { maxLength: 40 }), (places) => {
    const cuts = [0, ...places.sort((left, right) => left - right), bytes.length];
    const pieces = cuts.slice(1).map((to, index) => bytes.slice(cuts[index], to));
    expect(read(pieces)).toEqual(whole);
  });
});

test('a comment counts at the end of its line, without an empty line after it', () => {
  const encode = (text: string) => new TextEncoder().encode(text);
  const end = `${TEXT_STREAM}: sluice-budget-used=0.5\n: sluice-cost-usd=0.1\n`;
  expect(read([encode(end)]).comments).toEqual(['sluice-budget-used=0.5', 'sluice-cost-usd=0.1']);
  expect(read([encode(end.slice(0, -1))]).comments).toEqual(['sluice-budget-used=0.5']);
});

test('an event without its final empty line is not yielded', () => {
  expect(read([new TextEncoder().encode('event: a\ndata: {}\n')]).events).toEqual([]);
});
