import type { RecordedCall } from '../edge/last-calls.ts';
import { indentIfJson } from './shorten.ts';

/** Headers that belong to the call. Others are only of this page. */
const CALL_HEADERS = ['sluice-simulate', 'last-event-id'];

/**
 * Writes a call as a command of a POSIX shell.
 *
 * @param origin the URL of the edge
 * @param withToken whether the call needs a credential, which stands there as a variable and never as its value
 */
export function createCurlCommand(
  { method, path, headers, body }: RecordedCall,
  origin: string,
  withToken: boolean,
): string {
  const lines = [`curl -N ${quoteForShell(origin + path)}`];
  if (method !== 'GET' && (method !== 'POST' || body === undefined)) lines.push(`-X ${method}`);
  if (withToken) lines.push('-H "authorization: Bearer $SLUICE_TOKEN"');
  if (body !== undefined) lines.push("-H 'content-type: application/json'");
  for (const name of CALL_HEADERS)
    if (headers[name] !== undefined) lines.push(`-H ${quoteForShell(`${name}: ${headers[name]}`)}`);
  if (body !== undefined) lines.push(`-d ${quoteForShell(indentIfJson(body))}`);
  return lines.join(' \\\n  ');
}

/** Quotes text for a POSIX shell. */
function quoteForShell(value: string): string {
  return `'${value.replaceAll("'", "'\\''")}'`;
}
