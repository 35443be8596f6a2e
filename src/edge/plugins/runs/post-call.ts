/** Calls a tool by a signed POST to a host that the operator has allowed. */

import { createStandardWebhookHeaders } from '../../kit/delivery/standard-webhooks.ts';
import { StreamPieceReader } from '../../kit/http/body/piece-reader.ts';
import { freeBytes, freeBytesAndReturnLength } from '../../kit/http/body/release-bytes.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';
import { decoder, toBase64 } from '../../kit/http/bytes.ts';
import { parseMediaType } from '../../kit/http/headers/media-type.ts';
import type { JsonObject } from '../../kit/json/object.ts';
import { stringifyWithRememberedTexts } from '../../kit/json/remembered-text.ts';
import { detectImageType } from './image-type.ts';
import { type HttpToolRun, runSchema, runTool } from './runs.schema.ts';
import type { CallableToolKind, ToolCallOptions } from './tool-kind.ts';
import {
  createFailedResult,
  createGrowingMemoryHold,
  createTooLongResult,
  createTooLongTogetherResult,
  IMAGES,
  MOST_IMAGE_BYTES,
  MOST_TEXT_BYTES,
  NO_CONTENT,
  SHORT_ANSWER_BYTES,
  type ToolCall,
  type ToolResult,
} from './tool-result.ts';
import { findAddressedToolFault, resolveToolHeaders, withAddressCheck } from './tools/addresses.ts';

/** Tools at addresses that the operator has allowed. */
export const httpKind: CallableToolKind<HttpToolRun> = {
  member: 'url',
  listRunFieldNames: () => Object.keys(runSchema.shape),
  schemas: [runSchema],
  checksInput: true,
  findFault: (tool, sender) => findAddressedToolFault(tool, sender, runTool),
  createToolCaller: () => ({ callTool: withAddressCheck(callToolBySignedPost) }),
};

/**
 * Calls a tool by a signed POST.
 *
 * @returns its result
 * @throws what `fetch` throws, and the reason of the signal
 */
export async function callToolBySignedPost(
  call: ToolCall,
  run: HttpToolRun,
  { settings, fetch, now, resultBytes, hold }: ToolCallOptions,
  signal: AbortSignal,
): Promise<ToolResult> {
  const body = stringifyWithRememberedTexts(call);
  const id = `${call.turn}_${call.tool_use_id}`;
  const sent = await createStandardWebhookHeaders(body, settings.TOOL_SIGNING_SECRET ?? '', id, now);
  for (const [name, value] of resolveToolHeaders(run, settings)) sent.set(name, value);
  sent.set('content-type', 'application/json');
  sent.set('user-agent', 'sluice');
  const response = await fetch(run.url, { method: 'POST', headers: sent, body, redirect: 'manual', signal });
  const { status } = response;
  if (status >= 300 && status < 400) {
    await response.body?.cancel();
    return createFailedResult('The tool responded with a redirect, which Sluice does not follow.');
  }
  const isError = status >= 400;
  const type = parseMediaType(response);
  const isImage = IMAGES.has(type) && !isError;
  const most = isImage ? MOST_IMAGE_BYTES : MOST_TEXT_BYTES;
  const bytes = await readLimitedBody(response, most, { resultBytes, hold });
  if (bytes === 'too much') return createTooLongResult(most);
  if (bytes === 'none left') return createTooLongTogetherResult();
  if (isImage && bytes.length > 0) {
    // Check the image type here. The API would reject the whole request for an image with a wrong `media_type`, and the run
    // would fail.
    const found = detectImageType(bytes);
    if (found === undefined) return createFailedResult(`The tool sent ${type}, but the data is not such an image.`);
    const content = [createImageBlock(found, bytes)];
    return { content, isError, bytes: freeBytesAndReturnLength(bytes) };
  }
  const text = decoder.decode(bytes);
  const content = text.trim() === '' ? (isError ? `The tool responded with ${status}.` : NO_CONTENT) : text;
  return { content, isError, bytes: freeBytesAndReturnLength(bytes) };
}

/** @returns the bytes of an answer; `too much` or `none left` if it is too long: then the rest is not read */
async function readLimitedBody(
  { body }: Response,
  most: number,
  { resultBytes, hold }: Pick<ToolCallOptions, 'resultBytes' | 'hold'>,
): Promise<Uint8Array | 'too much' | 'none left'> {
  if (!body) return new Uint8Array(0);
  const grow = createGrowingMemoryHold(hold, [SHORT_ANSWER_BYTES, most]);
  const reader = new StreamPieceReader(body);
  const pieces: Uint8Array[] = [];
  let length = 0;
  let isWhole = false;
  try {
    for (let piece = await reader.read(); piece; piece = await reader.read()) {
      length += piece.length;
      resultBytes.left -= piece.length;
      if (length > most) return 'too much';
      if (resultBytes.left < 0) return 'none left';
      await grow(length);
      // Copy the bytes, because the reader reuses its buffer for the next piece.
      pieces.push(piece.slice());
    }
    isWhole = true;
  } finally {
    if (!isWhole) {
      resultBytes.left += length;
      // Ignore a rejection: cancelling a stream that has failed rejects.
      reader.cancel().catch(() => {});
    }
  }
  const whole = joinPieces(pieces);
  for (const piece of pieces) freeBytes(piece);
  return whole;
}

function createImageBlock(media_type: string, bytes: Uint8Array): JsonObject {
  let data = '';
  // Base64 encodes three bytes as four characters, so chunks whose length is a multiple of three can be encoded separately and
  // joined.
  for (let at = 0; at < bytes.length; at += 24_576) data += toBase64(bytes.subarray(at, at + 24_576));
  return { type: 'image', source: { type: 'base64', media_type, data } };
}
