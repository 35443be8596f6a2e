/** Reads the JSON-RPC messages in an answer of an MCP server: one as JSON, or many as a stream of events. */

import { runInSteps } from '../../../kit/async/run-in-steps.ts';
import { StreamPieceReader } from '../../../kit/http/body/piece-reader.ts';
import { joinPieces } from '../../../kit/http/body-pieces.ts';
import { measureJsonShape } from '../../../kit/http/body-shape.ts';
import { decoder, encoder } from '../../../kit/http/bytes.ts';
import { parseMediaType } from '../../../kit/http/headers/media-type.ts';
import { maskSecretsInJson } from '../../../kit/http/secrets.ts';
import { parseMemberTexts, splitArrayItems } from '../../../kit/json/edit.ts';
import { getMember, isObject, type JsonObject } from '../../../kit/json/object.ts';
import { rememberJsonText } from '../../../kit/json/remembered-text.ts';
import { SseEventReader } from '../../../kit/sse/frames.ts';
import { McpFault } from './mcp-fault.ts';

/** Called with the length of each piece, in bytes. It throws to stop reading the answer, and may let the answer wait. */
export type OnBytesRead = (bytes: number) => void | Promise<void>;

/** Where a stream of events can be resumed. */
export interface StreamPosition {
  lastId?: string;
  /** Milliseconds that the server asks to wait before resuming. */
  retryMs?: number;
}

/**
 * Reads the messages of an answer as they come. Leaving the loop cancels the rest.
 *
 * @param place updated with the events of a stream
 * @throws McpFault if the answer is not MCP, or the error of `take`
 */
export async function* readRpcMessages(
  response: Response,
  take: OnBytesRead,
  place: StreamPosition,
): AsyncGenerator<JsonObject> {
  const type = parseMediaType(response);
  const { body } = response;
  const isStream = type === 'text/event-stream';
  if (!body || (!isStream && type !== 'application/json')) {
    await body?.cancel();
    throw new McpFault('Its response is not MCP.');
  }
  // Read each piece of an event stream as soon as it arrives, because the server may keep the stream open after its response.
  const reader = new StreamPieceReader(body, { isLive: isStream });
  const frames = new SseEventReader();
  const pieces: Uint8Array[] = [];
  try {
    for (let piece = await reader.read(); piece; piece = await reader.read()) {
      await take(piece.length);
      if (!isStream) {
        // Copy the bytes, because the reader reuses its buffer for the next piece.
        pieces.push(piece.slice());
        continue;
      }
      const events: string[] = [];
      frames.scanCompletedEvents(piece, (text, start, end) => {
        events.push(text.slice(start, end));
        return end + 2;
      });
      for (const event of events) {
        const data = parseEventAndTrackPosition(event, place);
        if (data !== '') yield* await parseRpcMessages(data);
      }
    }
  } finally {
    // Ignore a rejection: cancelling a stream that has ended or failed rejects.
    reader.cancel().catch(() => {});
  }
  if (!isStream) yield* await parseRpcMessages(decoder.decode(joinPieces(pieces)));
}

/** @returns the data of an event, whatever its name is; empty if it has none (such an event only has an id) */
function parseEventAndTrackPosition(event: string, place: StreamPosition): string {
  const data: string[] = [];
  for (const line of event.split('\n')) {
    const [, field, value = ''] = /^(data|id|retry): ?(.*)$/.exec(line) ?? [];
    if (field === 'data') data.push(value);
    else if (field === 'id') place.lastId = value;
    else if (field === 'retry' && /^\d{1,9}$/.test(value)) place.retryMs = Number(value);
  }
  return data.join('\n');
}

/** The most values of a message, because parsed values take many times their bytes. A table of a megabyte has fewer. */
const MOST_RPC_VALUES = 300_000;

/** @returns the messages in a text. Secrets that the server repeats are masked, because the model and clients read its words. */
async function parseRpcMessages(text: string): Promise<JsonObject[]> {
  let json: unknown;
  if (!(await isCheapToParse(text)))
    throw new McpFault('Its response contains too many values, or is nested too deeply.');
  try {
    // Mask secrets after parsing, because JSON can escape the characters of a secret in many ways.
    json = maskSecretsInJson(JSON.parse(text));
  } catch (cause) {
    throw new McpFault(`Its response is not JSON.`, { cause });
  }
  // MCP versions before 2025-06-18 allow batches, so the response may be a list:
  // https://modelcontextprotocol.io/specification/2025-06-18/changelog
  const [messages, texts] = Array.isArray(json) ? [json, splitArrayItems(text)] : [[json], [text]];
  if (!messages.every(isObject)) throw new McpFault('Its response is not JSON-RPC.');
  for (const [index, message] of messages.entries()) rememberStructuredContentText(message, texts[index] ?? '{}');
  return messages;
}

/** Remembers the text of a result's structured content, unless something in it was masked. */
function rememberStructuredContentText({ result }: JsonObject, text: string): void {
  const structured = getMember(result, 'structuredContent');
  if (!isObject(structured)) return;
  const original = parseMemberTexts(parseMemberTexts(text).get('result') ?? '{}').get('structuredContent') ?? '{}';
  if (JSON.stringify(structured) === JSON.stringify(JSON.parse(original))) rememberJsonText(structured, original);
}

/** @returns whether a text can be parsed and written again without taking much more memory */
async function isCheapToParse(text: string): Promise<boolean> {
  try {
    return (await runInSteps(measureJsonShape(encoder.encode(text)))).values <= MOST_RPC_VALUES;
  } catch {
    // The thrown error is written for callers with a large request body. For a server's response, only report that it is too
    // large.
    return false;
  }
}
