/** Reads the JSON-RPC messages in an answer of an MCP server: one as JSON, or many as a stream of events. */

import { shapeOf } from '../../http/body-shape.ts';
import { decoder, encoder } from '../../http/bytes.ts';
import { mediaTypeOf } from '../../http/media-type.ts';
import { isObject, type Json } from '../../json/object.ts';
import { FrameReader } from '../../sse/frames.ts';
import { McpFault } from './mcp-fault.ts';

/** Called with the length of each piece, in bytes. It throws when the answer is to be read no further. */
export type Take = (bytes: number) => void;

/** Where a stream of events can be taken up again. */
export interface StreamPlace {
  /** The id of the last event that had one. */
  lastId?: string;
  /** Milliseconds after which the server wants to be asked again. */
  retryMs?: number;
}

/**
 * Reads the messages of an answer as they come. To leave the loop cancels the rest.
 *
 * @param place is kept up to date with the events of a stream
 * @throws McpFault for what is no MCP; what `take` throws
 */
export async function* messagesIn(response: Response, take: Take, place: StreamPlace): AsyncGenerator<Json> {
  const type = mediaTypeOf(response);
  const { body } = response;
  const isStream = type === 'text/event-stream';
  if (!body || (!isStream && type !== 'application/json')) {
    await body?.cancel();
    throw new McpFault('It answered with something that is not MCP.');
  }
  const reader = new FrameReader();
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  for await (const piece of body as ReadableStream<Uint8Array<ArrayBuffer>>) {
    take(piece.length);
    if (!isStream) {
      pieces.push(piece);
      continue;
    }
    const events: string[] = [];
    reader.scan(piece, (text, start, end) => {
      events.push(text.slice(start, end));
      return end + 2;
    });
    for (const event of events) {
      const data = dataOf(event, place);
      if (data !== '') yield* rpcMessages(data);
    }
  }
  if (!isStream) yield* rpcMessages(decoder.decode(await new Blob(pieces).arrayBuffer()));
}

/** @returns the data of an event, whatever its name; empty where it has none, as the one that only says where to go on */
function dataOf(event: string, place: StreamPlace): string {
  const data: string[] = [];
  for (const line of event.split('\n')) {
    const [, field, value = ''] = /^(data|id|retry): ?(.*)$/.exec(line) ?? [];
    if (field === 'data') data.push(value);
    else if (field === 'id') place.lastId = value;
    else if (field === 'retry' && /^\d{1,9}$/.test(value)) place.retryMs = Number(value);
  }
  return data.join('\n');
}

/** As objects, values take up many times their bytes; a table of a megabyte has fewer. */
const MOST_RPC_VALUES = 300_000;

function rpcMessages(text: string): Json[] {
  let json: unknown;
  if (!isModest(text)) throw new McpFault('It answered with JSON that has too many values, or nests too deep.');
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new McpFault(`It answered with something that is not JSON.`, { cause });
  }
  // Until 2025-06-18 a server could answer with a list.
  const messages = Array.isArray(json) ? json : [json];
  if (!messages.every(isObject)) throw new McpFault('It answered with something that is not JSON-RPC.');
  return messages;
}

/** @returns whether a text can be parsed, and written again, without taking up much more room than it has */
function isModest(text: string): boolean {
  try {
    return shapeOf(encoder.encode(text)).values <= MOST_RPC_VALUES;
  } catch {
    // It says so by throwing what callers are told of their own bodies.
    return false;
  }
}
