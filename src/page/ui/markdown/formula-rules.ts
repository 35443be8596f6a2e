import type { MarkdownIt, StateBlock, StateInline, Token } from 'markdown-it';

/** Longer formulas are shown as written: to look for the end of each must stay linear. */
const MAX_CHARACTERS = 4_000;
const DISPLAY_CLOSERS: Readonly<Record<string, string>> = { $$: '$$', '\\[': '\\]' };
const CLOSERS: Readonly<Record<string, string>> = { ...DISPLAY_CLOSERS, '\\(': '\\)' };
/** Words behind a number, and nothing that TeX calls by a name: `$5 for each, or 6$`, `$5和6$`. */
const MONEY = /^\d[^\\]*(?:[a-z]{3}|[\s(][a-z]{2}|[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Hang}])/iu;

/** Finds `$…$`, `$$…$$`, `\(…\)` and `\[…\]`. They are shown as text until they are set. */
export function addFormulas(markdown: MarkdownIt): void {
  markdown.block.ruler.after('fence', 'formula', parseBlock, { alt: ['paragraph', 'reference', 'blockquote'] });
  markdown.inline.ruler.before('escape', 'formula', parseInline);
  markdown.renderer.rules.formula = (tokens, index) => renderSource(tokens[index]);

  function renderSource({ content }: Pick<Token, 'content'> = { content: '' }): string {
    const kind = content.slice(0, 2) in DISPLAY_CLOSERS ? 'formula-block' : 'formula';
    return `<span class="${kind}"><code>${markdown.utils.escapeHtml(content)}</code></span>`;
  }
}

function parseBlock(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  const start = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  const closer = DISPLAY_CLOSERS[state.src.slice(start, start + 2)];
  if (closer === undefined || (state.sCount[startLine] ?? 0) - state.blkIndent >= 4) return false;
  const line = findLine(state, closer, start, startLine, endLine);
  if (line === undefined) return false;
  const text = state.getLines(startLine, line + 1, state.blkIndent, false).trim();
  if (findFormulaEnd(text, 0) !== text.length) return false;
  if (silent) return !isFormulaOpen(state, startLine);
  const token = state.push('formula', 'span', 0);
  token.content = text;
  token.map = [startLine, line + 1];
  state.line = line + 1;
  return true;
}

/** How many `$$` are in the lines of the current paragraph that were counted so far. */
const countedLines = new WeakMap<StateBlock, { paragraph: number; line: number; count: number }>();

/**
 * A formula that starts within a line may end at the start of another, so an odd number of `$$` in the paragraph before a line
 * means that the line ends one. Each line is counted once.
 */
function isFormulaOpen(state: StateBlock, line: number): boolean {
  const known = countedLines.get(state);
  const isKnown = known?.paragraph === state.line && known.line <= line;
  const counted = isKnown ? known : { paragraph: state.line, line: state.line, count: 0 };
  const added = state.src.slice(state.bMarks[counted.line], state.bMarks[line]).split('$$').length - 1;
  countedLines.set(state, { paragraph: state.line, line, count: counted.count + added });
  return (counted.count + added) % 2 === 1;
}

/** @returns the line that ends the formula; undefined if the block ends before */
function findLine(state: StateBlock, closer: string, start: number, startLine: number, endLine: number) {
  const end = findNext(state.src, closer, start + 2);
  if (end === undefined || end > start + MAX_CHARACTERS) return undefined;
  for (let line = startLine; line < endLine; line += 1) {
    const isOutside = line > startLine && (state.isEmpty(line) || (state.sCount[line] ?? 0) < state.blkIndent);
    if (isOutside) return undefined;
    if (end < (state.eMarks[line] ?? 0)) return line;
  }
  return undefined;
}

function parseInline(state: StateInline, silent: boolean): boolean {
  const end = findFormulaEnd(state.src, state.pos);
  if (end === undefined || end > state.posMax) return false;
  if (!silent) state.push('formula', 'span', 0).content = state.src.slice(state.pos, end);
  state.pos = end;
  return true;
}

/** @returns the index after the end of the formula that starts at an index; undefined if no formula starts there */
function findFormulaEnd(source: string, start: number): number | undefined {
  const first = source.charAt(start);
  if (first !== '$' && first !== '\\') return undefined;
  // Not a dollar sign after a letter, as in US$5.
  if (first === '$' && /[\w\\$]/.test(source.charAt(start - 1))) return undefined;
  const closer = CLOSERS[source.slice(start, start + 2)];
  if (closer !== undefined) return findCloser(source, start + 2, closer);
  return first === '$' ? findDollar(source, start + 1) : undefined;
}

function findCloser(source: string, start: number, closer: string): number | undefined {
  const end = findNext(source, closer, start);
  if (end === undefined || end === start || end > start + MAX_CHARACTERS) return undefined;
  const text = source.slice(start, end);
  // A formula in a line ends with the line, one on its own lines with the paragraph.
  if (closer === '\\)' ? text.includes('\n') : /\n[ \t]*\n/.test(text)) return undefined;
  if (closer === '$$' && text.includes('$')) return undefined;
  return end + closer.length;
}

/** The last search for each closer. It also answers searches that start between its start and its result. */
const searches = new Map<string, { source: string; start: number; end: number }>();

/** @returns the index of a closer from an index on. Thousands of formulas before the same closer search for it once */
function findNext(source: string, closer: string, start: number): number | undefined {
  const known = searches.get(closer);
  const isKnown = known?.source === source && known.start <= start && (known.end < 0 || start <= known.end);
  const end = isKnown ? known.end : source.indexOf(closer, start);
  if (!isKnown) searches.set(closer, { source, start, end });
  return end < 0 ? undefined : end;
}

/**
 * Finds the end of `$…$`. Amounts of money are no formulas: no space may follow the first dollar sign or precede the second, and
 * no digit may follow the second.
 */
function findDollar(source: string, start: number): number | undefined {
  if (/[\s$]/.test(source.charAt(start))) return undefined;
  for (let at = start; at < source.length && source[at] !== '\n'; at += 1) {
    if (source[at] === '\\') at += 1;
    else if (source[at] === '$') {
      const isEnd = !/\s/.test(source.charAt(at - 1)) && !/[\w$]/.test(source.charAt(at + 1));
      return isEnd && !MONEY.test(source.slice(start, at)) ? at + 1 : undefined;
    }
  }
  return undefined;
}
