/** Sends turns to a conversation's object as the edge does, and reads what is streamed. */

import type { TurnRequest } from '#edge/conversations/object/contract.ts';
import { unpackTurnAnswer } from '#edge/conversations/object/rpc-response.ts';
import type { PackedTurnAnswer, TurnAnswer } from '#edge/conversations/views/turn-answer.ts';
import { createRequestId } from '#edge/kit/http/headers/request-id.ts';
import { stubOf } from './conversations.ts';

export interface TurnRequestOptions {
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
export function buildTurnRequest(body: object, options: TurnRequestOptions = {}): TurnRequest {
  const {
    id = 'c1',
    account = 'alice',
    stream = true,
    key,
    retried: isClientRetry = false,
    hash,
    headers = {},
  } = options;
  const text = JSON.stringify(body);
  const all = { 'content-type': 'application/json', 'anthropic-version': '2023-06-01', ...headers };
  return {
    conversationKey: { account, id },
    call: { id: createRequestId(), route: 'messages', hash: hash ?? text, key, isClientRetry, isResent: false, stream },
    caller: { account, scopes: ['messages'], token: undefined },
    body: text,
    edgeOptions: {},
    headers: options.simulate === undefined ? all : { ...all, 'sluice-simulate': options.simulate },
    query: '',
  };
}

/** A body with what every request needs. */
export const createBody = (content: unknown, more: object = {}) => ({
  model: 'claude-opus-5-5',
  max_tokens: 200,
  messages: [{ role: 'user', content }],
  ...more,
});

/** Has a conversation's object answer, as the edge does. */
export async function sendTurnRequest({
  body,
  ...request
}: TurnRequest): Promise<Exclude<TurnAnswer, { kind: 'complete_stream' }>> {
  const stub = stubOf(request.conversationKey.id, request.conversationKey.account);
  return toStreamAnswer(unpackTurnAnswer((await stub.handleTurn(JSON.stringify(request), body)) as PackedTurnAnswer));
}

export async function sendTurn(
  body: object,
  options: TurnRequestOptions = {},
): Promise<Exclude<TurnAnswer, { kind: 'complete_stream' }>> {
  return await sendTurnRequest(buildTurnRequest(body, options));
}

/** An answer that came whole, as one that came as a stream: a caller of the edge cannot tell them apart. */
function toStreamAnswer(answer: TurnAnswer): Exclude<TurnAnswer, { kind: 'complete_stream' }> {
  if (answer.kind === 'stream') {
    // The result of an object's call must be disposed of once its stream has ended, or broken.
    const disposeResult = () => (answer as Partial<Disposable>)[Symbol.dispose]?.();
    return { ...answer, body: prependText(answer.first ?? '', answer.body, disposeResult) };
  }
  if (answer.kind !== 'complete_stream') return answer;
  const { turn, headers, events, trailer } = answer;
  return { kind: 'stream', turn, headers, body: new Blob([events, '\0', JSON.stringify(trailer)]).stream() };
}

/** A text, and the stream that goes on from there. @param onEnd called at its end, however it ends */
function prependText(first: string, rest: ReadableStream<Uint8Array>, onEnd: () => void): ReadableStream<Uint8Array> {
  const { readable, writable } = new IdentityTransformStream();
  const writer = writable.getWriter();
  writer.write(new TextEncoder().encode(first)).catch(() => {});
  writer.releaseLock();
  rest.pipeTo(writable).then(onEnd, onEnd);
  return readable;
}

/** An event of a conversation's stream. */
export interface StreamEvent {
  id: string | undefined;
  event: string;
  data: Record<string, unknown>;
}

/**
 * What a listener got: events up to where the stream ended, and whether it was told that this is the end.
 *
 * @param onPiece called with each piece when it is received
 */
export async function readStream(
  body: ReadableStream<Uint8Array>,
  onPiece?: (piece: Uint8Array) => void,
): Promise<{ events: StreamEvent[]; text: string; isWhole: boolean }> {
  const pieces: Uint8Array[] = [];
  try {
    for await (const piece of body) {
      pieces.push(piece);
      onPiece?.(piece);
    }
  } catch {
    // A stream that breaks has ended where it broke.
  }
  const bytes = new Uint8Array(await new Blob(pieces).arrayBuffer());
  const end = bytes.indexOf(0);
  const text = new TextDecoder().decode(end < 0 ? bytes : bytes.subarray(0, end));
  return { events: parseEvents(text), text, isWhole: end >= 0 };
}

export function parseEvents(text: string): StreamEvent[] {
  return text
    .split('\n\n')
    .filter((frame) => frame.includes('data: '))
    .map((frame) => {
      const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(frame)?.[1];
      return { id: field('id'), event: field('event') ?? '', data: JSON.parse(field('data') ?? '{}') };
    });
}

/** The text of all text deltas. */
export function textOfDeltas(events: readonly StreamEvent[]): string {
  return events.map(({ data }) => String((data.delta as { text?: string } | undefined)?.text ?? '')).join('');
}

/** A turn with its whole stream. */
export async function runTurn(body: object, options: TurnRequestOptions = {}) {
  const answer = await sendTurn(body, options);
  if (answer.kind !== 'stream') throw new Error(`no stream: ${JSON.stringify(answer)}`);
  return { turn: answer.turn, ...(await readStream(answer.body)) };
}
