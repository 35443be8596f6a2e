import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { MarkdownBlockSplitter } from '#page/ui/markdown-blocks.ts';

const FORMULA = '<span class="formula';
const htmlOf = (text: string) => htmls(new MarkdownBlockSplitter(), text);
const htmls = (blocks: MarkdownBlockSplitter, text: string) =>
  blocks.splitIntoBlocks(text).map((block) => (block.kind === 'code' ? block.code : block.html));
/** What is loaded with the first text that needs it is there. */
const loaded = async () => {
  await vi.waitFor(() => expect(htmlOf('$x$').join()).toContain(FORMULA), 60_000);
  await vi.waitFor(() => expect(htmlOf('a[^1]\n\n[^1]: b').join()).toContain('<sup>'), 60_000);
};

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
])('%j has %i formulas', async (text, count) => {
  await loaded();
  expect(htmlOf(text).join('').split(FORMULA).length - 1).toBe(count);
});

test('amounts in dollars are never formulas', async () => {
  await loaded();
  const amount = fc.tuple(fc.nat(99_999), fc.constantFrom('', 'k', '.50', ',000')).map(([n, end]) => `$${n}${end}`);
  const between = fc.constantFrom(' and ', ' to ', '-', ', ', ' (or ', ' is more than ', '/');
  fc.assert(
    fc.property(fc.array(fc.tuple(amount, between), { minLength: 1, maxLength: 8 }), (said) => {
      expect(htmlOf(said.flat().join('')).join()).not.toContain(FORMULA);
    }),
  );
});

test('a formula with invalid TeX is shown as escaped code', async () => {
  await loaded();
  expect(htmlOf(String.raw`$\frac{<b>$`)).toEqual([
    String.raw`<p><span class="formula"><code>$\frac{&#60;b&#62;$</code></span></p>`,
  ]);
});

test('a streamed text has the same blocks as the complete text, including formulas and footnotes', async () => {
  await loaded();
  const parts = [
    'A $x$[^1] $$\ny\n$$',
    '| a |\n|---|\n| b |',
    '```ts\n1\n```',
    '$$\ny\n$$',
    'B\n$$\ny\n$$',
    '[^1]: Of it.',
    '- one',
  ];
  const unnumbered = (all: string[]) => all.map((html) => html.replaceAll(/note-\d+-/g, 'note-'));
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...parts), { maxLength: 12 }), (given) => {
      const growing = new MarkdownBlockSplitter();
      let text = '';
      for (const part of given) {
        text += `${part}\n\n`;
        htmls(growing, text);
      }
      expect(unnumbered(htmls(growing, text))).toEqual(unnumbered(htmlOf(text)));
    }),
  );
});

test('thousands of unclosed formulas are shown as text, without searching each to the end of the text', async () => {
  await loaded();
  // Were each searched to the end of the text, this would not end.
  expect(htmlOf('\\[ a\n\n'.repeat(4_000)).length).toBe(4_000);
  expect(htmlOf('$$ a\n'.repeat(4_000)).length).toBeGreaterThan(0);
});

/** @returns how many elements of this name a text has. */
const times = (text: string, tag: string) => htmlOf(text).join('').split(`<${tag}>`).length - 1;

test.each([
  ['quotes', 'blockquote', (depth: number) => `${'>'.repeat(depth)}a`],
  ['quotes with spaces', 'blockquote', (depth: number) => `${'> '.repeat(depth)}a`],
  ['lists', 'ul', (depth: number) => `${'- '.repeat(depth)}a`],
  [
    'lists in lines',
    'ul',
    (depth: number) => Array.from({ length: depth }, (_, at) => `${'  '.repeat(at)}- a`).join('\n'),
  ],
  ['numbers', 'li', (depth: number) => `${'1. '.repeat(depth)}a`],
])('%s nest up to 50 levels, and deeper ones are shown as written', (_, tag, nested) => {
  for (const depth of [1, 49, 50]) expect(times(nested(depth), tag)).toBe(depth);
  expect(times(nested(300), tag)).toBe(51);
  expect(times(`**b**\n\n${nested(300)}`, 'strong')).toBe(1);
});

test('20,000 nested quotes lose no character', () => {
  const html = htmlOf('>'.repeat(20_000)).join('');
  expect(html.split('&gt;').length - 1).toBe(20_000 - 51);
});

test.each([
  ['_a__', 'em'],
  ['*a* ', 'em'],
  ['**a** ', 'strong'],
  ['~~a~~ ', 'del'],
  ['a**b', 'strong'],
])('a paragraph with up to a thousand marks of %s has emphasis, and one with more is shown as written', (mark, tag) => {
  const marks = mark.match(/[*_~]+/g)?.length ?? 0;
  const some = mark.repeat(marks === 1 ? 1_000 : 400);
  expect(times(some, tag)).toBeGreaterThan(0);
  const many = mark.repeat(10_000);
  expect(htmlOf(`${some}\n\n${many}|`).at(-1)).toBe(`<p>${many}|</p>`);
  expect(times(`${many}\n\n- ${mark.repeat(4)}`, tag)).toBeGreaterThan(0);
});

test('long runs of marks, and an extremely long word before an @, are shown as written', () => {
  for (const text of [
    `a${'*'.repeat(20_000)}a${'*'.repeat(20_000)}`,
    `${'a.'.repeat(20_000)}@b`,
    `${'QUJD/+'.repeat(7_000)}@b`,
    `${'!'.repeat(20_000)} **b**`,
  ]) {
    expect(htmlOf(text)).toEqual([`<p>${text}</p>`]);
  }
  expect(htmlOf('Ask ada@example.com')).toEqual(['<p>Ask <a href="mailto:ada@example.com">ada@example.com</a></p>']);
});
