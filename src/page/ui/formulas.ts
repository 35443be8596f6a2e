import katex from 'katex';
import type { MarkedExtension, Tokens } from 'marked';
import { escapeHtml } from './escape-html.ts';
import { loadStylesheet } from './stylesheet.ts';

/** Longer ones are shown as they were written: to look for the end of each must stay linear. */
const MAX_CHARACTERS_PATTERN = '{1,4000}?';
const DISPLAY_PATTERN = String.raw`\$\$(?:(?!\n[ \t]*\n)[^$])${MAX_CHARACTERS_PATTERN}\$\$|\\\[(?:(?!\n[ \t]*\n)[^])${MAX_CHARACTERS_PATTERN}\\\]`;
const BLOCK_PATTERN = new RegExp(String.raw`^ {0,3}(?:${DISPLAY_PATTERN})[ \t]*(?:\n+|$)`);
const INLINE_PATTERN = new RegExp(
  String.raw`^(?:${DISPLAY_PATTERN}|\\\(.${MAX_CHARACTERS_PATTERN}\\\)|\$(?![\s$])((?:[^$\\\n]|\\.)*(?<!\s))\$(?![\w$]))`,
);
/** The beginning of a formula: not a dollar sign after a letter, as in US$5. */
const FORMULA_START = /(?<![\w\\$])\$|\\[([]/;
/** Words behind a number, and nothing that TeX calls by a name: `$5 for each, or 6$`. */
const MONEY_PATTERN = /^\d[^\\]*(?:[a-z]{3}|[\s(][a-z]{2})/i;

/** Functions that are often written without a backslash, where they can be nothing else. */
const BARE_FUNCTIONS = /(?<=[\s(])(?:log|ln|lg|exp|sin|cos|tan|min|max|gcd|det|lim)(?=[\s(_])/g;
/** The stylesheet of KaTeX, with the addresses of its fonts. A browser loads only the fonts that a formula needs. */
const STYLESHEET_PATH = '/page/formulas.css';

/** Finds `$…$`, `$$…$$`, `\(…\)` and `\[…\]`. They are text until {@link renderFormulasInNodes} sets them. */
export const createFormulasExtension = (): MarkedExtension => ({
  extensions: [
    {
      name: 'formulaBlock',
      level: 'block',
      start: (source) => {
        // A paragraph ends at an empty line. Searching beyond it for each paragraph would take quadratic time.
        const end = source.indexOf('\n\n');
        const paragraph = end < 0 ? source : source.slice(0, end);
        const at = paragraph.search(/\n {0,3}(?:\$\$|\\\[)/);
        // A formula that starts within a line may end at the start of another, so an odd number of `$$` before the match means
        // this is its end.
        const isOpen = paragraph.slice(0, at).split('$$').length % 2 === 0;
        return at < 0 || isOpen ? undefined : at + 1;
      },
      tokenizer(source) {
        const [raw] = BLOCK_PATTERN.exec(source) ?? [];
        if (raw !== undefined) return { type: 'formulaBlock', raw };
      },
      renderer: renderFormulaSource,
    },
    {
      name: 'formula',
      level: 'inline',
      start: (source) => {
        const at = source.search(FORMULA_START);
        return at < 0 ? undefined : at;
      },
      tokenizer(source) {
        const [raw, dollar] = INLINE_PATTERN.exec(source) ?? [];
        return raw === undefined || (dollar !== undefined && MONEY_PATTERN.test(dollar))
          ? undefined
          : { type: 'formula', raw };
      },
      renderer: renderFormulaSource,
    },
  ],
});

function renderFormulaSource({ raw }: Tokens.Generic): string {
  const text = raw.trim();
  const kind = /^(?:\$\$|\\\[)/.test(text) ? 'formula-block' : 'formula';
  return `<span class="${kind}"><code>${escapeHtml(text)}</code></span>`;
}

/** Sets the formulas in the nodes of an answer, which are sanitized. What is no TeX stays as it was written. */
export function renderFormulasInNodes(nodes: ParentNode): void {
  const formulas = [...nodes.querySelectorAll('.formula, .formula-block')];
  if (formulas.length === 0) return;
  loadStylesheet(STYLESHEET_PATH).then(
    () => {
      for (const formula of formulas) renderFormula(formula);
    },
    // Ignore the error: the formulas stay visible as source text, and the next formulas load the style again.
    () => {},
  );
}

function renderFormula(formula: Element): void {
  const text = formula.textContent;
  const ends = /^\$(?!\$)/.test(text) ? 1 : 2;
  const tex = text.slice(ends, -ends).trim();
  const html = renderHtml(tex.replace(BARE_FUNCTIONS, String.raw`\$&`)) ?? renderHtml(tex);
  if (html === undefined) return;
  const template = document.createElement('template');
  // The content security policy blocks `style` attributes in HTML, so set styles by script. KaTeX escapes quotes in text.
  template.innerHTML = html.replaceAll(' style="', ' data-style="');
  for (const node of template.content.querySelectorAll<HTMLElement | SVGElement>('[data-style]')) {
    node.style.cssText = node.dataset.style ?? '';
    delete node.dataset.style;
  }
  formula.replaceChildren(template.content);

  function renderHtml(source: string): string | undefined {
    try {
      return katex.renderToString(source, { displayMode: formula.className === 'formula-block', strict: 'ignore' });
    } catch {
      return undefined;
    }
  }
}
