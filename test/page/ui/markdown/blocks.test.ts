import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MarkdownBlockSplitter } from '#page/ui/markdown/blocks.ts';

const FORMULA = '<span class="formula';
const htmlOf = (text: string) => htmls(new MarkdownBlockSplitter(), text);
const htmls = (blocks: MarkdownBlockSplitter, text: string) =>
  blocks.splitIntoBlocks(text).blocks.map((block) => (block.kind === 'code' ? block.code : block.html));
/** The ids of footnotes contain a number of their text. */
const unnumbered = (html: string) => html.replaceAll(/note-\d+-/g, 'note-');

test.each([
  ['$x^2$', 1],
  ['so $x_1 + x_2$, and $y$.', 2],
  [String.raw`\(a\) and \[b\]`, 2],
  ['text\n$$\na\n$$\nmore', 1],
  ['\\[\na\n\\]', 1],
  ['| a |\n|---|\n| $x$ |', 1],
  ['`$x$` and US$5$ and \\$x\\$', 0],
  ['$5 for each, or 6$ for all', 0],
  ['$10k-$20k (US$)', 0],
  ['```\n$$x$$\n```', 0],
  ['$x$5', 0],
])('%j has %i formulas', (text, count) => {
  expect(htmlOf(text).join('').split(FORMULA).length - 1).toBe(count);
});

test('amounts in dollars are never formulas', () => {
  const amount = fc.tuple(fc.nat(99_999), fc.constantFrom('', 'k', '.50', ',000')).map(([n, end]) => `$${n}${end}`);
  const between = fc.constantFrom(' and ', ' to ', '-', ', ', ' (or ', ' is more than ', '/');
  fc.assert(
    fc.property(fc.array(fc.tuple(amount, between), { minLength: 1, maxLength: 8 }), (said) => {
      expect(htmlOf(said.flat().join('')).join()).not.toContain(FORMULA);
    }),
  );
});

test('a formula with invalid TeX is shown as escaped code', () => {
  expect(htmlOf(String.raw`$\frac{<b>$`)).toEqual([
    String.raw`<p><span class="formula"><code>$\frac{&lt;b&gt;$</code></span></p>`,
  ]);
});

test('a streamed text has the same blocks as the complete text, including formulas and footnotes', () => {
  const parts = [
    'A $x$[^1] $$\ny\n$$',
    '| a |\n|---|\n| b |',
    '```ts\n1\n```',
    '$$\ny\n$$',
    'B\n$$\ny\n$$',
    '[^1]: Of it.',
    '- one',
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 12 }), (given) => {
      const growing = new MarkdownBlockSplitter();
      let text = '';
      for (const part of given) {
        text += `${part}\n\n`;
        htmls(growing, text);
      }
      expect(htmls(growing, text).map(unnumbered)).toEqual(htmlOf(text).map(unnumbered));
    }),
  );
});

test('thousands of unclosed formulas are shown as text, without searching each to the end of the text', () => {
  // Were each searched to the end of the text, this would not end.
  expect(htmlOf('\\[ a\n\n'.repeat(4_000)).length).toBe(4_000);
  expect(htmlOf('$$ a\n'.repeat(4_000)).length).toBeGreaterThan(0);
});

/** @returns how many elements of this name a text has. */
const times = (text: string, tag: string) => htmlOf(text).join('').split(`<${tag}>`).length - 1;

test.each([
  ['quotes', 'blockquote', 100, (depth: number) => `${'>'.repeat(depth)}a`],
  ['quotes with spaces', 'blockquote', 100, (depth: number) => `${'> '.repeat(depth)}a`],
  ['lists', 'ul', 50, (depth: number) => `${'- '.repeat(depth)}a`],
  [
    'lists in lines',
    'ul',
    50,
    (depth: number) => Array.from({ length: depth }, (_, at) => `${'  '.repeat(at)}- a`).join('\n'),
  ],
  ['numbers', 'li', 50, (depth: number) => `${'1. '.repeat(depth)}a`],
])('%s nest up to a hundred levels, and deeper ones are shown as written', (_, tag, most, nested) => {
  for (const depth of [1, most - 1, most]) expect(times(nested(depth), tag)).toBe(depth);
  expect(times(nested(200), tag)).toBe(most);
  expect(htmlOf(nested(200)).join('')).toContain('a</p>');
  expect(times(`**b**\n\n${nested(200)}`, 'strong')).toBe(1);
});

test('20,000 nested quotes lose no character', () => {
  const html = htmlOf('>'.repeat(20_000)).join('');
  expect(html.split('&gt;').length - 1).toBe(20_000 - 100);
});

test.each([
  ['*a*  ', 'em'],
  ['**a** ', 'strong'],
  ['~~a~~ ', 's'],
  ['a**b', 'strong'],
])('a paragraph of 5,000 times %s has emphasis to its end', (mark, tag) => {
  const count = 5_000 / (mark.split(/[*~]+/).length > 2 ? 1 : 2);
  expect(times(mark.repeat(5_000), tag)).toBe(count);
});

test.each(['[', '![', '[a](', '[*a', '<a@', '\\(', '\\[ a\n\n', '\\[\n', '$a ', 'a.', '!', '[^a', 'www.', 'a@b.'])(
  '20,000 characters of %j, which end nowhere, are shown as written',
  (mark) => {
    // Were each searched to the end of the text, this would not end.
    const text = mark.repeat(20_000 / mark.length).trim();
    const shown = htmlOf(text)
      .join('\n\n')
      .replaceAll(/<\/?p>/g, '')
      .replaceAll('&lt;', '<');
    expect(shown).toBe(text.replaceAll(/\\(?=[[(])/g, ''));
  },
);

test('a block of 200,000 characters is shown as written, and the blocks beside it as Markdown', () => {
  const long = '**a** <b> '.repeat(20_000).trim();
  const shown = htmlOf(`**a**\n\n${long}\n\n*b*`);
  expect(shown).toEqual([
    '<p><strong>a</strong></p>',
    `<p>${long.replaceAll('<', '&#60;').replaceAll('>', '&#62;')}</p>`,
    '<p><em>b</em></p>',
  ]);
});

test('an e-mail address is a link unless its name is extremely long', () => {
  expect(htmlOf('Ask ada@example.com')).toEqual(['<p>Ask <a href="mailto:ada@example.com">ada@example.com</a></p>']);
  const long = `${'a.'.repeat(20_000)}@example.com`;
  expect(htmlOf(long)).toEqual([`<p>${long}</p>`]);
});

describe('A text of 200,000 characters', () => {
  const sentence = '**「水門」**は10~20メートルです。[^1] See [the gate] at https://example.com/a。\n\n';
  const long = `${sentence.repeat(3_000)}[^1]: note\n\n[the gate]: https://example.com/gate\n`;

  test('is rendered in pieces, whose blocks are those of the whole text', () => {
    const limit = 12_000;
    const splitter = new MarkdownBlockSplitter();
    const counts: number[] = [];
    for (let isComplete = false; !isComplete; ) {
      const now = splitter.splitIntoBlocks(long, limit);
      isComplete = now.isComplete;
      counts.push(now.blocks.length);
    }
    const most = Math.ceil(limit / (sentence.length - 1)) + 1;
    const added = counts.map((count, index) => count - (counts[index - 1] ?? 0));
    expect(Math.max(...added)).toBeLessThanOrEqual(most);
    expect(counts.length).toBeGreaterThan(10);
    expect(htmls(splitter, long).map(unnumbered)).toEqual(htmlOf(long).map(unnumbered));
  });

  test('keeps its old blocks in view while a definition that it gets later changes them', () => {
    const splitter = new MarkdownBlockSplitter();
    const before = sentence.repeat(3_000);
    const { blocks } = splitter.splitIntoBlocks(before);
    const { blocks: changing, isComplete } = splitter.splitIntoBlocks(long, 12_000);
    expect(isComplete).toBe(false);
    expect(changing.length).toBe(blocks.length);
    expect(htmls(splitter, long).map(unnumbered)).toEqual(htmlOf(long).map(unnumbered));
  });
});

test('a text ends in the same blocks whether it comes whole or character by character', () => {
  const pieces = [
    'a',
    ' ',
    '\n',
    '\n\n',
    '\r\n',
    '# ',
    '- ',
    '1. ',
    '> ',
    '    ',
    '| a | b |\n|---|---|\n',
    '|',
    '---',
    '===',
    '```',
    '~~~',
    '**「水」**',
    '*',
    '_',
    '~~',
    '`',
    '[a]',
    '[^1]',
    '[a]: /b',
    '[^1]: c',
    '"t',
    '"',
    '$',
    '$$',
    '\\[',
    '\\]',
    'https://a.b/',
    '。',
    '<think>',
    '[ ] ',
    '![',
    '](',
    ')',
    '***',
    '+',
    ':',
    '=',
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...pieces), { maxLength: 30 }), (all) => {
      const text = all.join('');
      const growing = new MarkdownBlockSplitter();
      for (let end = 1; end < text.length; end += 1) growing.splitIntoBlocks(text.slice(0, end));
      expect(htmls(growing, text).map(unnumbered)).toEqual(htmlOf(text).map(unnumbered));
    }),
    { numRuns: 300 },
  );
});
