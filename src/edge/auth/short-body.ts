import type { Context } from 'hono';
import { inSteps } from '../kit/async/in-steps.ts';
import { parsingJson, readBytes, requireJson } from '../kit/http/read-json.ts';
import type { AppEnv } from './context.ts';

const MOST_BYTES = 65_536;

/**
 * Reads a body that is never long, without asking the account of anybody.
 *
 * @throws ApiError 415 for another content type, 413 for more than 64 kB, 400 for anything but a JSON object in UTF-8
 */
export async function readShort(c: Context<AppEnv>): Promise<Record<string, unknown>> {
  requireJson(c.req.raw);
  const most = Math.min(MOST_BYTES, c.get('settings').MAX_BODY_BYTES);
  const bytes = await readBytes(c.req.raw, most, (length) => c.get('share').grow(length));
  return (await inSteps(parsingJson(bytes))).json;
}
