// In workerd: the streams are the runtime's.
import 'cloudflare:workers';

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { appendErrorLineIfCut } from '#edge/plugins/transfer/export-stream.ts';
import { tryAsyncCases } from '#test/support/property-cases.ts';

const lines = ['{"type":"conversation","id":"c"}', '{"type":"message","content":"{\\"type\\":\\"end\\"}"}'];
const END = '{"type":"end","messages":1}';
const encoder = new TextEncoder();

async function carried(text: string, places: number[], breaks: boolean): Promise<string> {
  const bytes = encoder.encode(text);
  const cuts = [0, ...places.filter((place) => place < bytes.length).sort((a, b) => a - b), bytes.length];
  const pieces = cuts.slice(1).map((to, at) => bytes.slice(cuts[at], to));
  const source = new ReadableStream<Uint8Array>({
    pull(controller) {
      const piece = pieces.shift();
      if (piece && piece.length > 0) controller.enqueue(piece);
      else if (piece) this.pull?.(controller);
      else if (breaks) controller.error(new Error('the object died'));
      else controller.close();
    },
  });
  const work: Promise<unknown>[] = [];
  const answer = appendErrorLineIfCut(source, 'req_1', (each) => work.push(each));
  const told = await new Response(answer).text();
  await Promise.all(work);
  return told;
}

test('passes a complete export through unchanged, however it is split into chunks', async () => {
  const text = `${[...lines, END].join('\n')}\n`;
  await tryAsyncCases(50, fc.array(fc.nat(text.length), { maxLength: 10 }), async (places) => {
    expect(await carried(text, places, false)).toBe(text);
  });
});

test('ends an export that breaks off at any byte with an error line, and changes no byte before it', async () => {
  const text = `${[...lines, END].join('\n')}\n`;
  for (let length = 0; length < text.length; length += 1) {
    for (const breaks of [false, true]) {
      const told = await carried(
        text.slice(0, length),
        [3, length - 1].filter((place) => place > 0),
        breaks,
      );
      expect(told.startsWith(text.slice(0, length))).toBe(true);
      const last = told.trimEnd().split('\n').at(-1) ?? '';
      expect(JSON.parse(last)).toMatchObject({ type: 'error', error: { type: 'api_error' }, request_id: 'req_1' });
    }
  }
});
