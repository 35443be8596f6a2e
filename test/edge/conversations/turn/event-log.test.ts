// In workerd: its streams are the runtime's.
import 'cloudflare:workers';

import { afterEach, expect, test, vi } from 'vitest';
import type { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { resumeTurnEvents } from '#edge/conversations/object/resume-turn.ts';
import { TurnEventLog } from '#edge/conversations/turn/event-log.ts';
import type { TurnRunner } from '#edge/conversations/turn/turn-handle.ts';
import { streamRedactedEvents } from '#edge/conversations/views/redact-answer.ts';
import type { JsonObject } from '#edge/kit/json/object.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

afterEach(() => void vi.useRealTimers());

const CALLERS = 10_000;
const MOST = 32;
const PING = { event: 'ping', data: '{"type":"ping"}' };

/** @returns a conversation with a turn that runs, and how one more follows it. */
function running(transcript = {} as Transcript, id = 'turn_x') {
  const row = { seq: 1, id, beganAt: 0 };
  const log = new TurnEventLog(transcript, row);
  const runner = { turn: { row, log } } as unknown as TurnRunner;
  const resume = () => resumeTurnEvents({ transcript, now: Date.now }, runner, undefined);
  const follow = () => {
    const answer = resume();
    if (answer.kind !== 'stream') throw new Error(answer.kind);
    return answer.body.getReader();
  };
  return { log, resume, follow, transcript };
}

test('of 10,000 followers of a conversation 32 get each event, and the others get a 429', async () => {
  const { log, resume, transcript } = running();
  const answers = Array.from({ length: CALLERS }, resume);
  const readers = answers.flatMap((answer) => (answer.kind === 'stream' ? [answer.body.getReader()] : []));
  expect(readers).toHaveLength(MOST);
  const refused = answers.filter(({ kind }) => kind === 'error');
  expect(refused).toHaveLength(CALLERS - MOST);
  expect(refused[0]).toMatchObject({
    error: {
      type: 'rate_limit_error',
      status: 429,
      headers: { 'retry-after': '5' },
      message: expect.stringMatching(
        /^32 streams already follow this conversation, which is the maximum\. Close some/,
      ) as string,
    },
  });
  // Another turn of it is no way around; the answer of a request that begins a turn has its place.
  const other = running(transcript, 'turn_y');
  expect(other.resume().kind).toBe('error');
  expect(() => other.log.follow(0)).toThrow('32 streams');
  const own = other.log.follow(0, true).getReader();
  expect(running().resume().kind).toBe('stream');

  const first = readers.map((reader) => reader.read());
  log.add(PING);
  log.show();
  const read = await Promise.all(first);
  expect(new Set(read.map(({ value }) => new TextDecoder().decode(value)))).toEqual(
    new Set(['id: turn_x-1\nevent: ping\ndata: {"type":"ping"}\n\n']),
  );
  await readers[0]?.cancel();
  expect(resume().kind).toBe('error');
  await own.cancel();
  expect(resume().kind).toBe('stream');
  expect(resume().kind).toBe('error');
  log.setSummary('{}');
  // Those who have all of it have no place any more, and no turn that comes later is held up by them.
  log.end();
  for (const reader of readers.slice(1)) for (;;) if ((await reader.read()).done) break;
  expect(other.resume().kind).toBe('stream');
});

test('a follower that reads no available event for a minute loses its place, and a waiting follower keeps it', async () => {
  vi.useFakeTimers({ toFake: ['Date'] });
  const { log, resume, follow } = running();
  const readers = Array.from({ length: MOST }, follow);
  const waiting = readers.map((reader) => reader.read());
  log.add(PING);
  log.show();
  await Promise.all(waiting);
  // All but one ask again.
  const [asleep, ...awake] = readers;
  const next = awake.map((reader) => reader.read());
  await yieldToEventLoop(3);
  vi.setSystemTime(Date.now() + 59_000);
  expect(resume().kind).toBe('error');
  vi.setSystemTime(Date.now() + 2_000);
  const last = follow();
  await expect(asleep?.read()).rejects.toThrow('does not read');
  expect(resume().kind).toBe('error');
  log.add(PING);
  log.show();
  for (const { value } of await Promise.all(next)) expect(new TextDecoder().decode(value)).toContain('turn_x-2');
  expect(new TextDecoder().decode((await last.read()).value)).toContain('turn_x-1');
});

const DELTAS = 4_000;
const start = (index: number, content_block: JsonObject) => ({
  event: 'content_block_start',
  data: JSON.stringify({ type: 'content_block_start', index, content_block }),
});
const delta = (index: number, text: string) => ({
  event: 'content_block_delta',
  data: JSON.stringify({ type: 'content_block_delta', index, delta: { type: 'text_delta', text } }),
});

/** Reads so many events of a stream. @returns its text */
async function readEvents(body: ReadableStream<Uint8Array>, count: number): Promise<string> {
  const reader = body.getReader();
  let text = '';
  while (text.split('\n\n').length <= count) text += new TextDecoder().decode((await reader.read()).value);
  await reader.cancel();
  return text;
}

test.each([
  { shouldHideTools: true, textOnly: false },
  { shouldHideTools: false, textOnly: true },
])('a follower near the end parses at most three of 4,000 events, and the last of 32 only one: %j', async (seen) => {
  const { log } = running();
  log.add({ event: 'message_start', data: '{"type":"message_start","message":{}}' });
  log.add(start(0, { type: 'mcp_tool_result', tool_use_id: 'a', content: 'long '.repeat(100) }));
  log.add(start(1, { type: 'text', text: '' }));
  for (let at = 0; at < DELTAS; at += 1) log.add(delta(1, `word ${at}`));
  log.show();
  const hidden = 'secret';
  log.add(start(2, { type: 'mcp_tool_result', tool_use_id: 'b', content: hidden }));
  log.add(delta(2, hidden));
  log.add(start(3, { type: 'text', text: '' }));
  log.add(delta(3, 'end'));
  log.show();
  const parse = vi.spyOn(JSON, 'parse');
  const costs: number[] = [];
  const texts = new Set<string>();
  for (let at = 0; at < MOST; at += 1) {
    const before = parse.mock.calls.length;
    // The last ten deltas, and what came behind them.
    texts.add(await readEvents(streamRedactedEvents(log, DELTAS - 7, seen), seen.shouldHideTools ? 13 : 12));
    costs.push(parse.mock.calls.length - before);
  }
  expect(texts.size).toBe(1);
  const [text = ''] = texts;
  expect(text).not.toContain(hidden);
  expect(text).toContain(`"index":${seen.textOnly ? 1 : 3},"delta":{"type":"text_delta","text":"end"}`);
  // The first parses two beginnings and what it hides, the next only the beginning of the block that is shown.
  expect(Math.max(...costs)).toBeLessThanOrEqual(3);
  expect(costs.at(-1)).toBe(1);
  // From its beginning it costs no more than its own blocks.
  const before = parse.mock.calls.length;
  await readEvents(streamRedactedEvents(log, 0, seen), DELTAS);
  expect(parse.mock.calls.length - before).toBeLessThan(6);
});

test('eight followers together read at most four rows of a log before other work runs', async () => {
  vi.useFakeTimers();
  let reads = 0;
  const readRowText = (_: unknown, n: number) => {
    reads += 1;
    return n < 2 ? `id: turn_z-${n + 1}\nevent: ping\ndata: {}\n\n` : undefined;
  };
  const log = new TurnEventLog(
    { log: { readRowText } } as unknown as Transcript,
    { seq: 1, id: 'turn_z', beganAt: 0 },
    { events: 2, rows: 2 },
    '{}',
  );
  const texts = Array.from({ length: 8 }, () => new Response(log.follow(0)).text());
  for (let turns = 0; reads < 16; turns += 1) {
    const before = reads;
    await vi.advanceTimersByTimeAsync(4);
    await new Response('.').text();
    // More than one where nobody else has come in between yet.
    expect(reads - before).toBeLessThanOrEqual(4);
    expect(turns).toBeLessThan(200);
  }
  expect(new Set(await Promise.all(texts))).toEqual(
    new Set(['id: turn_z-1\nevent: ping\ndata: {}\n\nid: turn_z-2\nevent: ping\ndata: {}\n\n\0{}']),
  );
});

test('a hidden block that begins in a stream is hidden from later followers, also if its JSON has another form', async () => {
  const { log } = running();
  const seen = { shouldHideTools: true, textOnly: false };
  const first = streamRedactedEvents(log, 0, seen).getReader();
  const read = first.read();
  log.add({
    event: 'content_block_start',
    data: '{ "index": 0, "type": "content_block_start", "content_block": {"x":1,"type":"mcp_tool_use","id":"a"} }',
  });
  log.add(delta(0, 'secret'));
  log.add(start(1, { type: 'text', text: '' }));
  log.show();
  expect(new TextDecoder().decode((await read).value)).not.toContain('secret');
  log.add(delta(0, 'secret'));
  log.add(delta(1, 'shown'));
  log.show();
  const later = await readEvents(streamRedactedEvents(log, 3, seen), 1);
  expect(later).toContain('shown');
  expect(later).not.toContain('secret');
  await first.cancel();
});
