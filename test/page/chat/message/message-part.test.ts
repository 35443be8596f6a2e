// @vitest-environment jsdom
import '#test/support/without-layout.ts';
import { h } from 'preact';
import { expect, test } from 'vitest';
import { MessageBlock } from '#page/chat/message/message-part.tsx';
import { renderForTest } from '#test/support/dom.ts';

test('a text block shows its citations with their sources', () => {
  const citations = [
    { type: 'char_location', cited_text: 'Two years.', document_index: 0, document_title: 'Rules' },
    { type: 'search_result_location', cited_text: 'Three.', title: null, source: 'https://a.example' },
    { type: 'page_location', cited_text: 'Four.', document_title: null },
  ];
  const root = renderForTest(h(MessageBlock, { part: { type: 'text', text: 'So it is.', citations } }));
  const quotes = [...root.querySelectorAll('blockquote')].map(({ textContent }) => textContent);
  expect(quotes).toEqual(['Two years.Rules', 'Three.https://a.example', 'Four.A document without a title']);
  expect(
    renderForTest(h(MessageBlock, { part: { type: 'text', text: 'So.', citations: [] } })).querySelector('blockquote'),
  ).toBe(null);
});
