import { parseJsonObject, UnreadableError } from './errors.ts';
import { createConnectionError } from './transport.ts';

/**
 * Reads lines of JSON while they arrive.
 *
 * @throws SluiceError `connection_error` if the connection breaks, a line is incomplete, or `fetch` gives no stream; `closed` if the signal is aborted
 */
export async function* readJsonLines<T extends object>(
  { body, headers }: Response,
  signal?: AbortSignal,
): AsyncGenerator<T, void, void> {
  if (!body) throw new UnreadableError(headers);
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  const parseRow = (line: string): T => {
    const row = parseJsonObject<T>(line);
    if (!row) throw new Error('a line was cut');
    return row;
  };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      const lines = (value ? decoder.decode(value, { stream: true }) : '').split('\n');
      lines[0] = rest + lines[0];
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') yield parseRow(line);
      if (!done) continue;
      if (rest.trim() !== '') yield parseRow(rest);
      return;
    }
  } catch (cause) {
    throw createConnectionError(cause, signal);
  } finally {
    reader.cancel().catch(() => {});
  }
}
