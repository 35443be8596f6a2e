import fc from 'fast-check';
import { expect, test, vi } from 'vitest';
import { MarkdownBlocks } from '../../../src/playground/ui/markdown-blocks.ts';

const htmlOf = (text: string) => htmls(new MarkdownBlocks(), text);
const htmls = (blocks: MarkdownBlocks, text: string) =>
  blocks.split(text).map((block) => (block.kind === 'code' ? block.code : block.html));
/** What is loaded with the first text that needs it is there. */
const loaded = async () => {
  await vi.waitFor(() => expect(htmlOf('$x$').join()).toContain('<math'), 60_000);
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
  expect(htmlOf(text).join('').split('<math').length - 1).toBe(count);
});

test('amounts of money are no formulas, whatever they are', async () => {
  await loaded();
  const amount = fc.tuple(fc.nat(99_999), fc.constantFrom('', 'k', '.50', ',000')).map(([n, end]) => `$${n}${end}`);
  const between = fc.constantFrom(' and ', ' to ', '-', ', ', ' (or ', ' is more than ', '/');
  fc.assert(
    fc.property(fc.array(fc.tuple(amount, between), { minLength: 1, maxLength: 8 }), (said) => {
      expect(htmlOf(said.flat().join('')).join()).not.toContain('<math');
    }),
  );
});

test('what is no TeX is shown as it was written', async () => {
  await loaded();
  expect(htmlOf(String.raw`$\frac{<b>$`)).toEqual([String.raw`<p><code>$\frac{&#60;b&#62;$</code></p>`]);
});

test('a text that grows has the blocks that it has as a whole, with formulas and footnotes', async () => {
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
      const growing = new MarkdownBlocks();
      let text = '';
      for (const part of given) {
        text += `${part}\n\n`;
        htmls(growing, text);
      }
      expect(unnumbered(htmls(growing, text))).toEqual(unnumbered(htmlOf(text)));
    }),
  );
});

test('thousands of formulas that do not end are text, each of which is looked through once', async () => {
  await loaded();
  // Were each searched to the end of the text, this would not end.
  expect(htmlOf('\\[ a\n\n'.repeat(4_000)).length).toBe(4_000);
  expect(htmlOf('$$ a\n'.repeat(4_000)).length).toBeGreaterThan(0);
});
