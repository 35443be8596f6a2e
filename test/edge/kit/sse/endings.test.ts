import fc from 'fast-check';
import { expect, test } from 'vitest';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { createSseErrorEvent } from '#edge/kit/http/errors.ts';
import { createEventCompletion, createInterruptionEnding } from '#edge/kit/sse/endings.ts';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { caseCount, tryCases } from '#test/support/property-cases.ts';

interface Event {
  name: string;
  data: string;
}

/** The event format by its specification (HTML, 9.2.6), for whole texts; an event without an empty line is dropped. */
function parse(text: string): Event[] {
  const events: Event[] = [];
  let name = '';
  let data: string[] = [];
  for (const line of text.split(/\r\n|\n|\r/).slice(0, -1)) {
    if (line === '') {
      if (data.length > 0) events.push({ name, data: data.join('\n') });
      name = '';
      data = [];
      continue;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') name = value;
    if (field === 'data') data.push(value);
  }
  return events;
}

const ERROR = createSseErrorEvent({ type: 'api_error', message: 'cut' }, 'req_1');
const ERROR_DATA = parse(ERROR)[0]?.data ?? '';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** What the relay writes behind the bytes of a stream that was cut. */
function endingOf(bytes: Uint8Array): string {
  const reader = new UsageReader();
  reader.addPiece(bytes);
  return createInterruptionEnding(reader.positionInEventFormat, ERROR);
}

function expectToldCut(whole: Uint8Array, place: number, events: readonly Event[]): void {
  const shown = whole.subarray(0, place);
  const received = parse(decoder.decode(shown) + endingOf(shown));
  const last = received.pop();
  expect(last, `cut at ${place}`).toEqual({ name: 'error', data: ERROR_DATA });
  const next = events[received.length - 1];
  const ping = received.at(-1);
  // Data that was not finished has become that of a ping, which no client parses.
  if (next && ping?.name === 'ping' && ping.data !== next.data) {
    expect(next.data.startsWith(ping.data.replace(/\uFFFD+$/, '')), `cut at ${place}`).toBe(true);
    received.pop();
  }
  expect(received, `cut at ${place}`).toEqual(events.slice(0, received.length));
  // Nothing that arrived whole is lost.
  expect(received.length).toBeGreaterThanOrEqual(parse(decoder.decode(shown)).length);
}

function expectToldEverywhere(text: string): void {
  const whole = encoder.encode(text);
  const events = parse(text);
  for (let place = 0; place <= whole.length; place += 1) expectToldCut(whole, place, events);
}

test.each([
  ['text', TEXT_STREAM],
  ['tool', TOOL_STREAM],
])('a %s stream cut at any byte keeps its complete events and ends with one error event', (_, stream) => {
  expectToldEverywhere(stream);
  expectToldEverywhere(stream.replaceAll('\n', '\r\n'));
  expectToldEverywhere(stream.replaceAll('\n', '\r'));
});

const name = fc.constantFrom('content_block_delta', 'message_start', 'ping', 'of_the_future', 'message_delta');
const event = fc
  .record({
    name,
    json: fc.jsonValue({ maxDepth: 2 }),
    spaced: fc.boolean(),
    pretty: fc.boolean(),
    comment: fc.option(fc.stringMatching(/^[a-z :{}é]*$/), { nil: undefined }),
  })
  .map(({ name, json, spaced, pretty, comment }) => {
    const space = spaced ? ' ' : '';
    // An object, as every event of the API: a number could be cut and still be whole.
    const text = JSON.stringify({ type: name, json }, undefined, pretty ? 1 : undefined);
    const data = text.split('\n').map((line) => `data:${space}${line}\n`);
    return `${comment === undefined ? '' : `:${comment}\n`}event:${space}${name}\n${data.join('')}\n`;
  });

const lineEnd = fc.constantFrom('\n', '\r\n', '\r');

test('a stream of any events, cut anywhere, keeps its complete events and ends with one error event', () => {
  tryCases(caseCount(3_000), fc.array(event, { minLength: 1, maxLength: 3 }), lineEnd, fc.nat(), (list, end, at) => {
    const text = list.join('').replaceAll('\n', end);
    const whole = encoder.encode(text);
    expectToldCut(whole, at % (whole.length + 1), parse(text));
  });
});

test('completes an event only if nothing but its terminating empty line is missing', () => {
  for (const end of ['\n', '\r\n']) {
    const text = TEXT_STREAM.replaceAll('\n', end);
    const bytes = encoder.encode(text);
    const events = parse(text);
    for (let place = 0; place <= bytes.length; place += 1) {
      const shown = bytes.subarray(0, place);
      const reader = new UsageReader();
      reader.addPiece(shown);
      const completed = createEventCompletion(reader.positionInEventFormat);
      // A carriage return alone ends a line too, by the format; here its line feed has only not arrived yet.
      const before = parse(decoder.decode(shown).replace(/\r$/, ''));
      const next = events[before.length];
      // By the definition: the unfinished event has its whole data, and not yet its empty line.
      const unfinished = decoder.decode(shown).slice(decoder.decode(shown).lastIndexOf(end + end) + 1);
      const lacksOnlyItsEnd =
        next !== undefined && !reader.positionInEventFormat.isAtBoundary && unfinished.includes(`data: ${next.data}`);
      expect(completed !== undefined, `cut at ${place}`).toBe(lacksOnlyItsEnd);
      if (completed === undefined) continue;
      expect(parse(decoder.decode(shown) + completed)).toEqual(events.slice(0, before.length + 1));
      const cut = parse(decoder.decode(shown) + createInterruptionEnding(reader.positionInEventFormat, ERROR));
      expect(cut).toEqual([...events.slice(0, before.length + 1), ...parse(ERROR)]);
      reader.completeUnfinishedEvent(completed);
      expect(reader.positionInEventFormat.isAtBoundary).toBe(true);
      expect(reader.hasApiEndedStream).toBe(next?.name === 'message_stop');
    }
  }
});
