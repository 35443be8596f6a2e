// @vitest-environment jsdom
import { expect, test } from 'vitest';
import { MarkdownBlockSplitter } from '#page/ui/markdown/blocks.ts';
import { sanitizeHtml } from '#page/ui/sanitize.ts';

/** @returns an answer as it is shown */
function shown(markdown: string): HTMLElement {
  const root = document.createElement('div');
  for (const block of new MarkdownBlockSplitter().splitIntoBlocks(markdown).blocks)
    if (block.kind === 'text') root.append(sanitizeHtml(block.html));
  return root;
}

test('a link in a response opens in a new tab and sends no referrer', () => {
  const link = shown('[gates](https://example.com/a)').querySelector('a');
  expect(['href', 'target', 'rel'].map((name) => link?.getAttribute(name))).toEqual([
    'https://example.com/a',
    '_blank',
    'noopener noreferrer',
  ]);
});

test.each([
  'javascript:alert(1)',
  'JavaScript:alert(1)',
  'java&#10;script:alert(1)',
  '&#1;javascript:alert(1)',
  'data:text/html,<script>alert(1)</script>',
  'vbscript:x',
  'file:///etc/passwd',
  '/accounts',
  '#/budget',
])('%s is not rendered as a link', (address) => {
  for (const root of [
    shown(`[here](${address})`),
    shown(`[here](<${address}>)`),
    sanitized(`<a href="${address}">here</a>`),
  ]) {
    expect(root.querySelectorAll('[href]').length, root.innerHTML).toBe(0);
    expect(root.textContent).toContain('here');
  }
});

function sanitized(html: string): HTMLElement {
  const root = document.createElement('div');
  root.append(sanitizeHtml(html));
  return root;
}

test('HTML in a response is shown as text and an image as a link, so that nothing loads or runs', () => {
  const root = shown(
    '<img src=x onerror="alert(1)"><script>alert(2)</script>\n\n![a picture](https://example.com/t.png)',
  );
  expect(root.textContent).toContain('<script>');
  expect(root.querySelectorAll('img, script, [onerror]').length).toBe(0);
  expect(root.querySelector('a')?.textContent).toBe('a picture');
});

test.each([
  '<form action="https://example.com"><input name="token"><button>Go</button></form>',
  '<img src="https://example.com/t.png"><svg><image href="https://example.com/t.png"/></svg><style>p{}</style>',
  '<iframe src="https://example.com"></iframe><object data="x"></object><video src="x"></video>',
  '<math><mi style="color:red" class="katex">x</mi></math><span class="katex-display" data-style="top:0">x</span>',
  '<p style="background:url(https://example.com)" onclick="alert(1)" class="fault" id="draft">Hi</p>',
])('removes from %s everything that loads, runs, submits, or imitates the page', (html) => {
  const root = sanitized(html);
  const names = 'form, input, button, img, svg, image, style, iframe, object, video';
  expect(
    root.querySelectorAll(`${names}, [style], [onclick], [id], .fault, [class^=katex], math, [data-style]`).length,
    root.innerHTML,
  ).toBe(0);
});

test('tables keep their alignment, lists keep their first number, and checkboxes become characters', () => {
  const root = shown('| gate | minutes |\n|---|---:|\n| upper | 6 |\n\n3. Open it\n4. Wait\n\n- [x] Build\n- [ ] Open');
  expect([...root.querySelectorAll('td')].map((cell) => cell.getAttribute('align'))).toEqual([null, 'right']);
  expect(root.querySelector('ol')?.start).toBe(3);
  expect([...root.querySelectorAll('ul li')].map(({ textContent }) => textContent?.trim())).toEqual([
    '☑ Build',
    '☐ Open',
  ]);
});
