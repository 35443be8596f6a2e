import { type BufferedAnswer, bufferedResponse, readAnswer } from '../../claude/buffered-answer.ts';
import type { Exchange } from '../../claude/exchange.ts';
import { interrupted, notTheApi } from '../../claude/failure.ts';
import { headersDown, type PlainHeaders } from '../../claude/headers.ts';
import { decoder, encoder } from '../../kit/http/bytes.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import { keepInputs } from '../../kit/json/block-texts.ts';
import { eventsOf } from './message-events.ts';
import { withToolName } from './named-tool.ts';
import type { TurnEnd } from './turn-ending.ts';
import type { TurnRecorder } from './turn-recorder.ts';

/** What is known when the upstream has answered. */
export type Started =
  | { kind: 'stream'; headers: Record<string, string> }
  | { kind: 'refused'; status: number; headers: Record<string, string>; body: string }
  | { kind: 'error'; error: ApiError };

/** Response headers of the upstream that describe the connection to it, not the answer. */
const OF_THE_CONNECTION = ['date', 'content-type', 'cache-control', 'vary', 'server', 'via'];

interface BufferedTurnOptions {
  /** The headers of the account's limits. */
  quotaStatus: Record<string, string>;
  /** The text of the request, where a refusal is told with the names of its tools. */
  sent?: string | undefined;
  exchange: Exchange;
  requestId: string;
  now(): number;
}

/**
 * Reads an answer that is not a stream. The caller gets a refusal of the upstream word for word. A message becomes the events
 * of the turn. (A gateway may answer with a message although a stream was asked for.)
 *
 * @returns what the caller gets, and how the turn ends
 * @throws ApiError 500 for an answer that was interrupted
 */
export async function readBufferedAnswer(
  response: Response,
  turn: TurnRecorder,
  { exchange, now, ...told }: BufferedTurnOptions,
): Promise<{ how: TurnEnd; started: Started }> {
  const read = await readAnswer(response, exchange, 'message');
  const { kind, body, json } = read;
  if (kind === 'answer' && json?.type === 'message') {
    keepInputs(json, decoder.decode(body));
    turn.firstByteAt = now();
    const { how } = turn.take(encoder.encode(eventsOf(json)), now());
    return {
      how: how ?? { kind: 'cut', error: interrupted(false), end: 'cut' },
      started: { kind: 'stream', headers: { ...callerHeaders(response.headers), ...told.quotaStatus } },
    };
  }
  if (kind === 'answer' || kind === 'interrupted') throw interrupted(false);
  return await refusedTurn(response, read, told);
}

/** @returns what the caller gets of an upstream's refusal, and how its turn ends. */
export async function refusedTurn(
  response: Response,
  read: Pick<BufferedAnswer, 'kind' | 'body' | 'refusal'>,
  { quotaStatus, sent = '', requestId }: Pick<BufferedTurnOptions, 'quotaStatus' | 'sent' | 'requestId'>,
): Promise<{ how: TurnEnd; started: Started }> {
  const { refusal } = read;
  const ofUpstream = refusal?.forCaller ?? notTheApi();
  const error = sent === '' ? ofUpstream : withToolName(ofUpstream, sent);
  const how = { kind: 'cut', error, end: 'error' } as const;
  try {
    // An error whose type the API does not have is told in words alone, as is one with the name of a tool.
    const isOwn = error !== ofUpstream || error.logged !== error.type;
    const shown = refusal && isOwn ? { ...refusal, forCaller: error, isVerbatim: false } : refusal;
    const answer = bufferedResponse(response, { ...read, refusal: shown }, { requestId });
    const headers = { ...error.headers, ...quotaStatus };
    return { how, started: { kind: 'refused', status: answer.status, headers, body: await answer.text() } };
  } catch {
    return { how, started: { kind: 'error', error } };
  }
}

/** @returns the headers of the upstream's answer that go to the caller of a turn. */
export function callerHeaders(headers: Headers): PlainHeaders {
  const down = headersDown(headers);
  for (const name of OF_THE_CONNECTION) delete down[name];
  return down;
}
