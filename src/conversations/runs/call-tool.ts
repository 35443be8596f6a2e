/** Calls a tool of the edge: one of the Worker's own, or by a signed POST to a host that the operator has allowed. */

import { orAborted } from '../../async/or-aborted.ts';
import { signStandard } from '../../delivery/standard-webhooks.ts';
import { decoder, toBase64 } from '../../http/bytes.ts';
import type { Json } from '../../json/object.ts';
import { faultOfAddress, type ToolSettings } from '../../tools/check-tools.ts';
import { type CallContext, callOwnTool } from './call-own-tool.ts';
import type { HttpRun, ToolRun } from './runs.schema.ts';
import {
  failedCall,
  IMAGES,
  MOST_IMAGE_BYTES,
  MOST_TEXT_BYTES,
  NO_CONTENT,
  type ResultRoom,
  type ToolCall,
  type ToolResult,
  tooMuchTogether,
} from './tool-result.ts';

export interface CallOptions extends Pick<CallContext, 'env'> {
  settings: ToolSettings;
  /** Takes the place of `fetch`. */
  fetch: (url: string, init: RequestInit) => Promise<Response>;
  /** Milliseconds since 1970. */
  now: number;
  /** Milliseconds that are left of the run; the call takes no longer. */
  leftMs: number;
  /** Aborted when the run is stopped. */
  signal: AbortSignal;
  /** What is left for the answer; the call takes from it what it has got. */
  room: ResultRoom;
}

const DEFAULT_SECONDS = 30;

/**
 * Calls a tool once. It never throws.
 *
 * @returns its result; where it failed, one with `isError` that says how, so that the model can go on
 */
export async function callTool(call: ToolCall, run: ToolRun, options: CallOptions): Promise<ToolResult> {
  const { settings, env, leftMs, signal } = options;
  const ms = Math.max(0, Math.min((run.timeout_seconds ?? DEFAULT_SECONDS) * 1_000, leftMs));
  const late = AbortSignal.timeout(ms);
  try {
    const fault = 'url' in run ? faultOfAddress(run, settings) : undefined;
    if (fault !== undefined) return failedCall(`This tool cannot be called. ${fault}.`);
    const both = AbortSignal.any([signal, late]);
    both.throwIfAborted();
    const calling = 'url' in run ? postCall(call, run, options, both) : callOwnTool(call, { env, signal: both });
    const result = await orAborted(calling, both);
    if ('url' in run) return result;
    if (result.bytes > options.room.left) return tooMuchTogether();
    options.room.left -= result.bytes;
    return result;
  } catch {
    if (signal.aborted) return failedCall('stopped');
    if (late.aborted) return failedCall(`The tool did not answer within ${Math.ceil(ms / 1_000)} s.`);
    // The message of a network error may contain the URL, and the URL may contain a secret.
    return failedCall('The tool could not be reached.');
  }
}

async function postCall(
  call: ToolCall,
  { url, headers = {} }: HttpRun,
  { settings, fetch, now, room }: CallOptions,
  signal: AbortSignal,
): Promise<ToolResult> {
  const body = JSON.stringify(call);
  const id = `${call.turn}_${call.tool_use_id}`;
  const sent = await signStandard(body, settings.TOOL_SIGNING_SECRET ?? '', id, now);
  for (const [name, value] of Object.entries(headers)) {
    sent.set(name, typeof value === 'string' ? value : (settings.toolSecrets[value.secret]?.value ?? ''));
  }
  sent.set('content-type', 'application/json');
  sent.set('user-agent', 'sluice');
  const response = await fetch(url, { method: 'POST', headers: sent, body, redirect: 'manual', signal });
  const { status } = response;
  if (status >= 300 && status < 400) {
    await response.body?.cancel();
    return failedCall('The tool answered with a redirect, which is not followed.');
  }
  const isError = status >= 400;
  const type = (response.headers.get('content-type') ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  const isImage = IMAGES.has(type) && !isError;
  const most = isImage ? MOST_IMAGE_BYTES : MOST_TEXT_BYTES;
  const bytes = await readAtMost(response, most, room);
  if (bytes === 'too much') return failedCall(`The tool answered with more than ${most} bytes.`);
  if (bytes === 'no room') return tooMuchTogether();
  if (isImage && bytes.length > 0) {
    // The API refuses a wrong type, and with it all that goes up beside it: the run could not go on.
    const found = imageTypeOf(bytes);
    if (found === undefined) return failedCall(`The tool said ${type}, but what it sent is no such image.`);
    return { content: [imageOf(found, bytes)], isError, bytes: bytes.length };
  }
  const text = decoder.decode(bytes);
  const content = text.trim() === '' ? (isError ? `The tool answered ${status}.` : NO_CONTENT) : text;
  return { content, isError, bytes: bytes.length };
}

/** @returns the bytes of an answer; a few words where it has too many, of which the rest is not read */
async function readAtMost(
  { body }: Response,
  most: number,
  room: ResultRoom,
): Promise<Uint8Array | 'too much' | 'no room'> {
  if (!body) return new Uint8Array(0);
  const pieces: Uint8Array[] = [];
  let length = 0;
  let isWhole = false;
  try {
    for await (const piece of body as ReadableStream<Uint8Array>) {
      length += piece.length;
      room.left -= piece.length;
      // To leave the loop cancels the stream.
      if (length > most) return 'too much';
      if (room.left < 0) return 'no room';
      pieces.push(piece);
    }
    isWhole = true;
  } finally {
    if (!isWhole) room.left += length;
  }
  return new Uint8Array(await new Blob(pieces as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}

/** @returns the type of an image, by how it begins; undefined for anything else */
function imageTypeOf(bytes: Uint8Array): string | undefined {
  const begin = String.fromCharCode(...bytes.subarray(0, 12));
  if (begin.startsWith('RIFF') && begin.endsWith('WEBP')) return 'image/webp';
  return IMAGE_BEGINS.find(([, text]) => begin.startsWith(text))?.[0];
}

/** How the other images begin, a character for each byte. */
const IMAGE_BEGINS = [
  ['image/png', '\x89PNG\r\n\x1a\n'],
  ['image/jpeg', '\xff\xd8\xff'],
  ['image/gif', 'GIF8'],
] as const;

function imageOf(media_type: string, bytes: Uint8Array): Json {
  let data = '';
  // Three bytes are four characters, so that the parts can be joined.
  for (let at = 0; at < bytes.length; at += 24_576) data += toBase64(bytes.subarray(at, at + 24_576));
  return { type: 'image', source: { type: 'base64', media_type, data } };
}
