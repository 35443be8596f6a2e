import katex from 'katex';
import { loadStylesheet } from '../stylesheet.ts';

/** Functions that are often written without a backslash, where they can be nothing else. */
const BARE_FUNCTIONS = /(?<=[\s(])(?:log|ln|lg|exp|sin|cos|tan|min|max|gcd|det|lim)(?=[\s(_])/g;
/** The stylesheet of KaTeX, with the addresses of its fonts. A browser loads only the fonts that a formula needs. */
const STYLESHEET_PATH = '/page/formulas.css';

/** Sets the formulas of an answer, whose nodes are sanitized. What is no TeX stays as it was written. */
export function renderFormulas(formulas: readonly Element[]): void {
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
