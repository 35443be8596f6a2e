import type { Context } from 'hono';
import { runInSteps } from '../kit/async/run-in-steps.ts';
import { parseJsonInSteps, readBodyBytes, requireJsonContentType } from '../kit/http/read-json.ts';
import type { AppEnv } from './context.ts';

const MAX_SHORT_BODY_BYTES = 65_536;

/**
 * Reads a body that is always short, without calling an account.
 *
 * @throws ApiError 415 for another content type, 413 for more than 64 kB, 400 for anything but a JSON object in UTF-8
 */
export async function readShortBody(c: Context<AppEnv>): Promise<Record<string, unknown>> {
  requireJsonContentType(c.req.raw);
  const most = Math.min(MAX_SHORT_BODY_BYTES, c.get('settings').MAX_BODY_BYTES);
  const bytes = await readBodyBytes(c.req.raw, most, (length) => c.get('bodyMemory').reserveBytes(length));
  return (await runInSteps(parseJsonInSteps(bytes))).json;
}
