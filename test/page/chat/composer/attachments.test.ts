import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createAttachmentsFromBlocks, readFileAsAttachment } from '#page/chat/composer/attachments.ts';

const textFile = (name: string, ...parts: BlobPart[]) => new File(parts, name);
const refusal = (file: File) =>
  readFileAsAttachment(file).then(
    () => 'taken',
    ({ message }: Error) => message,
  );

test('a text file becomes a document with its name, and is recovered from the message', async () => {
  const printable = fc.string({ unit: 'binary', minLength: 1 }).filter((text) => !/[\p{Cc}\p{Cs}\ufeff]/u.test(text));
  await fc.assert(
    fc.asyncProperty(printable, fc.constantFrom('gates.csv', 'lock.ts', 'notes', 'a.svg'), async (text, name) => {
      const attachment = await readFileAsAttachment(textFile(name, `${text}\r\n\t${text}`));
      const source = { type: 'text', media_type: 'text/plain', data: `${text}\r\n\t${text}` };
      expect(attachment).toEqual({ name, block: { type: 'document', source, title: name } });
      expect(createAttachmentsFromBlocks([attachment.block])).toEqual([attachment]);
    }),
  );
});

test('a UTF-16 text file, as some spreadsheets write it, is decoded', async () => {
  const { block } = await readFileAsAttachment(
    textFile('gates.csv', new Uint8Array([0xff, 0xfe, 0x31, 0x04, 0x2c, 0x00])),
  );
  expect(block.source.data).toBe('б,');
});

test.each([
  ['a program', new Uint8Array([0x7f, 0x45, 0x4c, 0x46, 0, 1])],
  ['an archive', new Uint8Array([0x50, 0x4b, 3, 4])],
  ['a text in another encoding', new Uint8Array([0x4b, 0xf6, 0x6c, 0x6e])],
  ['a large program', new Uint8Array(3_000_000)],
])('%s with the name of a text file is rejected with the supported formats', async (_, bytes) => {
  expect(await refusal(textFile('notes.txt', bytes))).toBe(
    'Claude cannot read notes.txt. Attach a PNG, JPEG, GIF, WebP or PDF file, or a text in UTF-8.',
  );
});

test('a text file of exactly 2 MB is accepted, and a larger or empty one is rejected with advice', async () => {
  const half = 'ü'.repeat(512 * 1_024);
  expect(await refusal(textFile('log.txt', half, half))).toBe('taken');
  expect(await refusal(textFile('log.txt', 'a', half, half))).toBe(
    'log.txt is larger than 2 MB. Attach only the part that matters.',
  );
  expect(await refusal(textFile('log.txt'))).toBe('log.txt is empty. Attach another file.');
});
