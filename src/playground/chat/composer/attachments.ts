/** Reads files that are sent with a question: pictures and PDFs. */

/** A picture or a PDF as a block of the Messages API. */
type AttachmentBlock = {
  type: 'image' | 'document';
  source: { type: 'base64'; media_type: string; data: string };
  /** The name of a document's file. */
  title?: string;
};

export interface Attachment {
  name: string;
  block: AttachmentBlock;
}

const PICTURES = ['image/png', 'image/jpeg', 'image/gif', 'image/webp'];
const PDF = 'application/pdf';
export const ACCEPTED = [...PICTURES, PDF].join(',');
/** The API's limit for one image. */
const PICTURE_MB = 5;
/** The API takes requests of 32 MB, in which a file is a third larger. */
const PDF_MB = 20;
const BYTES_A_MB = 1024 * 1024;

/** Reads a file. @throws Error for one that the API would refuse; the message says what to do */
export async function readAttachment(file: File): Promise<Attachment> {
  const isPdf = file.type === PDF;
  if (!isPdf && !PICTURES.includes(file.type))
    throw new Error(`Claude cannot read ${file.name}. Attach a PNG, JPEG, GIF, WebP or PDF file.`);
  const most = isPdf ? PDF_MB : PICTURE_MB;
  if (file.size > most * BYTES_A_MB) throw new Error(`${file.name} is larger than ${most} MB. Make it smaller first.`);
  const bytes = new Uint8Array(await file.arrayBuffer());
  let binary = '';
  for (let at = 0; at < bytes.length; at += 8_192) binary += String.fromCharCode(...bytes.subarray(at, at + 8_192));
  const source = { type: 'base64' as const, media_type: file.type, data: btoa(binary) };
  const block: AttachmentBlock = isPdf ? { type: 'document', source, title: file.name } : { type: 'image', source };
  return { name: file.name, block };
}

/** @returns a URL that shows an image; undefined for an image on another server, which this page does not load */
export function pictureAddress(block: object): string | undefined {
  const { type, source } = block as Partial<AttachmentBlock>;
  if (type !== 'image' || source?.type !== 'base64') return undefined;
  return `data:${source.media_type};base64,${source.data}`;
}

/** @returns the files of a message that was sent, to send them again */
export function attachmentsIn(parts: readonly object[]): Attachment[] {
  const blocks = parts as readonly Partial<AttachmentBlock>[];
  return blocks.flatMap((block) =>
    block.type === 'image' || block.type === 'document'
      ? [{ name: block.title ?? (block.type === 'image' ? 'Image' : 'Document'), block: block as AttachmentBlock }]
      : [],
  );
}
