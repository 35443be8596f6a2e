import { invalid } from '../request/errors.ts';
import { decoder, encoder } from '../text/utf8.ts';

/** An event of a form: the beginning of a part, some of its bytes, or its end. */
export type FormPiece =
  | { type: 'part'; name: string; filename: string | undefined; contentType: string | undefined }
  | { type: 'bytes'; bytes: Uint8Array }
  | { type: 'end' };

const MOST_HEADER_BYTES = 16_384;
const HEADERS_END = encoder.encode('\r\n\r\n');

/** @returns the boundary of a form. @throws ApiError 400 if the body is not a form */
function boundaryOf(contentType: string | null): string {
  const [, quoted, plain] =
    /^multipart\/form-data\s*;.*?\bboundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))/i.exec(contentType ?? '') ?? [];
  const boundary = quoted ?? plain;
  if (boundary === undefined) throw invalid('Content-Type must be multipart/form-data with a boundary');
  return boundary;
}

/** @returns where `wanted` begins in `bytes`; -1 if it is not there */
function positionOf(bytes: Uint8Array, wanted: Uint8Array): number {
  const [first = 0] = wanted;
  for (let at = bytes.indexOf(first); at >= 0; at = bytes.indexOf(first, at + 1)) {
    if (at + wanted.byteLength > bytes.byteLength) return -1;
    if (wanted.every((byte, index) => bytes[at + index] === byte)) return at;
  }
  return -1;
}

function joined(left: Uint8Array, right: Uint8Array): Uint8Array {
  const both = new Uint8Array(left.byteLength + right.byteLength);
  both.set(left);
  both.set(right, left.byteLength);
  return both;
}

function partOf(headers: string): FormPiece {
  const disposition = /^content-disposition:\s*form-data\s*;(.*)$/im.exec(headers)?.[1] ?? '';
  const parameter = (name: string): string | undefined => {
    const [, value] = new RegExp(`(?:^|[;\\s])${name}="((?:[^"\\\\]|\\\\.)*)"`).exec(disposition) ?? [];
    return value?.replace(/%22/g, '"').replace(/\\(.)/g, '$1');
  };
  const name = parameter('name');
  if (name === undefined) throw invalid('The form has a part without a name');
  const contentType = /^content-type:\s*(\S.*?)\s*$/im.exec(headers)?.[1];
  return { type: 'part', name, filename: parameter('filename'), contentType };
}

/**
 * Reads a form while it comes in. Only one chunk is in memory.
 *
 * @throws ApiError 400 if it is not a form, or ends too early
 */
export async function* readForm(
  contentType: string | null,
  body: AsyncIterable<Uint8Array>,
): AsyncGenerator<FormPiece> {
  const delimiter = encoder.encode(`\r\n--${boundaryOf(contentType)}`);
  // The first boundary has no line before it.
  let rest: Uint8Array = encoder.encode('\r\n');
  let state: 'before' | 'boundary' | 'headers' | 'content' | 'done' = 'before';
  for await (const chunk of body) {
    rest = joined(rest, chunk);
    for (let goesOn = true; goesOn; ) {
      goesOn = false;
      if (state === 'before' || state === 'content') {
        const at = positionOf(rest, delimiter);
        const upTo = at < 0 ? Math.max(0, rest.byteLength - delimiter.byteLength + 1) : at;
        if (state === 'content' && upTo > 0) yield { type: 'bytes', bytes: rest.slice(0, upTo) };
        rest = rest.subarray(at < 0 ? upTo : at + delimiter.byteLength);
        if (at >= 0) {
          if (state === 'content') yield { type: 'end' };
          state = 'boundary';
          goesOn = true;
        }
      } else if (state === 'boundary' && rest.byteLength >= 2) {
        const isLast = decoder.decode(rest.subarray(0, 2)) === '--';
        state = isLast ? 'done' : 'headers';
        goesOn = true;
      } else if (state === 'headers') {
        // A part without any header has only the line end of its boundary before its content.
        const at = positionOf(rest, HEADERS_END);
        if (at >= 0) {
          yield partOf(decoder.decode(rest.subarray(0, at)));
          rest = rest.subarray(at + HEADERS_END.byteLength);
          // The line end before the next boundary may be all that comes now.
          state = 'content';
          goesOn = true;
        } else if (rest.byteLength > MOST_HEADER_BYTES) throw invalid('The form has a part with too long headers');
      } else if (state === 'done') rest = new Uint8Array(0);
    }
  }
  if (state !== 'done') throw invalid('The form ends before its last boundary');
}
