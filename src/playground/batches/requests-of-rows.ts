/** Writes the requests for the rows of a file. */
import { fillTemplate, templateOf } from './template.ts';
import { BodyBuilder, breathe, type RowsUpload, UploadError } from './upload.ts';

/** What all requests share, and how a row becomes a prompt. */
export interface Prompt {
  model: string;
  maxTokens: number;
  /** Empty: none. */
  system: string;
  /** The user's message, with `{{column}}` where a row's text belongs. */
  template: string;
  /** The column with the `custom_id`; undefined: rows are numbered. */
  idColumn: string | undefined;
}

/** After so many rows the page may draw. */
const ROWS_AT_ONCE = 2_000;

/** @throws UploadError that names the rows from which no request can be made */
export async function requestsOfRows(
  { columns, rows }: RowsUpload,
  prompt: Prompt,
): Promise<{ count: number; body: Blob }> {
  const template = templateOf(prompt.template, columns);
  if (typeof template === 'string') throw new UploadError(template);
  const id = prompt.idColumn === undefined ? -1 : columns.indexOf(prompt.idColumn);
  const shared = {
    model: prompt.model,
    max_tokens: prompt.maxTokens,
    ...(prompt.system.trim() === '' ? {} : { system: prompt.system }),
  };
  const digits = String(rows.length).length;
  const body = new BodyBuilder();
  for (const [index, row] of rows.entries()) {
    if (index % ROWS_AT_ONCE === ROWS_AT_ONCE - 1) await breathe();
    const where = `Request ${index + 1}`;
    const custom_id = id === -1 ? `row-${String(index + 1).padStart(digits, '0')}` : row[id]?.trim();
    body.add(where, custom_id, () => {
      const content = fillTemplate(template, row);
      if (content.trim() !== '') {
        return JSON.stringify({ custom_id, params: { ...shared, messages: [{ role: 'user', content }] } });
      }
      body.fault(where, 'its prompt is empty.');
      return undefined;
    });
  }
  return body.end();
}
