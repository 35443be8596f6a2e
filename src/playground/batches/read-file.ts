/** Reads a file that was chosen: CSV, JSON lines, or lines of text. */
import { readCsv } from './csv.ts';
import { BodyBuilder, MOST_REQUESTS, type Upload, UploadError } from './upload.ts';

/** The column of a file that has only lines. */
const TEXT = 'text';

/** @throws UploadError that says what is wrong with the file, and what to do */
export async function readUpload(file: File): Promise<Upload> {
  if (/\.(csv|tsv)$/i.test(file.name) || /^text\/(csv|tab-separated-values)$/.test(file.type)) {
    return await readCsv(file.name, file);
  }
  let reader: LineReader | undefined;
  for await (const line of numbered(file.stream())) {
    reader ??= looksLikeItem(parsed(line.text)) ? itemReader(file.name) : textReader(file.name);
    reader.add(line);
  }
  if (!reader) throw new UploadError('The file is empty. Choose one that has a request or a text in each line.');
  return reader.end();
}

interface NumberedLine {
  number: number;
  text: string;
}

/** Gives the lines that are not empty, with their numbers. */
async function* numbered(stream: ReadableStream<Uint8Array>): AsyncGenerator<NumberedLine, undefined, void> {
  const reader = stream.getReader();
  const decoder = new TextDecoder();
  let rest = '';
  let number = 0;
  for (;;) {
    const { value, done } = await reader.read();
    const lines = decoder.decode(value, { stream: !done }).split('\n');
    lines[0] = rest + lines[0];
    rest = done ? '' : (lines.pop() ?? '');
    for (const line of lines) {
      number += 1;
      const text = line.trim();
      if (text !== '') yield { number, text };
    }
    if (done) return undefined;
  }
}

/** Takes the lines of a file one after the other. */
interface LineReader {
  add(line: NumberedLine): void;
  end(): Upload;
}

function itemReader(name: string): LineReader {
  const body = new BodyBuilder();
  return {
    add({ number, text }) {
      const where = `Line ${number}`;
      const item = parsed(text);
      if (typeof item !== 'object' || item === null) body.fault(where, 'it is not a JSON object.');
      else {
        const { custom_id, params } = item as Record<string, unknown>;
        if (typeof params !== 'object' || params === null) body.fault(where, 'params, the request itself, is missing.');
        else body.add(where, custom_id, () => text);
      }
    },
    end: () => ({ kind: 'items', name, ...body.end() }),
  };
}

function textReader(name: string): LineReader {
  const rows: string[][] = [];
  return {
    add({ text }) {
      if (rows.length === MOST_REQUESTS) {
        throw new UploadError(
          `A batch takes ${MOST_REQUESTS.toLocaleString('en')} requests at most, and this file has more lines. Split it.`,
        );
      }
      // A line may be a text, or a JSON string, which can have line ends in it.
      const value = text.startsWith('"') ? parsed(text) : undefined;
      rows.push([typeof value === 'string' ? value : text]);
    },
    end: () => ({ kind: 'rows', name, columns: [TEXT], rows }),
  };
}

function looksLikeItem(value: unknown): boolean {
  return typeof value === 'object' && value !== null && ('custom_id' in value || 'params' in value);
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    // The caller says what is wrong with it.
    return undefined;
  }
}
