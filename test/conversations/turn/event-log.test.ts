// In workerd: its streams are the runtime's.
import 'cloudflare:workers';

import { expect, test } from 'vitest';
import { resumeTurn } from '../../../src/conversations/answers/resume-turn.ts';
import type { Transcript } from '../../../src/conversations/storage/transcript.ts';
import { EventLog } from '../../../src/conversations/turn/event-log.ts';
import type { Runner } from '../../../src/conversations/turn/running-turn.ts';

const CALLERS = 10_000;
const MOST = 1_000;

test('of 10,000 who follow a turn a thousand get each event, and the others are told to come again', async () => {
  const transcript = {} as Transcript;
  const row = { seq: 1, id: 'turn_x', beganAt: 0 };
  const log = new EventLog(transcript, row);
  const running = { turn: { row, log } } as unknown as Runner;
  const answers = Array.from({ length: CALLERS }, () => resumeTurn({ transcript, now: Date.now }, running, undefined));
  const readers = answers.flatMap((answer) => (answer.kind === 'stream' ? [answer.body.getReader()] : []));
  expect(readers).toHaveLength(MOST);
  const refused = answers.filter(({ kind }) => kind === 'error');
  expect(refused).toHaveLength(CALLERS - MOST);
  expect(refused[0]).toMatchObject({
    error: { type: 'rate_limit_error', status: 429, headers: { 'retry-after': '5' } },
  });

  const first = readers.map((reader) => reader.read());
  log.add({ event: 'ping', data: '{"type":"ping"}' });
  log.show();
  const read = await Promise.all(first);
  expect(new Set(read.map(({ value }) => new TextDecoder().decode(value)))).toEqual(
    new Set(['id: turn_x-1\nevent: ping\ndata: {"type":"ping"}\n\n']),
  );
  await readers[0]?.cancel();
  expect(resumeTurn({ transcript, now: Date.now }, running, undefined).kind).toBe('stream');
});
