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
    const {
      unterminatedLastEvents: [last],
    } = reader;
    expect(last === undefined || stream.endsWith('\r\r')).toBe(true);
    const all = last === undefined ? frames : [...frames, last];
    expect(all).toEqual(framesOf(stream.replace(/^\uFEFF/, '').replace(/\r\n?/g, '\n')));
  });
});

test('comments, other fields and events without a name or data are omitted; data of several lines is joined', () => {
  const text =
    ': hi\n\nid: 1\nevent: a\ndata: {"x":\ndata: 1}\nretry: 5\n\ndata: {}\n\nevent: b\n\nevent:c\ndata:{}\n\n';
  expect(new SseEventReader().readCompletedEvents(encoder.encode(text))).toEqual([
    { event: 'a', data: '{"x": 1}' },
    { event: 'c', data: '{}' },
  ]);
});

test('unterminatedLastEvents returns an event that lacks only its empty line', () => {
  const reader = new SseEventReader();
  reader.readCompletedEvents(encoder.encode('event: message_stop\ndata: {"type":"message_stop"}\r'));
  const text = 'event: message_stop\ndata: {"type":"message_stop"}\n\n';
  expect(reader.unterminatedLastEvents).toEqual([{ event: 'message_stop', data: '{"type":"message_stop"}', text }]);
});

test('events without empty lines between them are named by their data', () => {
  const read = (text: string) => new SseEventReader().readCompletedEvents(encoder.encode(`${text}\n\n`));
  const delta = { event: 'content_block_delta', data: '{"type":"content_block_delta"}' };
  const lines = `event: ${delta.event}\ndata: ${delta.data}`;
  expect(read(`${lines}\nevent: ping\ndata:`)).toEqual([delta]);
  expect(read(`event: ping\ndata:\n${lines}`)).toEqual([delta]);
  expect(read(`${lines}\nevent: ping\ndata: {"type": "ping"}`)).toEqual([
    delta,
    { event: 'ping', data: '{"type": "ping"}' },
  ]);
  expect(read(`${lines}\nevent: message_delta\ndata: {"type":\ndata: "mess`)).toEqual([
    delta,
    { event: 'message_delta', data: '{"type": "mess' },
  ]);
});
