import { Marked, type Token } from 'marked';
import { highlighter } from './highlighter.ts';

/** One block of Markdown. */
export type Block =
  | { kind: 'code'; raw: string; code: string; language: string | undefined }
  | { kind: 'text'; raw: string };

const marked = new Marked({
  gfm: true,
  renderer: {
    // An image becomes a link: loading it would let the model send data to any server through the URL.
    image: ({ href, text }) => `<a href="${escapeHtml(href)}">${escapeHtml(text || href)}</a>`,
    // HTML is shown as text: an answer must not become part of the page.
    html: ({ text }) => escapeHtml(text),
    // A box that nobody can tick is a sign, not a control.
    checkbox: ({ checked }) => `<span class="tick">${checked ? '☑' : '☐'}</span> `,
    code: ({ text, lang }) =>
      `<pre><code>${highlighter.peek()?.(text, languageOf(lang)) ?? escapeHtml(text)}</code></pre>`,
  },
});

/** Splits a growing text into its blocks. Only the last of the earlier blocks is parsed again. */
export class MarkdownBlocks {
  #settled: Block[] = [];
  #text = '';

  split(given: string): Block[] {
    const text = given.replace(/\r\n?/g, '\n');
    if (!text.startsWith(this.#text)) {
      this.#settled = [];
      this.#text = '';
    }
    const rest = text.slice(this.#text.length);
    const tokens = marked.lexer(rest);
    const blocks = tokens.map(blockOf);
    const open = tokens.findLastIndex(({ type }) => type !== 'space');
    const before = blocks.slice(0, Math.max(0, open));
    const raw = before.map((block) => block.raw).join('');
    const shown = [...this.#settled, ...blocks].filter((block) => block.raw.trim() !== '');
    if (rest.startsWith(raw)) {
      this.#settled = [...this.#settled, ...before];
      this.#text += raw;
    }
    return shown;
  }
}

/** @returns HTML that must still be sanitized */
export function markdownToHtml(text: string): string {
  return marked.parse(text, { async: false });
}

function blockOf(token: Token): Block {
  if (token.type !== 'code') return { kind: 'text', raw: token.raw };
  return { kind: 'code', raw: token.raw, code: String(token.text), language: languageOf(token.lang) };
}

function languageOf(info: string | undefined): string | undefined {
  return info?.trim().split(/\s+/)[0]?.toLowerCase() || undefined;
}

function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
