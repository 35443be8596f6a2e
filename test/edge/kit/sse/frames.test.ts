import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SseEventReader } from '#edge/kit/sse/frames.ts';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { tryCases } from '#test/support/property-cases.ts';

const encoder = new TextEncoder();
const framesOf = (text: string) =>
  text
    .split('\n\n')
    .filter((frame) => frame !== '')
    .map((frame) => {
      const [event = '', data = ''] = frame.split('\n');
      return { event: event.slice(7), data: data.slice(6), text: `${frame}\n\n` };
    });

test.each([
  ['LF', TEXT_STREAM],
  ['LF', TOOL_STREAM],
  ['CRLF', TEXT_STREAM.replaceAll('\n', '\r\n')],
  ['CR', TEXT_STREAM.replaceAll('\n', '\r')],
  ['BOM', `\uFEFF${TEXT_STREAM}`],
])('events are the same however the bytes are split (%s)', (_, stream) => {
  const bytes = encoder.encode(stream);
  tryCases(100, fc.array(fc.nat(bytes.length), { maxLength: 20 }), (places) => {
    const reader = new SseEventReader();
    const cuts = [0, ...places.sort((a, b) => a - b), bytes.length];
    const frames = cuts.slice(1).flatMap((to, index) => reader.readCompletedEvents(bytes.slice(cuts[index], to)));
    // A carriage return at the very end may be half of a line end: then the last event is told by `last`.
    const { unterminatedLastEvent: last } = reader;
    expect(last === undefined || stream.endsWith('\r\r')).toBe(true);
    const all = last === undefined ? frames : [...frames, last];
    expect(all).toEqual(framesOf(stream.replace(/^\uFEFF/, '').replace(/\r\n?/g, '\n')));
  });
});

test('comments, other fields and events without a name or data are omitted; multi-line data is joined', () => {
  const text =
    ': hi\n\nid: 1\nevent: a\ndata: {"x":\ndata: 1}\nretry: 5\n\ndata: {}\n\nevent: b\n\nevent:c\ndata:{}\n\n';
  expect(new SseEventReader().readCompletedEvents(encoder.encode(text))).toEqual([
    { event: 'a', data: '{"x":\n1}' },
    { event: 'c', data: '{}' },
  ]);
});

test('unterminatedLastEvent returns an event that lacks only its empty line', () => {
  const reader = new SseEventReader();
  reader.readCompletedEvents(encoder.encode('event: message_stop\ndata: {"type":"message_stop"}\r'));
  const text = 'event: message_stop\ndata: {"type":"message_stop"}\n\n';
  expect(reader.unterminatedLastEvent).toEqual({ event: 'message_stop', data: '{"type":"message_stop"}', text });
});
