import type { Env, MarkdownIt, StateBlock, StateInline } from 'markdown-it';

/** What the rules ask about the footnotes of a text while they read one of its blocks. */
export interface FootnoteEnv extends Env {
  footnotes?: {
    /** What the ids of the text begin with. */
    prefix: string;
    has(label: string): boolean;
    /** Counts a reference. */
    addReference(label: string): FootnoteReference;
  };
}

/** One of the references to a footnote. */
export interface FootnoteReference {
  /** The number of the footnote. */
  number: number;
  /** How many references it has up to this one. */
  count: number;
}

const DEFINITION_START = /^\[\^([^\]\n]{1,200})\]:[ \t]*/;
const REFERENCE = /\[\^([^\]\n]{1,200})\]/y;
/** Lines that are indented by as many columns continue a footnote. */
const INDENT = 4;

/**
 * Shows `[^1]` as a link to the text after `[^1]:`. The texts are tokens of the type `footnote` without HTML: what renders all
 * blocks shows them at the end.
 */
export function addFootnotes(markdown: MarkdownIt): void {
  markdown.block.ruler.before('reference', 'footnote', parseDefinition, { alt: ['paragraph', 'reference'] });
  markdown.inline.ruler.before('link', 'footnote_reference', parseReference);
  const { rules } = markdown.renderer;
  rules.footnote = () => '';
  rules.footnote_reference = (tokens, index) => tokens[index]?.content ?? '';
}

export function formatReferenceId(prefix: string, number: number, count: number): string {
  return `${prefix}ref-${number}${count > 1 ? `-${count}` : ''}`;
}

function parseDefinition(state: StateBlock, startLine: number, endLine: number, silent: boolean): boolean {
  if ((state.sCount[startLine] ?? 0) - state.blkIndent >= INDENT) return false;
  const start = (state.bMarks[startLine] ?? 0) + (state.tShift[startLine] ?? 0);
  if (!state.src.startsWith('[^', start)) return false;
  const firstLine = state.src.slice(start, state.eMarks[startLine]);
  const [opening = '', label = ''] = DEFINITION_START.exec(firstLine) ?? [];
  if (opening === '') return false;
  if (silent) return true;
  let end = startLine + 1;
  for (let line = end; line < endLine; line += 1) {
    if (state.isEmpty(line)) continue;
    if ((state.sCount[line] ?? 0) - state.blkIndent < INDENT) break;
    end = line + 1;
  }
  const token = state.push('footnote', '', 0);
  token.meta = { label };
  token.content = `${firstLine.slice(opening.length)}\n${state.getLines(startLine + 1, end, state.blkIndent + INDENT, false)}`;
  token.map = [startLine, end];
  state.line = end;
  return true;
}

function parseReference(state: StateInline, silent: boolean): boolean {
  const { footnotes } = state.env as FootnoteEnv;
  if (footnotes === undefined || state.linkLevel > 0 || !state.src.startsWith('[^', state.pos)) return false;
  REFERENCE.lastIndex = state.pos;
  const [raw = '', label = ''] = REFERENCE.exec(state.src) ?? [];
  if (raw === '' || state.pos + raw.length > state.posMax || !footnotes.has(label)) return false;
  if (!silent) {
    const { prefix } = footnotes;
    const { number, count } = footnotes.addReference(label);
    state.push('footnote_reference', '', 0).content =
      `<sup><a id="${formatReferenceId(prefix, number, count)}" href="#${prefix}${number}">${number}</a></sup>`;
  }
  state.pos += raw.length;
  return true;
}
