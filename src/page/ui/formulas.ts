import katex from 'katex';
import type { MarkedExtension, Tokens } from 'marked';
import { escapeHtml } from './escape-html.ts';

/** Longer ones are shown as they were written: to look for the end of each must stay linear. */
const CHARACTERS = '{1,4000}?';
const DISPLAY = String.raw`\$\$((?:(?!\n[ \t]*\n)[^$])${CHARACTERS})\$\$|\\\[((?:(?!\n[ \t]*\n)[^])${CHARACTERS})\\\]`;
const BLOCK = new RegExp(String.raw`^ {0,3}(?:${DISPLAY})[ \t]*(?:\n+|$)`);
const INLINE = new RegExp(
  String.raw`^(?:${DISPLAY}|\\\((.${CHARACTERS})\\\)|\$(?![\s$])((?:[^$\\\n]|\\.)*(?<!\s))\$(?![\w$]))`,
);
/** Where a formula may begin: no dollar behind a letter, as in US$5. */
const BEGIN = /(?<![\w\\$])\$|\\[([]/;
/** Words behind a number, and nothing that TeX calls by a name: `$5 for each, or 6$`. */
const MONEY = /^\d[^\\]*(?:[a-z]{3}|[\s(][a-z]{2})/i;

/** Shows `$…$`, `$$…$$`, `\(…\)` and `\[…\]` as MathML, which the browser sets without a font or a style of this page. */
export const formulas = (): MarkedExtension => ({
  extensions: [
    {
      name: 'formulaBlock',
      level: 'block',
      start: (source) => {
        // A paragraph ends at an empty line: to look beyond it again and again would not be linear.
        const end = source.indexOf('\n\n');
        const paragraph = end < 0 ? source : source.slice(0, end);
        const at = paragraph.search(/\n {0,3}(?:\$\$|\\\[)/);
        // What begins in the midst of a line may end at the beginning of another.
        const isOpen = paragraph.slice(0, at).split('$$').length % 2 === 0;
        return at < 0 || isOpen ? undefined : at + 1;
      },
      tokenizer(source) {
        const [raw, dollars, brackets] = BLOCK.exec(source) ?? [];
        if (raw !== undefined) return { type: 'formulaBlock', raw, tex: dollars ?? brackets, isBlock: true };
      },
      renderer,
    },
    {
      name: 'formula',
      level: 'inline',
      start: (source) => {
        const at = source.search(BEGIN);
        return at < 0 ? undefined : at;
      },
      tokenizer(source) {
        const [raw, dollars, brackets, parentheses, dollar] = INLINE.exec(source) ?? [];
        if (raw === undefined || (dollar !== undefined && MONEY.test(dollar))) return undefined;
        const display = dollars ?? brackets;
        return { type: 'formula', raw, tex: display ?? parentheses ?? dollar, isBlock: display !== undefined };
      },
      renderer,
    },
  ],
});

function renderer({ raw, tex, isBlock }: Tokens.Generic): string {
  try {
    return katex.renderToString(String(tex).trim(), { displayMode: isBlock, output: 'mathml', strict: 'ignore' });
  } catch {
    // What is no TeX is shown as it was written.
    return `<code>${escapeHtml(raw.trim())}</code>`;
  }
}
