/** Bodies as they come in: a long one is read only once its account has said that the caller may ask at all. */
import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { LONG_BODY, shapeOf } from '../../http/body-shape.ts';
import type { JsonBody } from '../../http/json-body.ts';
import { parseJson, parseLong, readBytes, requireJson } from '../../http/read-json.ts';
import { type Asking, mayAsk } from './may-ask.ts';

/** The least memory that a parsed JSON value takes up. */
const BYTES_OF_A_VALUE = 24;

/**
 * Reads a body that must be a JSON object, and takes up room for it until the request has been answered.
 *
 * @param asking what the request takes from its account
 * @throws ApiError 415 for another content type, 413 above the limit, 400 for anything but a JSON object in UTF-8, 503
 * where there is no room; for a long body also 401 for a revoked credential, 429 for a limit that is reached
 */
export async function readJson(c: Context<AppEnv>, asking: Asking = 'nothing'): Promise<JsonBody> {
  const bytes = await bytesOf(c, asking);
  // Twice: it is in memory as bytes and as text.
  return parseJson(bytes, ({ values }) => c.get('place').grow(bytes.length * 2 + values * BYTES_OF_A_VALUE));
}

/**
 * Reads as `readJson` a body that is written again, which what nests deep would not let be done however short it is.
 *
 * @throws ApiError as `readJson`, and 413 also for a short one that nests too deep
 */
export async function readToStore(c: Context<AppEnv>, asking: Asking): Promise<JsonBody> {
  const body = await readJson(c, asking);
  if (body.bytes.length <= LONG_BODY) shapeOf(body.bytes);
  return body;
}

/** Reads as `readJson` a body that goes up again: the long strings of a long one stay in its bytes. */
export async function readLong(c: Context<AppEnv>, asking: Asking = 'nothing'): Promise<JsonBody> {
  const bytes = await bytesOf(c, asking);
  return parseLong(bytes, ({ values }) => c.get('place').grow(bytes.length + values * BYTES_OF_A_VALUE));
}

async function bytesOf(c: Context<AppEnv>, asking: Asking): Promise<Uint8Array> {
  const request = c.req.raw;
  requireJson(request);
  const place = c.get('place');
  let isAsked = false;
  const bytes = await readBytes(request, c.get('settings').MAX_BODY_BYTES, (length) => {
    if (length <= LONG_BODY || isAsked || asking === 'nothing') return place.grow(length);
    isAsked = true;
    return mayAsk(contextOf(c), asking).then(() => place.grow(length));
  });
  if (bytes.length > LONG_BODY) place.keep(bytes);
  return bytes;
}
