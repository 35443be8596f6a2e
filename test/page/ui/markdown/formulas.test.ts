// @vitest-environment jsdom
import { expect, test } from 'vitest';
import { MarkdownBlockSplitter } from '#page/ui/markdown/blocks.ts';
import { renderFormulas } from '#page/ui/markdown/formulas.ts';
import { sanitizeHtml } from '#page/ui/sanitize.ts';

const styles = () => document.head.querySelectorAll<HTMLLinkElement>('link[rel=stylesheet]');
const htmlOf = (text: string) =>
  new MarkdownBlockSplitter()
    .splitIntoBlocks(text)
    .blocks.flatMap((block) => (block.kind === 'text' ? block.html : []))
    .join('');

/**
 * @param event what becomes of the style
 * @returns an answer as it is shown
 */
async function shown(text: string, event = 'load'): Promise<HTMLElement> {
  const root = document.createElement('div');
  root.append(sanitizeHtml(htmlOf(text)));
  const formulas = [...root.querySelectorAll('.formula, .formula-block')];
  if (formulas.length > 0) renderFormulas(formulas);
  for (const style of styles()) style.dispatchEvent(new Event(event));
  // What waits for it is done before the page is drawn.
  await Promise.resolve();
  await Promise.resolve();
  return root;
}

/** @returns what is seen of a formula: its nodes for screen readers are not */
function seen(root: HTMLElement): string[] {
  return [...root.querySelectorAll('.katex-html')].map(({ textContent }) => textContent);
}

test('a formula is shown as text until its stylesheet has loaded, and a failed load is retried with the next formula', async () => {
  expect((await shown('No formula, $5.')).textContent).toBe('No formula, $5.');
  expect(styles().length).toBe(0);
  const code = async (event: string) => (await shown('$x$', event)).querySelector('p > .formula > code')?.textContent;
  expect([await code('none'), styles().length]).toEqual(['$x$', 1]);
  expect(new URL(styles()[0]?.href ?? '').pathname).toBe('/page/formulas.css');
  expect([await code('error'), styles().length]).toEqual(['$x$', 0]);
  expect([seen(await shown('$x$')), styles().length]).toEqual([['x'], 1]);
});

test('function names are upright and spaced, with or without a backslash, and words inside \\text are unchanged', async () => {
  for (const tex of [String.raw`$O(n \log n)$`, '$O(n log n)$', String.raw`\(O(n \log n)\)`]) {
    const root = await shown(tex);
    expect([root.querySelectorAll('.mop').length, root.querySelectorAll('.katex-html .mspace').length]).toEqual([1, 2]);
    expect(root.querySelector('mi:nth-of-type(3)')?.textContent, tex).toBe('log');
  }
  const text = await shown(String.raw`$\text{the log of it}, logo, \log x$`);
  expect(seen(text)[0]?.replaceAll('\u00a0', ' ')).toBe('the log of it,logo,logx');
});

test('a display formula is a block, invalid TeX is shown as written, and no style or link comes from the formula', async () => {
  const root = await shown(String.raw`$\vec{x}$ and

$$
\left(\frac{\frac{a}{b}}{\frac{\frac{c}{d}}{e}}\right)
$$

and $\frac{<b>$, $\htmlStyle{color:red}{x}$, $\href{javascript:alert(1)}{y}$`);
  expect(root.querySelectorAll('[data-style]').length).toBe(0);
  expect(root.querySelector<SVGElement>('.formula svg')?.style.width).toBe('0.471em');
  expect(root.querySelectorAll('.formula-block > .katex-display').length).toBe(1);
  expect(root.querySelector('.formula > code')?.textContent).toBe(String.raw`$\frac{<b>$`);
  expect(root.querySelectorAll('[href], b, [onclick]').length).toBe(0);
});

test('a style attribute inside the text of a formula is shown as text', async () => {
  const root = await shown(String.raw`$\text{a style="color:red" b}$`);
  expect(seen(root)[0]?.replaceAll('\u00a0', ' ').replaceAll('”', '"')).toBe('a style="color:red" b');
  expect(root.querySelector('[style*=red]')).toBeNull();
});
