import { type BufferedResult, readBufferedResponse, toCallerResponse } from '../../claude/buffered-response.ts';
import type { UpstreamExchange } from '../../claude/exchange.ts';
import { createInterruptedError, createNotApiResponseError } from '../../claude/failure.ts';
import { type PlainHeaders, toCallerHeaders } from '../../claude/headers.ts';
import { decoder, encoder } from '../../kit/http/bytes.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import { rememberInputTextsOfMessage } from '../../kit/json/input-texts.ts';
import { createMessageEventStream } from './message-events.ts';
import { addToolNameToError } from './tool-name-in-error.ts';
import type { TurnEnd } from './turn-ending.ts';
import type { TurnRecorder } from './turn-recorder.ts';

/** The result for the caller once the upstream has responded. */
export type UpstreamStartResult =
  | { kind: 'stream'; headers: Record<string, string> }
  | { kind: 'rejected'; status: number; headers: Record<string, string>; body: string }
  | { kind: 'error'; error: ApiError };

/** Response headers of the upstream that describe the connection to it, not the answer. */
const CONNECTION_HEADERS = ['date', 'content-type', 'cache-control', 'vary', 'server', 'via'];

interface ReadBufferedAnswerOptions {
  /** The headers that are not the upstream's. */
  edgeHeaders: Record<string, string>;
  /** The request, to add the name of a tool to an error. Absent if the caller has written the list of tools itself. */
  requestText?: string | undefined;
  exchange: UpstreamExchange;
  requestId: string;
  now(): number;
}

/**
 * Reads a response that is not a stream. The caller gets an error of the upstream unchanged. A message is converted to the
 * events of the turn. (A gateway may return a message although a stream was requested.)
 *
 * @returns the response for the caller, and how the turn ends
 * @throws ApiError 500 for a response that was interrupted
 */
export async function readBufferedAnswer(
  response: Response,
  turn: TurnRecorder,
  { exchange, now, ...options }: ReadBufferedAnswerOptions,
): Promise<{ how: TurnEnd; started: UpstreamStartResult }> {
  const read = await readBufferedResponse(response, exchange, 'message');
  const { kind, body, json } = read;
  if (kind === 'answer' && json?.type === 'message') {
    rememberInputTextsOfMessage(json, decoder.decode(body));
    turn.firstByteAt = now();
    const { how } = turn.takePiece(encoder.encode(createMessageEventStream(json)), now());
    return {
      how: how ?? { kind: 'cut', error: createInterruptedError(false), end: 'cut' },
      started: { kind: 'stream', headers: { ...selectCallerHeaders(response.headers), ...options.edgeHeaders } },
    };
  }
  if (kind === 'answer' || kind === 'interrupted') throw createInterruptedError(false);
  return await answerUpstreamError(response, read, options);
}

/** @returns the response for the caller to an error of the upstream, and how its turn ends. */
export async function answerUpstreamError(
  response: Response,
  { report, ...buffered }: Pick<BufferedResult, 'kind' | 'body' | 'refusal'> & Partial<Pick<BufferedResult, 'report'>>,
  { edgeHeaders, requestText, requestId }: Pick<ReadBufferedAnswerOptions, 'edgeHeaders' | 'requestText' | 'requestId'>,
): Promise<{ how: TurnEnd; started: UpstreamStartResult }> {
  const { refusal } = buffered;
  const ofUpstream = refusal?.forCaller ?? createNotApiResponseError();
  const error = requestText === undefined ? ofUpstream : addToolNameToError(ofUpstream, requestText);
  const how = { kind: 'cut', error, end: 'error', storedSentence: refusal?.storedSentence, report } as const;
  try {
    // Send the edge's own error instead of the upstream's body if the body has an error type that the API does not define, or
    // if a tool's name was added to the message.
    const isOwn = error !== ofUpstream || error.logged !== error.type;
    const shown = refusal && isOwn ? { ...refusal, forCaller: error, isVerbatim: false } : refusal;
    const answer = toCallerResponse(response, { ...buffered, refusal: shown }, requestId);
    const headers = { ...error.headers, ...edgeHeaders };
    return { how, started: { kind: 'rejected', status: answer.status, headers, body: await answer.text() } };
  } catch {
    return { how, started: { kind: 'error', error } };
  }
}

/** @returns the headers of the upstream's answer that go to the caller of a turn. */
export function selectCallerHeaders(headers: Headers): PlainHeaders {
  const down = toCallerHeaders(headers);
  for (const name of CONNECTION_HEADERS) delete down[name];
  return down;
}
