import { Marked, type MarkedExtension, type Token } from 'marked';
import { BoundedLexer } from './bounded-lexer.ts';
import type { MarkdownExtensionFactory } from './create-extension.ts';
import { escapeHtml } from './escape-html.ts';
import { highlighter } from './highlighter.ts';
import { getLoadedExtensions } from './markdown-extensions.ts';

/** One block of Markdown. A text's HTML must still be sanitized. */
export type MarkdownBlock =
  | { kind: 'code'; code: string; language: string | undefined }
  | { kind: 'text'; html: string };

const BASE_EXTENSION: MarkedExtension = {
  gfm: true,
  renderer: {
    // Render an image as a link: loading it would let the model send data to any server in the URL.
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
    // Show HTML as text: an answer must not add elements to the page.
    html: ({ text }) => escapeHtml(text),
    // Show a task's checkbox as a symbol, because the reader cannot change it.
    checkbox: ({ checked }) => `<span class="tick">${checked ? '☑' : '☐'}</span> `,
    code: ({ text, lang }) =>
      `<pre><code>${highlighter.peek()?.(text, parseCodeLanguage(lang)) ?? escapeHtml(text)}</code></pre>`,
  },
};

let textCount = 0;

/** Splits a growing text into its blocks. Only the last of the earlier blocks is parsed again. */
export class MarkdownBlockSplitter {
  readonly #prefix: string;
  #extensions: readonly MarkdownExtensionFactory[] = [];
  #marked = new Marked(BASE_EXTENSION);
  #settledBlocks: MarkdownBlock[] = [];
  #settledText = '';

  constructor() {
    textCount += 1;
    this.#prefix = `note-${textCount}-`;
  }

  splitIntoBlocks(source: string): MarkdownBlock[] {
    const text = source.replace(/\r\n?/g, '\n');
    const extensions = getLoadedExtensions(text);
    const isOther = extensions.length !== this.#extensions.length;
    if (isOther) this.#marked = new Marked(BASE_EXTENSION, ...extensions.map((make) => make(this.#prefix)));
    this.#extensions = extensions;
    if (isOther || !text.startsWith(this.#settledText)) {
      this.#settledBlocks = [];
      this.#settledText = '';
    }
    const rest = text.slice(this.#settledText.length);
    const { defaults } = this.#marked;
    const tokens = new BoundedLexer(defaults).lex(rest);
    const { walkTokens } = defaults;
    // The footnote extension moves footnotes to the end of the text, so it must see all tokens at once.
    if (walkTokens) void this.#marked.walkTokens(tokens, walkTokens);
    const blocks = tokens.map((token) => this.#createBlock(token));
    const open = tokens.findLastIndex(({ type }) => type !== 'space');
    const before = tokens.slice(0, Math.max(0, open));
    const raw = before.map((token) => token.raw).join('');
    const shown = [...this.#settledBlocks, ...blocks].filter((block) => block.kind === 'code' || block.html !== '');
    if (!walkTokens && rest.startsWith(raw)) {
      this.#settledBlocks.push(...blocks.slice(0, before.length));
      this.#settledText += raw;
    }
    return shown;
  }

  #createBlock(token: Token): MarkdownBlock {
    if (token.type !== 'code') return { kind: 'text', html: this.#marked.parser([token]).trim() };
    return { kind: 'code', code: String(token.text), language: parseCodeLanguage(token.lang) };
  }
}

function parseCodeLanguage(info: string | undefined): string | undefined {
  return info?.trim().split(/\s+/)[0]?.toLowerCase() || undefined;
}
