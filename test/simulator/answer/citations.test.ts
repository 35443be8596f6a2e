import type Anthropic from '@anthropic-ai/sdk';
import { expect, test } from 'vitest';
import { clientOf, model, simulated } from '../api.ts';

const client = clientOf(simulated());
const citations = { enabled: true };
const QUESTION = 'How long is the warranty of the lamp?';
const RULES = 'The lamp costs 40 francs. The warranty of the lamp is two years. Returns are free.';
const SENTENCE = 'The warranty of the lamp is two years.';
const plain = { type: 'text' as const, media_type: 'text/plain' as const, data: RULES };
const first = { type: 'document' as const, title: 'Prices', source: { ...plain, data: 'Lamps: 40.' }, citations };
const texts = [
  { type: 'text' as const, text: 'Nothing here.' },
  { type: 'text' as const, text: SENTENCE },
];

async function citedFrom(...content: Anthropic.ContentBlockParam[]) {
  const messages = [{ role: 'user' as const, content: [...content, { type: 'text' as const, text: QUESTION }] }];
  const request = { model, max_tokens: 2_000, messages };
  const message = await client.messages.create(request);
  const streamed = await client.messages.stream(request).finalMessage();
  expect(streamed.content).toEqual(message.content);
  return message.content.flatMap((block) => (block.type === 'text' && block.citations ? [block] : []));
}

test('cites the sentence closest to the question from a text document, with its position', async () => {
  const [cited, ...others] = await citedFrom(first, { type: 'document', title: 'Rules', source: plain, citations });
  expect(others).toEqual([]);
  expect(cited?.text).toBe(SENTENCE);
  const [citation] = cited?.citations ?? [];
  expect(citation).toMatchObject({
    type: 'char_location',
    cited_text: SENTENCE,
    document_index: 1,
    document_title: 'Rules',
  });
  const { start_char_index, end_char_index } = citation as Anthropic.CitationCharLocation;
  expect(RULES.slice(start_char_index, end_char_index)).toBe(SENTENCE);
});

test('cites a block of a document with blocks, and of a search result', async () => {
  const [block] = await citedFrom({ type: 'document', source: { type: 'content', content: texts }, citations });
  const place = { cited_text: SENTENCE, start_block_index: 1, end_block_index: 2 };
  expect(block?.citations).toMatchObject([{ type: 'content_block_location', document_title: null, ...place }]);
  const [found] = await citedFrom({
    type: 'search_result',
    source: 'https://a.example',
    title: 'A',
    content: texts,
    citations,
  });
  expect(found?.citations).toMatchObject([
    { type: 'search_result_location', source: 'https://a.example', title: 'A', search_result_index: 0, ...place },
  ]);
});

test('cites a page of a PDF', async () => {
  const data = btoa('%PDF-1.4 /Type /Page ');
  const source = { type: 'base64' as const, media_type: 'application/pdf' as const, data };
  const [page] = await citedFrom({ type: 'document', title: 'Plan', source, citations });
  expect(page?.citations).toMatchObject([{ type: 'page_location', start_page_number: 1, end_page_number: 2 }]);
});

test('cites nothing if no document enables citations', async () => {
  expect(await citedFrom({ type: 'document', source: plain })).toEqual([]);
});
