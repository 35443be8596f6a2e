import { reset, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, onTestFinished, vi } from 'vitest';
import type { Account } from '../../src/accounts/account.ts';
import { Conversation } from '../../src/conversations/conversation.ts';
import { Transcript } from '../../src/conversations/storage/transcript.ts';
import { receivedText as crossedText, unpack } from '../../src/conversations/turn-answer.ts';
import type { Bindings } from '../../src/durable/bindings.ts';
import type { CrossingText, PackedAnswer, TurnAnswer, TurnRequest } from '../../src/durable/contracts/conversation.ts';
import { accountStub, conversationStub } from '../../src/durable/stubs.ts';
import { createRequestId } from '../../src/http/request-id.ts';
import { parseSettings, type Settings } from '../../src/settings/settings.ts';
import { eventually } from './eventually.ts';

export const bindings = env as unknown as Bindings;

/** The protected methods of the object that a test may replace: they are the same for every instance, also after a crash. */
interface Inside {
  settings(): Settings;
  now(): number;
}

/** Has every conversation answered by the simulator, unpaced, until the test ends; `vars` are further settings. */
export function simulate(vars: Record<string, string> = {}): Settings {
  const settings = parseSettings({
    MODE: 'development',
    UPSTREAM: 'simulator',
    SIMULATOR_TTFT_MS: '0',
    SIMULATOR_TOKENS_PER_SECOND: '0',
    UPSTREAM_MAX_RETRIES: '0',
    ...vars,
  });
  const spy = vi.spyOn(Conversation.prototype as unknown as Inside, 'settings').mockReturnValue(settings);
  onTestFinished(() => spy.mockRestore());
  return settings;
}

export const stubOf = (id = 'c1', account = 'alice') => conversationStub(bindings, {}, { account, id });

export interface Asked {
  id?: string;
  account?: string;
  stream?: boolean;
  key?: string;
  retried?: boolean;
  hash?: string;
  /** Faults, as `sluice-simulate` names them. */
  simulate?: string;
  headers?: Record<string, string>;
}

/** A request as the edge makes it of `body`. */
export function requestOf(body: object, asked: Asked = {}): TurnRequest {
  const { id = 'c1', account = 'alice', stream = true, key, retried = false, hash, headers = {} } = asked;
  const text = JSON.stringify(body);
  const all = { 'content-type': 'application/json', 'anthropic-version': '2023-06-01', ...headers };
  return {
    place: { account, id },
    requestId: createRequestId(),
    route: 'messages',
    identity: { account, scopes: ['messages'], token: undefined },
    body: text,
    hash: hash ?? text,
    key,
    retried,
    again: false,
    stream,
    headers: asked.simulate === undefined ? all : { ...all, 'sluice-simulate': asked.simulate },
    query: '',
  };
}

/** A body with what every request needs. */
export const bodyOf = (content: unknown, more: object = {}) => ({
  model: 'claude-opus-5-5',
  max_tokens: 200,
  messages: [{ role: 'user', content }],
  ...more,
});

/** Has a conversation's object answer, as the edge does. */
export async function turnOf({ body, ...call }: TurnRequest): Promise<Exclude<TurnAnswer, { kind: 'ended' }>> {
  const stub = stubOf(call.place.id, call.place.account);
  return streaming(unpack((await stub.turn(JSON.stringify(call), body)) as PackedAnswer));
}

export async function ask(body: object, asked: Asked = {}): Promise<Exclude<TurnAnswer, { kind: 'ended' }>> {
  return await turnOf(requestOf(body, asked));
}

/** An answer that came whole, as one that came as a stream: a caller of the edge cannot tell them apart. */
export function streaming(answer: TurnAnswer): Exclude<TurnAnswer, { kind: 'ended' }> {
  if (answer.kind === 'stream') return { ...answer, body: joined(answer.first ?? '', answer.body) };
  if (answer.kind !== 'ended') return answer;
  const { turn, headers, events, trailer } = answer;
  return { kind: 'stream', turn, headers, body: new Blob([events, '\0', JSON.stringify(trailer)]).stream() };
}

/** A text, and the stream that goes on from there. */
function joined(first: string, rest: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  writer.write(new TextEncoder().encode(first)).catch(() => {});
  writer.releaseLock();
  rest.pipeTo(writable).catch(() => {});
  return readable;
}

/** An event of a conversation's stream. */
export interface Told {
  id: string | undefined;
  event: string;
  data: Record<string, unknown>;
}

/** What a listener got: events up to where the stream ended, and whether it was told that this is the end. */
export async function listen(
  body: ReadableStream<Uint8Array>,
): Promise<{ events: Told[]; text: string; whole: boolean }> {
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of body) pieces.push(piece);
  } catch {
    // A stream that breaks has ended where it broke.
  }
  const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
  const end = bytes.indexOf(0);
  const text = new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  return { events: eventsIn(text), text, whole: end >= 0 };
}

export function eventsIn(text: string): Told[] {
  return text
    .split('\n\n')
    .filter((frame) => frame.includes('data: '))
    .map((frame) => {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(frame)?.[1];
      return { id: field('id'), event: field('event') ?? '', data: JSON.parse(field('data') ?? '{}') };
    });
}

/** The text of all text deltas. */
export function textOf(events: readonly Told[]): string {
  return events.map(({ data }) => String((data.delta as { text?: string } | undefined)?.text ?? '')).join('');
}

/** A turn with its whole stream. */
export async function say(body: object, asked: Asked = {}) {
  const answer = await ask(body, asked);
  if (answer.kind !== 'stream') throw new Error(`no stream: ${JSON.stringify(answer)}`);
  return { turn: answer.turn, ...(await listen(answer.body)) };
}

export interface Row {
  id: string;
  role: string;
  model: string | null;
  content: unknown;
  status: string;
  cost_usd: number | null;
  usage: unknown;
}

/** All messages of a conversation, as `GET …/messages` gives them. */
export async function rowsOf(id = 'c1', account = 'alice'): Promise<Row[]> {
  const result = await stubOf(id, account).messages({ limit: 1_000 });
  if (!result.ok) return [];
  const text = await new Response(result.value as ReadableStream).text();
  return (JSON.parse(text) as { data: Row[] }).data;
}

/** The conversation by itself. */
export async function readOf(id = 'c1', account = 'alice'): Promise<Record<string, unknown> | undefined> {
  const result = await stubOf(id, account).read();
  return result.ok
    ? (JSON.parse(await crossedText(result.value as CrossingText)) as Record<string, unknown>)
    : undefined;
}

/** @returns the log of the newest turn as far as it is stored: what a listener gets if the object dies now */
export async function storedLog(id = 'c1', account = 'alice'): Promise<string> {
  return await runInDurableObject(stubOf(id, account), (_, { storage }) => {
    const transcript = new Transcript(storage);
    const newest = transcript.turns().at(-1);
    // The log of a run is not with its steps.
    const turn = transcript.turns('seq = ?', newest?.run ?? newest?.seq ?? 0).at(0);
    return turn ? transcript.log.of(turn).text : '';
  });
}

/** Counts the rows that an object writes from now on, and alarms that it sets, each a row too. */
export async function countRows(
  stub: DurableObjectStub<Conversation> | DurableObjectStub<Account>,
): Promise<() => number> {
  let rows = 0;
  await runInDurableObject(stub as DurableObjectStub<Conversation>, (_, { storage }) => {
    const { exec } = storage.sql;
    const { setAlarm } = storage;
    Object.assign(storage.sql, {
      exec(...of: Parameters<SqlStorage['exec']>) {
        const cursor = exec.apply(storage.sql, of);
        rows += cursor.rowsWritten;
        return cursor;
      },
    });
    Object.assign(storage, {
      setAlarm(time: number) {
        rows += 1;
        return setAlarm.call(storage, time);
      },
    });
  });
  return () => rows;
}

/** Waits until all turns of alice's conversation `c1` are settled, and both objects know it: nothing more is written. */
export async function atRest(): Promise<void> {
  await eventually(async () => {
    const { running_requests } = await accountStub(bindings, {}, 'alice').standing();
    const settled = await runInDurableObject(stubOf(), (_, { storage }) =>
      new Transcript(storage).turns().every((row) => row.settled),
    );
    expect({ running_requests, settled }).toEqual({ running_requests: 0, settled: true });
  });
}

/** Empties all objects. One that is still writing would keep what it has: it is given the time to come to rest, also for settlements that wait. */
export async function resetAll(): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 100));
  await reset();
}
