/** Reads and writes CSV. */
import Papa from 'papaparse';
import { Faults, MOST_REQUESTS, type RowsUpload, UploadError } from './upload.ts';

/** Small enough that the page draws between two pieces. */
const CSV_PIECE_BYTES = 262_144;
/** How a cell begins that a spreadsheet would compute. (The library's own pattern knows cells of one line alone.) */
const FORMULA = /^[=+\-@\t\r]/;

/**
 * Reads a CSV whose first row names the columns. The delimiter is found by itself.
 *
 * @throws UploadError that says what is wrong with the file
 */
export async function readCsv(name: string, source: File | string): Promise<RowsUpload> {
  const faults = new Faults();
  const table: string[][] = [];
  await new Promise<void>((resolve, reject) => {
    const take = ({ data, errors }: Papa.ParseResult<string[]>, parser: Pick<Papa.Parser, 'abort'>) => {
      for (const { type, message, row } of errors) {
        // A file with one column has no delimiter to be found.
        if (type !== 'Delimiter') faults.add(`Row ${table.length + (row ?? 0) + 1}`, `${message}.`);
      }
      for (const row of data) table.push(row);
      if (table.length > MOST_REQUESTS + 1) parser.abort();
    };
    const config = {
      skipEmptyLines: 'greedy' as const,
      chunkSize: CSV_PIECE_BYTES,
      chunk: take,
      complete: () => resolve(),
    };
    if (typeof source === 'string') Papa.parse<string[]>(source, config);
    else Papa.parse<string[]>(source, { ...config, error: reject });
  });
  if (table.length > MOST_REQUESTS + 1) {
    throw new UploadError(
      `A batch takes ${MOST_REQUESTS.toLocaleString('en')} requests at most, and this file has more rows. Split it.`,
    );
  }
  faults.throwIfAny();
  const [head, ...rows] = table;
  if (!head || rows.length === 0) {
    throw new UploadError('The file needs a first row with the names of the columns, and a row for each request.');
  }
  const columns = namesOf(head);
  for (const [index, row] of rows.entries()) {
    if (row.length > columns.length) {
      faults.add(`Row ${index + 2}`, `it has ${row.length} fields, and there are ${columns.length} columns.`);
    }
  }
  faults.throwIfAny();
  return { kind: 'rows', name, columns, rows };
}

/** @returns names for columns: each has one, and each its own */
function namesOf(head: readonly string[]): string[] {
  const names: string[] = [];
  for (const [index, given] of head.entries()) {
    const name = given.trim().replace(/[{}]/g, '') || `column ${index + 1}`;
    let own = name;
    for (let nth = 2; names.includes(own); nth += 1) own = `${name} ${nth}`;
    names.push(own);
  }
  return names;
}

/** @returns rows as CSV. What a spreadsheet would take for a formula is written as text */
export function csvOf(rows: readonly (string | number | null)[][]): string {
  return `${Papa.unparse(rows as (string | number | null)[][], { escapeFormulae: FORMULA, newline: '\r\n' })}\r\n`;
}
