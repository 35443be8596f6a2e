import { expect, test } from 'vitest';
import { UsageReader } from '#edge/claude/usage/usage-reader.ts';
import { StreamedMessageJson } from '#edge/claude/whole-message.ts';
import { createEventCompletion } from '#edge/kit/sse/endings.ts';
import { TEXT_STREAM, TOOL_STREAM } from '#test/fixtures/streams.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { installSimulator, setConversationUpstream } from '#test/support/conversations.ts';
import { caseCount } from '#test/support/property-cases.ts';
import { sseResponse } from '#test/support/wire.ts';

const encoder = new TextEncoder();
const PING = 'event: ping\ndata: {"type":"ping"}\n\n';

/** Forms of a stream that differ from the API's, each of which some gateway has sent. */
const FORMS: Record<string, (stream: string) => string> = {
  'no empty line between two events': (stream) =>
    stream.replaceAll('}\n\nevent: content_block_delta', '}\nevent: content_block_delta'),
  'no empty line before the last event': (stream) =>
    stream.replace('}\n\nevent: message_stop', '}\nevent: message_stop'),
  'no empty line anywhere': (stream) => `${stream.trimEnd().replaceAll('\n\n', '\n')}\n\n`,
  'no empty line at the end either': (stream) => stream.trimEnd().replaceAll('\n\n', '\n'),
  'a named event without data': (stream) =>
    stream.replaceAll(PING, '').replaceAll('\n\nevent: c', '\n\nevent: ping\n\nevent: c'),
  'a named event with empty data': (stream) => stream.replaceAll('\n\nevent: c', '\n\nevent: ping\ndata:\n\nevent: c'),
  'a named event whose data is a space': (stream) =>
    stream.replaceAll('\n\nevent: c', '\n\nevent: ping\ndata: \n\nevent: c'),
  'empty data without a name': (stream) => stream.replaceAll('\n\nevent: c', '\n\ndata:\n\nevent: c'),
  'a named event with empty data, without empty lines around it': (stream) =>
    stream.replaceAll('\n\nevent: c', '\nevent: ping\ndata:\nevent: c'),
  'a named event with empty data directly after each event': (stream) =>
    stream.replaceAll('}\n\n', '}\nevent: ping\ndata:\n\n'),
  'data of several lines': (stream) => stream.replaceAll('data: {"type":', 'data: {\ndata: "type":\ndata: '),
  'empty data lines around the data': (stream) => stream.replaceAll('\ndata: ', '\ndata:\ndata: '),
  'no names': (stream) => stream.replaceAll(/event: .*\n/g, ''),
  'no names, and no empty lines': (stream) =>
    `${stream
      .trimEnd()
      .replaceAll(/event: .*\n/g, '')
      .replaceAll('\n\n', '\n')}\n\n`,
  'the name behind the data': (stream) => stream.replaceAll(/(event: .*\n)(data: .*\n)/g, '$2$1'),
  'no space behind the colon': (stream) => stream.replaceAll('data: ', 'data:').replaceAll('event: ', 'event:'),
  'comments, ids and retries': (stream) => stream.replaceAll('\n\nevent: ', '\n\n: hi\n\nid: 1\nretry: 5\nevent: '),
  CRLF: (stream) => stream.replaceAll('\n', '\r\n'),
  'CRLF, and no empty line between two events': (stream) =>
    stream.replaceAll('}\n\nevent: content_block_delta', '}\nevent: content_block_delta').replaceAll('\n', '\r\n'),
};

const messageOf = (pieces: readonly Uint8Array[]) => {
  const message = new StreamedMessageJson();
  for (const piece of pieces) message.addPiece(piece);
  message.endStream();
  return [...message.writeJsonParts()].join('');
};

const usageOf = (pieces: readonly Uint8Array[]) => {
  const usage = new UsageReader({ sentAt: 0 });
  for (const piece of pieces) usage.addPiece(piece, false, 0);
  const completion = usage.hasApiEndedStream ? undefined : createEventCompletion(usage.positionInEventFormat);
  if (completion !== undefined) usage.completeUnfinishedEvent(completion);
  const {
    model,
    usage: reported,
    stop_reason,
    completed,
    error_type,
  } = usage.completeStreamReport ?? usage.currentReport;
  return { model, reported, stop_reason, completed, error_type };
};

test.each(Object.entries(FORMS))('reads a message with its usage, however the bytes are split: %s', (_, toForm) => {
  for (const stream of [TEXT_STREAM, TOOL_STREAM]) {
    const bytes = encoder.encode(toForm(stream));
    const [message, usage] = [messageOf([encoder.encode(stream)]), usageOf([encoder.encode(stream)])];
    expect(usage.completed).toBe(true);
    // At night at every byte; by day one in each few, and below at every byte at once.
    for (let at = 0; at <= bytes.length; at += Math.ceil(40 / caseCount(40)) ** 2) {
      const pieces = [bytes.slice(0, at), bytes.slice(at)];
      expect(messageOf(pieces)).toBe(message);
      expect(usageOf(pieces)).toEqual(usage);
    }
    const single = Array.from(bytes, (byte) => new Uint8Array([byte]));
    expect(messageOf(single)).toBe(message);
    expect(usageOf(single)).toEqual(usage);
  }
});

/** @returns the text of the deltas, as a client reads them that knows only the API's own form */
function readTexts(stream: string): string {
  const events = stream.split('\n\n').map((event) => /^event: content_block_delta\ndata: (.*)$/m.exec(event)?.[1]);
  return events.map((data) => (data === undefined ? '' : (JSON.parse(data).delta.text ?? ''))).join('');
}

/** An app whose conversations, too, are answered by this upstream. */
function createOddApp(answer: () => string, vars: Record<string, string> = {}): TestApp {
  installSimulator({ UPSTREAM: 'anthropic', ...vars });
  setConversationUpstream(async () => sseResponse(answer()));
  return createTestApp(() => sseResponse(answer()), vars);
}

const HI = { model: 'claude-haiku-4-5-20251001', max_tokens: 100, messages: [{ role: 'user', content: 'Hi' }] };

test.each(Object.entries(FORMS))('a turn stores the whole message of such a stream: %s', async (_, toForm) => {
  let stream = TEXT_STREAM;
  const app = createOddApp(() => stream);
  const plain = await app.post('/messages', { ...HI, conversation: 'plain', stream: false });
  const expected = (await plain.json()) as { content: { text: string }[] };
  expect(plain.status).toBe(200);
  stream = toForm(TEXT_STREAM);
  const odd = await app.post('/messages', { ...HI, conversation: 'odd', stream: false });
  expect([odd.status, await odd.json()]).toEqual([200, expected]);
  const streamed = await (await app.post('/messages', { ...HI, conversation: 'live' })).text();
  expect(streamed).toContain('event: message_stop\n');
  expect(streamed).not.toContain('event: error');
  // A client that reads strictly receives the same text.
  const text = readTexts(streamed);
  expect(text).toBe(expected.content.map((block) => block.text).join(''));
  await app.waitUntilSettled();
});

test('an event that is not JSON ends a turn as unreadable, with the text that came before', async () => {
  const at = TEXT_STREAM.lastIndexOf('event: content_block_delta');
  const stream = `${TEXT_STREAM.slice(0, at)}event: content_block_delta\ndata: {"type":\n\n${TEXT_STREAM.slice(at)}`;
  const app = createOddApp(() => stream, { DEFAULT_LIMITS: '{"usd_per_day":1000}' });
  const streamed = await (await app.post('/messages', { ...HI, conversation: 'c1' })).text();
  expect(streamed).toContain('event: content_block_delta');
  expect(streamed).toMatch(/event: error\n(id: .*\n)?data: .*The upstream sent an event that is not JSON/);
  // Sluice streams a request whose hold is this large internally.
  for (const body of [{ conversation: 'c2' }, { max_tokens: 64_000 }]) {
    const whole = await app.post('/messages', { ...HI, ...body, stream: false });
    expect(whole.status).toBe(500);
    expect(await whole.text()).toContain('The upstream sent an event that is not JSON');
  }
  await app.waitUntilSettled();
});
