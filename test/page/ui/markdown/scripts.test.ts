// @vitest-environment jsdom
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { describe, expect, test } from 'vitest';
import { type MarkdownBlock, MarkdownBlockSplitter } from '#page/ui/markdown/blocks.ts';
import { sanitizeHtml } from '#page/ui/sanitize.ts';

/** A script with a word, a quotation and a full stop. */
interface Script {
  name: string;
  word: string;
  quote: string;
  stop: string;
  /** Whether emphasis also begins and ends between its word and punctuation. */
  isFriendly: boolean;
}

const SCRIPTS: readonly Script[] = [
  { name: 'Han', word: '水门', quote: '“闸”（北）', stop: '。', isFriendly: true },
  { name: 'kana', word: 'すいもん', quote: '「カナ」', stop: '。', isFriendly: true },
  { name: 'Hangul', word: '수문', quote: '"갑문"(북)', stop: '.', isFriendly: true },
  { name: 'Thai', word: 'ราคา', quote: '"100"', stop: '.', isFriendly: false },
  { name: 'Arabic', word: 'سعر', quote: '«باب»', stop: '؟', isFriendly: false },
  { name: 'Hebrew', word: 'מחיר', quote: '"שער"', stop: '.', isFriendly: false },
  { name: 'Devanagari', word: 'हिन्दी', quote: '"द्वार"', stop: '।', isFriendly: false },
  { name: 'Cyrillic', word: 'шлюз', quote: '«ворота»', stop: '.', isFriendly: false },
  { name: 'Greek', word: 'πύλη', quote: '«νερό»', stop: '.', isFriendly: false },
  { name: 'Latin with diacritics', word: 'žluťoučký', quote: '„kůň“', stop: '.', isFriendly: false },
  // Emoji are symbols, which CommonMark treats as punctuation.
  { name: 'emoji sequences', word: '👩‍👩‍👧', quote: '"👍🏽"', stop: '!', isFriendly: true },
  { name: 'mixed scripts', word: '水Go门', quote: '「API」', stop: '。', isFriendly: true },
];

const paragraph = (html: string) => `<p>${html}</p>`;
const link = (address: string, text = address) =>
  `<a href="${address}" target="_blank" rel="noopener noreferrer">${text}</a>`;

/** What a model writes in any script, with what is shown. */
const CONSTRUCTS: Record<string, (script: Script) => [source: string, html: string]> = {
  'strong words': ({ word }) => [`${word}**${word}**${word}`, paragraph(`${word}<strong>${word}</strong>${word}`)],
  'a strong quotation': ({ word, quote, isFriendly }) => [
    `${word}**${quote}**${word}`,
    paragraph(isFriendly ? `${word}<strong>${quote}</strong>${word}` : `${word}**${quote}**${word}`),
  ],
  'a strong quotation beside spaces': ({ word, quote }) => [
    `${word} **${quote}** ${word}`,
    paragraph(`${word} <strong>${quote}</strong> ${word}`),
  ],
  'an emphasized sentence': ({ word, stop, isFriendly }) => [
    `*${word}${stop}*${word}`,
    paragraph(isFriendly ? `<em>${word}${stop}</em>${word}` : `*${word}${stop}*${word}`),
  ],
  'a strong percentage': ({ word, isFriendly }) => [
    `${word}**25%**${word}`,
    paragraph(isFriendly ? `${word}<strong>25%</strong>${word}` : `${word}**25%**${word}`),
  ],
  'strong code': ({ word, isFriendly }) => [
    `${word}**\`npm\`**${word}`,
    paragraph(isFriendly ? `${word}<strong><code>npm</code></strong>${word}` : `${word}**<code>npm</code>**${word}`),
  ],
  'a struck quotation': ({ word, quote, isFriendly }) => [
    `${word}~~${quote}~~${word}`,
    paragraph(isFriendly ? `${word}<s>${quote}</s>${word}` : `${word}~~${quote}~~${word}`),
  ],
  'ranges with single tildes': ({ word }) => [
    `10~20${word}, ~30~40${word}~`,
    paragraph(`10~20${word}, ~30~40${word}~`),
  ],
  'a bare link before a full stop': ({ word, stop }) => [
    `${word} https://example.com/a${stop} ${word}`,
    paragraph(`${word} ${link('https://example.com/a')}${stop} ${word}`),
  ],
  'a bare link to a page named by a word': ({ word }) => [
    `https://example.com/wiki/${word}`,
    paragraph(link(`https://example.com/wiki/${encodeURI(word)}`, `https://example.com/wiki/${word}`)),
  ],
  'a strong bare link': ({ word }) => [
    `**https://example.com/a**${word}`,
    paragraph(`<strong>${link('https://example.com/a')}</strong>${word}`),
  ],
  'a strong link': ({ word, isFriendly }) => [
    `${word}**[${word}](https://example.com/a)**${word}`,
    paragraph(
      isFriendly
        ? `${word}<strong>${link('https://example.com/a', word)}</strong>${word}`
        : `${word}**${link('https://example.com/a', word)}**${word}`,
    ),
  ],
  'cells of a table': ({ word, quote }) => [
    `| ${word} | **${quote}** |\n|---|--:|\n| 10~20${word} | ~~${word}~~ |`,
    `<table><thead><tr><th>${word}</th><th align="right"><strong>${quote}</strong></th></tr></thead><tbody><tr><td>10~20${word}</td><td align="right"><s>${word}</s></td></tr></tbody></table>`,
  ],
  'items of a list': ({ word, quote, stop }) => [
    `- **${quote}** ${word}\n- [x] ${word}${stop}`,
    `<ul><li><strong>${quote}</strong> ${word}</li><li><span class="tick">☑</span> ${word}${stop}</li></ul>`,
  ],
  'a heading': ({ word, quote, isFriendly }) => [
    `## ${word}**${quote}**`,
    `<h2>${isFriendly ? `${word}<strong>${quote}</strong>` : `${word}**${quote}**`}</h2>`,
  ],
  'a price and a formula': ({ word }) => [
    `${word} $5, $6 ${word} $x_1$`,
    paragraph(`${word} $5, $6 ${word} <span class="formula"><code>$x_1$</code></span>`),
  ],
};

/** The DOM of an answer, without the line breaks between elements. */
function show(blocks: readonly MarkdownBlock[]): string {
  const root = document.createElement('div');
  for (const block of blocks) root.append(block.kind === 'text' ? sanitizeHtml(block.html) : block.code);
  return root.innerHTML.replaceAll(/(?<=[a-z\d]>)\n+(?=<)/g, '').replaceAll('&amp;', '&');
}

const showWhole = (source: string) => show(new MarkdownBlockSplitter().splitIntoBlocks(source).blocks);

function showGrowing(source: string): string {
  const splitter = new MarkdownBlockSplitter();
  // By units of UTF-16, so that a surrogate pair comes in two parts, too.
  for (let end = 1; end < source.length; end += 1) splitter.splitIntoBlocks(source.slice(0, end));
  return show(splitter.splitIntoBlocks(source).blocks);
}

describe.each(SCRIPTS)('Text in $name', (script) => {
  test.each(Object.entries(CONSTRUCTS))('shows %s, also while it grows', (_, make) => {
    const [source, html] = make(script);
    expect(showWhole(source), source).toBe(html);
    expect(showGrowing(source), source).toBe(html);
  });
});

const EXAMPLE = link('https://example.com/a');

test.each([
  ['`10~20명` 10~20명 또는 30~40명', '<code>10~20명</code> 10~20명 또는 30~40명'],
  ['约10~20个，或30~40个', '约10~20个，或30~40个'],
  ['これは**「重要」**な点です。', 'これは<strong>「重要」</strong>な点です。'],
  ['**中文文本（带括号）。**这句子', '<strong>中文文本（带括号）。</strong>这句子'],
  ['**「A」**なので**「B」**', '<strong>「A」</strong>なので<strong>「B」</strong>'],
  ['*「A」*なので*「B」*', '<em>「A」</em>なので<em>「B」</em>'],
  ['~~「A」~~なので~~「B」~~', '<s>「A」</s>なので<s>「B」</s>'],
  ['***「A」***なので', '<em><strong>「A」</strong></em>なので'],
  ['**〈𠮷〉**𠮷', '<strong>〈𠮷〉</strong>𠮷'],
  ['**葛󠄀（くず）**葛󠄀', '<strong>葛󠄀（くず）</strong>葛󠄀'],
  ['価格は㈱**（税込）**です', '価格は㈱<strong>（税込）</strong>です'],
  ['이것은 **"중요"**합니다.', '이것은 <strong>"중요"</strong>합니다.'],
  ['**ﾊﾝｶｸ｡**です', '<strong>ﾊﾝｶｸ｡</strong>です'],
  ['file_name_水門_a', 'file_name_水門_a'],
  ['见https://example.com/a。谢谢', `见${EXAMPLE}。谢谢`],
  ['（https://example.com/a）后面', `（${EXAMPLE}）后面`],
  ['「https://example.com/a」です', `「${EXAMPLE}」です`],
  ['见https://example.com/a，或https://example.com/a；', `见${EXAMPLE}，或${EXAMPLE}；`],
  ['https://example.com/a～b', `${EXAMPLE}～b`],
  ['https://example.com/a　後', `${EXAMPLE}　後`],
  ['*见https://example.com/a*。', `<em>见${EXAMPLE}</em>。`],
  ['见 https://例え.jp/a。', `见 ${link('https://xn--r8jz45g.jp/a', 'https://例え.jp/a')}。`],
  [
    '见https://ja.wikipedia.org/wiki/水門_(東京)、',
    `见${link('https://ja.wikipedia.org/wiki/%E6%B0%B4%E9%96%80_(%E6%9D%B1%E4%BA%AC)', 'https://ja.wikipedia.org/wiki/水門_(東京)')}、`,
  ],
  // The dot between katakana words is part of titles, like a letter. So is a dash between names.
  ...['レオナルド・ダ・ヴィンチ', 'Michelson–Morley_experiment', 'Café_(Paris)', 'L’Équipe'].map((title) => [
    `见https://example.com/wiki/${title}。`,
    `见${link(`https://example.com/wiki/${encodeURI(title)}`, `https://example.com/wiki/${title}`)}。`,
  ]),
  ['‘https://example.com/a’后面', `‘${EXAMPLE}’后面`],
  ['“https://example.com/a”后面', `“${EXAMPLE}”后面`],
  ['https://example.com/a——谢谢，https://example.com/a……', `${EXAMPLE}——谢谢，${EXAMPLE}……`],
  ['https://example.com/__init__.py', link('https://example.com/__init__.py')],
  ['https://example.com/%E6%B0%B4', link('https://example.com/%E6%B0%B4')],
  ['联系ada@example.com。谢谢', `联系${link('mailto:ada@example.com', 'ada@example.com')}。谢谢`],
  ['见www.example.com/a。谢谢', `见${link('http://www.example.com/a', 'www.example.com/a')}。谢谢`],
  ['npm i hono@4.1.2, README.md', 'npm i hono@4.1.2, README.md'],
  ['价格是$5和6$', '价格是$5和6$'],
  ['Map<string, List<T>> and <your-key>', 'Map&lt;string, List&lt;T&gt;&gt; and &lt;your-key&gt;'],
  ['<img alt="*水* _门_"> *水*', '&lt;img alt="*水* _门_"&gt; <em>水</em>'],
  ['<a href="https://example.com/a">水</a>', '&lt;a href="https://example.com/a"&gt;水&lt;/a&gt;'],
  ['[水](javascript:alert(1))', '[水](javascript:alert(1))'],
  ['[![水门](https://example.com/t.png)](https://example.com/a)', link('https://example.com/a', '水门')],
  ['![水门](https://example.com/t.png)', link('https://example.com/t.png', '水门')],
])('%j is shown as meant, also while it grows', (source, html) => {
  expect(showWhole(source)).toBe(paragraph(html));
  expect(showGrowing(source)).toBe(paragraph(html));
});

test('thinking in tags keeps its tags, and the Markdown in and after it is shown', () => {
  expect(showWhole('<think>\n「A」**か**\n</think>\nはい、**B**')).toBe(
    paragraph('&lt;think&gt;\n「A」<strong>か</strong>\n&lt;/think&gt;\nはい、<strong>B</strong>'),
  );
});

test('the examples of the amendment have no asterisk left', () => {
  const main = createRequire(import.meta.url).resolve('markdown-it-cjk-friendly');
  const readme = readFileSync(new URL('../README.md', `file://${main}`), 'utf8');
  const examples = [...readme.matchAll(/^```md\n(.*?)^```/gms)].flatMap(([, text = '']) => text.split('\n\n'));
  expect(examples.length).toBeGreaterThan(2);
  for (const example of examples) {
    expect(showWhole(example)).toContain('<strong>');
    expect(showWhole(example)).not.toContain('**');
  }
});
