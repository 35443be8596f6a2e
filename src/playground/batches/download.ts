/** Writes results as a table. */
import type { BatchResult } from '../../client/index.ts';
import { readLines } from '../../client/lines.ts';
import { csvOf } from './csv.ts';
import { textOfResult } from './results.ts';

const CSV_ROWS_AT_ONCE = 500;
const HEAD = ['custom_id', 'outcome', 'text', 'stop_reason', 'input_tokens', 'output_tokens'];

/** @returns results, given as JSON lines, as a CSV with a row each */
export async function resultsCsv(lines: Blob): Promise<Blob> {
  // Spreadsheets take a file for UTF-8 only if it begins with this mark.
  const pieces: string[] = ['\uFEFF'];
  let rows: (string | number | null)[][] = [HEAD];
  for await (const line of readLines<BatchResult>(new Response(lines))) {
    rows.push(csvRow(line));
    if (rows.length < CSV_ROWS_AT_ONCE) continue;
    pieces.push(csvOf(rows));
    rows = [];
    await new Promise((resolve) => setTimeout(resolve));
  }
  if (rows.length > 0) pieces.push(csvOf(rows));
  return new Blob(pieces, { type: 'text/csv' });
}

function csvRow(line: BatchResult): (string | number | null)[] {
  const { custom_id, result } = line;
  const message = result.type === 'succeeded' ? result.message : undefined;
  return [
    custom_id,
    result.type,
    textOfResult(line),
    message?.stop_reason ?? null,
    message?.usage.input_tokens ?? null,
    message?.usage.output_tokens ?? null,
  ];
}
