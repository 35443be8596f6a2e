/** Asks an upstream at the start whether it takes the key: otherwise the first caller would find out. */
import { explainRefusedKey } from '../src/upstream/refused-key.ts';

export const API_VERSION = '2023-06-01';
export const MODELS_PATH = '/v1/models?limit=1';
const PATIENCE_MS = 10_000;

/** A request for an upstream's models, with its credential. */
export interface ModelsRequest {
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
 * @returns a warning; undefined if it answers. An upstream without a list of models may answer all the same.
 */
export async function askUpstream({ name, setting, request }: Asked, fetcher = fetch): Promise<string | undefined> {
  let status: number;
  let said: string;
  try {
    const { url, headers } = await request();
    const response = await fetcher(url, { headers, signal: AbortSignal.timeout(PATIENCE_MS) });
    const credentials = Object.values(headers).filter((value) => value !== API_VERSION);
    status = response.status;
    said = credentials.reduce((text, secret) => text.replaceAll(secret, '…'), await response.text());
  } catch (thrown) {
    const cause = thrown instanceof Error && thrown.cause instanceof Error ? thrown.cause : thrown;
    const reason = cause instanceof Error ? cause.message : String(cause);
    return `${name} cannot be reached (${reason}). Requests fail until it can.`;
  }
  return explainRefusedKey({ name, setting, status, said });
}
