/** Reads files that are sent with a question: pictures, PDFs and texts. */

/** A picture, a PDF or a text as a block of the Messages API. */
type AttachmentBlock = {
  type: 'image' | 'document';
  source: { type: 'base64' | 'text'; media_type: string; data: string };
  /** The name of a document's file. */
  title?: string;
};

export interface Attachment {
  name: string;
  block: AttachmentBlock;
}

const IMAGE_MEDIA_TYPES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const PDF_TYPE = 'application/pdf';
/** The API's limit for one image. */
const MAX_IMAGE_MB = 5;
/** The API takes requests of 32 MB, in which a file is a third larger. */
const MAX_PDF_MB = 20;
/** About 500,000 tokens: what is larger, few models can read. */
const MAX_TEXT_MB = 2;
const BYTES_PER_MB = 1024 * 1024;
/** Control characters, without those of layout and of a terminal's colours. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: control characters distinguish binary data from text.
const CONTROL_CHARACTERS = /[\0-\x08\x0e-\x1a\x1c-\x1f]/;

/** Reads a file. @throws Error for one that the API would reject; the message contains the remedy */
export async function readFileAsAttachment(file: File): Promise<Attachment> {
  const { name } = file;
  if (IMAGE_MEDIA_TYPES.includes(file.type)) {
    const source = await readFileAsBase64Source(file, MAX_IMAGE_MB, 'Make it smaller first.');
    return { name, block: { type: 'image', source } };
  }
  const source =
    file.type === PDF_TYPE
      ? await readFileAsBase64Source(file, MAX_PDF_MB, 'Attach only the pages that matter.')
      : { type: 'text' as const, media_type: 'text/plain', data: await readTextFile(file) };
  return { name, block: { type: 'document', source, title: name } };
}

async function readFileAsBase64Source(file: File, mostMb: number, advice: string): Promise<AttachmentBlock['source']> {
  rejectLargerFile(file, mostMb, advice);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = '';
  for (let at = 0; at < bytes.length; at += 8_192) binary += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  return { type: 'base64', media_type: file.type, data: btoa(binary) };
}

/** Reads a text in UTF-8, or in UTF-16 if its first two bytes say so. The name of the file is not considered. */
async function readTextFile(file: File): Promise<string> {
  if (file.size === 0) throw new Error(`${file.name} is empty. Attach another file.`);
  const bytes = new Uint8Array(await file.slice(0, MAX_TEXT_MB * BYTES_PER_MB).arrayBuffer());
  const [first = 0, second = 0] = bytes;
  const encoding = { 65534: 'utf-16le', 65279: 'utf-16be' }[first * 256 + second] ?? 'utf-8';
  const text = decodeTextIfValid(bytes, encoding, file.size > bytes.length);
  if (text === undefined || CONTROL_CHARACTERS.test(text))
    throw new Error(`Claude cannot read ${file.name}. Attach a PNG, JPEG, GIF, WebP or PDF file, or a text in UTF-8.`);
  rejectLargerFile(file, MAX_TEXT_MB, 'Attach only the part that matters.');
  return text;
}

/** @param isPart whether the last character may be cut @returns undefined for bytes that are no text */
function decodeTextIfValid(bytes: Uint8Array, encoding: string, isPart: boolean): string | undefined {
  try {
    return new TextDecoder(encoding, { fatal: true }).decode(bytes, { stream: isPart });
  } catch {
    return undefined;
  }
}

function rejectLargerFile(file: File, mostMb: number, advice: string): void {
  if (file.size > mostMb * BYTES_PER_MB) throw new Error(`${file.name} is larger than ${mostMb} MB. ${advice}`);
}

/** @returns a URL that shows an image; undefined for an image on another server, which this page does not load */
export function createImageUrl(block: object): string | undefined {
  const { type, source } = block as Partial<AttachmentBlock>;
  if (type !== 'image' || source?.type !== 'base64') return undefined;
  return `data:${source.media_type};base64,${source.data}`;
}

/** @returns the files of a message that was sent, to send them again */
export function createAttachmentsFromBlocks(parts: readonly object[]): Attachment[] {
  const blocks = parts as readonly Partial<AttachmentBlock>[];
  return blocks.flatMap((block) =>
    block.type === 'image' || block.type === 'document'
      ? [{ name: block.title ?? (block.type === 'image' ? 'Image' : 'Document'), block: block as AttachmentBlock }]
      : [],
  );
}
