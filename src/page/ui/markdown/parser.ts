/** The Markdown parser: CommonMark with tables, its amendment for Chinese, Japanese and Korean, and the rules of this page. */
import createParser, { type MarkdownIt, type RendererRule, type StateBlock, type StateCore } from 'markdown-it';
import makeCjkFriendly from 'markdown-it-cjk-friendly';
import { highlighter } from '../highlighter.ts';
import { addFootnotes } from './footnotes.ts';
import { addFormulas } from './formula-rules.ts';
import { addLinks } from './links.ts';

/** Blocks that nest deeper are shown as written. A quote is one level deep, an item of a list two. */
const MAX_BLOCK_LEVEL = 100;

export const parser = new createParser({
  // Find tags, so that asterisks and URLs in them stay; `html_inline` below shows them as written.
  html: true,
  linkify: true,
  // The parser drops blocks from this level on, so it must be out of reach of `MAX_BLOCK_LEVEL`.
  maxNesting: 2 * MAX_BLOCK_LEVEL,
  highlight: (code, language) => highlighter.peek()?.(code, parseCodeLanguage(language)) ?? '',
})
  .use(makeCjkFriendly)
  .use(addLinks)
  .use(addFootnotes)
  .use(addFormulas)
  .use(addTaskLists)
  .disable('html_block');
const { rules } = parser.renderer;
const { escapeHtml } = parser.utils;

parser.block.ruler.before('table', 'too_deep', parseTooDeepBlock);
rules.too_deep = (tokens, index) => `<p>${escapeHtml(tokens[index]?.content ?? '')}</p>\n`;
// Show HTML as text: an answer must not add elements to the page.
rules.html_inline = (tokens, index) => escapeHtml(tokens[index]?.content ?? '');
rules.th_open = renderCell;
rules.td_open = renderCell;

export function parseCodeLanguage(info: string): string | undefined {
  return info.trim().split(/\s/)[0]?.toLowerCase() || undefined;
}

/** Reads the rest of a block that is nested too deep as plain text. */
function parseTooDeepBlock(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  if (silent || state.level < MAX_BLOCK_LEVEL) return false;
  let line = startLine + 1;
  while (line < endLine && (state.isEmpty(line) || (state.sCount[line] ?? 0) >= state.blkIndent)) line += 1;
  const token = state.push('too_deep', 'p', 0);
  token.content = state.getLines(startLine, line, state.blkIndent, false);
  token.map = [startLine, line];
  state.line = line;
  return true;
}

/** Renders the alignment of a cell as an attribute, because the content security policy blocks styles. */
function renderCell(...[tokens, index]: Parameters<RendererRule>): string {
  const { tag = 'td', attrs } = tokens[index] ?? {};
  const align = attrs?.[0]?.[1].toString().replace('text-align:', '');
  return align ? `<${tag} align="${align}">` : `<${tag}>`;
}

/** Shows the checkbox of a task as a symbol, because the reader cannot change it. */
function addTaskLists(markdown: MarkdownIt): void {
  markdown.core.ruler.after('block', 'tasks', ({ tokens }: StateCore) => {
    for (const [index, token] of tokens.entries()) {
      if (token.type !== 'inline' || tokens[index - 2]?.type !== 'list_item_open') continue;
      const box = /^\[([ xX])\] (?=\S)/.exec(token.content);
      if (!box) continue;
      token.content = token.content.slice(box[0].length);
      token.meta = { tick: box[1] === ' ' ? '☐' : '☑' };
    }
  });
  markdown.core.ruler.push('ticks', ({ tokens, Token }: StateCore) => {
    for (const { meta, children } of tokens) {
      if (!meta?.tick || !children) continue;
      const tick = new Token('tick', 'span', 0);
      tick.content = String(meta.tick);
      children.unshift(tick);
    }
  });
  markdown.renderer.rules.tick = (tokens, index) => `<span class="tick">${tokens[index]?.content}</span> `;
}
