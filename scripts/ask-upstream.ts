/** Asks an upstream at the start whether it takes the key: otherwise the first caller would find out. */

import { explainRefusedKey } from '../src/edge/claude/explain-refused-key.ts';
import { causeOf, told } from '../src/edge/claude/told.ts';
import { parseObject } from '../src/edge/kit/json/object.ts';

export const API_VERSION = '2023-06-01';
export const MODELS_PATH = '/v1/models?limit=1';
const PATIENCE_MS = 10_000;

/** A request for an upstream's models, with its credential. */
interface ModelsRequest {
  url: string;
  headers: Readonly<Record<string, string>>;
}

interface Asked {
  /** What it is called in what is printed. */
  name: string;
  /** The name of the setting that has the key. */
  setting: string;
  request: () => ModelsRequest | Promise<ModelsRequest>;
}

/**
 * Asks an upstream for its models.
 *
 * @param fetcher calls it
 * @param patienceMs milliseconds after which it is not waited for
 * @returns a warning; undefined if it answers. An upstream without a list of models may answer all the same.
 */
export async function askUpstream(
  { name, setting, request }: Asked,
  fetcher = fetch,
  patienceMs = PATIENCE_MS,
): Promise<string | undefined> {
  let status: number;
  let said: string;
  try {
    const { url, headers } = await request();
    // Not followed: another host would get the key.
    const response = await fetcher(url, { headers, redirect: 'manual', signal: AbortSignal.timeout(patienceMs) });
    const credentials = Object.values(headers).filter((value) => value !== API_VERSION);
    status = response.status;
    said = credentials.reduce((text, secret) => text.replaceAll(secret, '…'), await response.text());
  } catch (thrown) {
    if (thrown instanceof Error && thrown.name === 'TimeoutError') {
      return `${name} has not said within ${patienceMs / 1_000} seconds whether it takes ${setting}. Requests may work all the same.`;
    }
    const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const reason = cause instanceof Error ? cause.message : String(cause);
    return `${name} cannot be reached (${reason}). Requests fail until it can.`;
  }
  if (status >= 300 && status < 400) {
    return `${name} answers with a redirect (${status}), which is not followed. Set its base URL to the final address.`;
  }
  const code = causeOf(told(parseObject(said) ?? {}));
  return explainRefusedKey({ name, setting, status, said, code });
}
