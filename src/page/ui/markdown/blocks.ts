import type { Env, Token } from 'markdown-it';
import { escapeHtml } from '../escape-html.ts';
import { type FootnoteEnv, type FootnoteReference, formatReferenceId } from './footnotes.ts';
import { parseCodeLanguage, parser } from './parser.ts';

/** One block of Markdown. A text's HTML must still be sanitized. */
export type MarkdownBlock = CodeBlock | { kind: 'text'; html: string };

interface CodeBlock {
  kind: 'code';
  code: string;
  language: string | undefined;
}

/** A block of the source, or the text of a footnote. */
interface SourceBlock {
  source: string;
  code?: CodeBlock | undefined;
  footnotes?: ReadonlyMap<string, SourceBlock>;
  /** The definitions of links in the block, and whether it ends with one. */
  links?: Links;
  endsWithLink?: boolean;
  rendered?: RenderedBlock;
}

/** A block that is longer is shown as written, because a block is rendered without a pause. */
const MAX_BLOCK_CHARACTERS = 50_000;

type Links = NonNullable<Env['references']>;

/** The HTML of a block, with what it depends on. */
interface RenderedBlock {
  html: string;
  links: ReadonlyMap<string, Links[string] | undefined>;
  footnotes: ReadonlyMap<string, boolean>;
  /** The labels of its references to footnotes, in their order, and what was counted before them. */
  references: readonly string[];
  countsBefore: string;
}

let textCount = 0;

/**
 * Splits a growing text into its blocks. Each call reads only the source that may still change, and renders only blocks that are
 * new or changed.
 */
export class MarkdownBlockSplitter {
  readonly #prefix: string;
  #settledText = '';
  #settledBlocks: SourceBlock[] = [];
  /** The blocks after the settled text, as of the last call. */
  #openBlocks: SourceBlock[] = [];
  #footnoteSection = '';

  constructor() {
    textCount += 1;
    this.#prefix = `note-${textCount}-`;
  }

  /**
   * @param limit how many characters to render at most before the call returns. A block is rendered as a whole
   * @returns the blocks, and whether they are complete. If not, call it again
   */
  splitIntoBlocks(source: string, limit = Number.POSITIVE_INFINITY): { blocks: MarkdownBlock[]; isComplete: boolean } {
    this.#readSource(source.replace(/\r\n?/g, '\n').replaceAll('\0', '\uFFFD'));
    const all = [...this.#settledBlocks, ...this.#openBlocks];
    const text = new TextDefinitions(all, this.#prefix);
    const blocks: MarkdownBlock[] = [];
    let characters = 0;
    let isComplete = true;
    for (const block of all) {
      if (block.code) blocks.push(block.code);
      if (block.code) continue;
      if (!text.isCurrent(block)) {
        if (characters < limit) {
          characters += block.source.length;
          text.render(block);
        } else isComplete = false;
      }
      if (block.rendered === undefined) break;
      if (block.rendered.html !== '') blocks.push({ kind: 'text', html: block.rendered.html });
    }
    if (isComplete) this.#footnoteSection = text.renderFootnoteSection();
    if (this.#footnoteSection !== '') blocks.push({ kind: 'text', html: this.#footnoteSection });
    return { blocks, isComplete };
  }

  #readSource(text: string): void {
    if (!text.startsWith(this.#settledText)) {
      this.#settledText = '';
      this.#settledBlocks = [];
      this.#openBlocks = [];
    }
    const rest = text.slice(this.#settledText.length);
    const { blocks, starts, lines } = readBlocks(rest);
    this.#openBlocks = blocks.map((block, index) => {
      const before = this.#openBlocks[index];
      return before?.source === block.source ? before : block;
    });
    // The start of a block is certain once the line after it is complete: text that is added then changes neither of them. Only
    // the title of a link may still continue.
    const isCertain = (start: number, index: number) =>
      index > 0 && start + 2 < lines.length && !this.#openBlocks[index - 1]?.endsWithLink;
    const settled = Math.max(0, starts.findLastIndex(isCertain));
    this.#settledBlocks.push(...this.#openBlocks.splice(0, settled));
    this.#settledText += rest.slice(0, lines[starts[settled] ?? 0]);
  }
}

/** @returns the blocks of a text, the line that each starts with, and the index that each line starts at */
function readBlocks(text: string): { blocks: SourceBlock[]; starts: number[]; lines: number[] } {
  const lines = [0];
  for (let end = text.indexOf('\n'); end >= 0; end = text.indexOf('\n', end + 1)) lines.push(end + 1);
  const env: Env = { references: {} };
  const tokens: Token[] = [];
  parser.block.parse(text, parser, env, tokens);
  const blocks: SourceBlock[] = [];
  const starts: number[] = [];
  let footnotes = new Map<string, SourceBlock>();
  let links: Links = {};
  for (const token of tokens) {
    const { level, nesting, map, type, meta } = token;
    if (level === 0 && nesting >= 0 && map) {
      [footnotes, links] = [new Map(), {}];
      const source = text.slice(lines[map[0]], lines[map[1]]);
      blocks.push({ source, code: createCodeBlock(token), footnotes, links, endsWithLink: false });
      starts.push(map[0]);
    }
    const label = String(meta?.label);
    if (type === 'footnote' && !footnotes.has(label)) footnotes.set(label, { source: token.content });
    const link = type === 'reference_definition' ? env.references?.[label] : undefined;
    if (link) links[label] ??= link;
    const last = blocks.at(-1);
    if (last && map) last.endsWithLink = link !== undefined;
  }
  return { blocks, starts, lines };
}

function createCodeBlock({ type, content, info }: Token): CodeBlock | undefined {
  if (type !== 'fence' && type !== 'code_block') return undefined;
  return { kind: 'code', code: content.replace(/\n$/, ''), language: parseCodeLanguage(info) };
}

/** The links and footnotes that a text defines anywhere, and how often its footnotes are referenced so far. */
class TextDefinitions {
  readonly #prefix: string;
  readonly #links: Links = {};
  readonly #footnotes = new Map<string, SourceBlock>();
  /** The last reference to each footnote, in the order of their numbers. */
  readonly #references = new Map<string, FootnoteReference>();

  constructor(blocks: readonly SourceBlock[], prefix: string) {
    this.#prefix = prefix;
    for (const { links = {}, footnotes = [] } of blocks) {
      for (const [label, link] of Object.entries(links)) this.#links[label] ??= link;
      for (const [label, body] of footnotes) if (!this.#footnotes.has(label)) this.#footnotes.set(label, body);
    }
  }

  /** Counts the references of a block whose HTML is still right. @returns whether it is */
  isCurrent({ rendered }: SourceBlock): boolean {
    if (rendered === undefined) return false;
    for (const [label, link] of rendered.links) {
      const now = this.#links[label];
      if (now?.href !== link?.href || now?.title !== link?.title) return false;
    }
    for (const [label, isDefined] of rendered.footnotes) if (this.#footnotes.has(label) !== isDefined) return false;
    const counts = describeCounts(rendered.references, this.#references, this.#references.size);
    if (counts !== rendered.countsBefore) return false;
    for (const label of rendered.references) this.#addReference(label);
    return true;
  }

  render(block: SourceBlock): void {
    const links = new Map<string, Links[string] | undefined>();
    const footnotes = new Map<string, boolean>();
    const references: string[] = [];
    const counted = this.#references.size;
    const before = new Map<string, FootnoteReference | undefined>();
    const env: FootnoteEnv = {
      references: new Proxy(this.#links, {
        get: (all, label: string) => {
          links.set(label, all[label]);
          return all[label];
        },
      }),
      footnotes: {
        prefix: this.#prefix,
        has: (label) => {
          footnotes.set(label, this.#footnotes.has(label));
          return this.#footnotes.has(label);
        },
        addReference: (label) => {
          references.push(label);
          if (!before.has(label)) before.set(label, this.#references.get(label));
          return this.#addReference(label);
        },
      },
    };
    const isTooLong = block.source.length > MAX_BLOCK_CHARACTERS;
    const html = isTooLong ? `<p>${escapeHtml(block.source.trim())}</p>` : parser.render(block.source, env).trim();
    block.rendered = { html, links, footnotes, references, countsBefore: describeCounts(references, before, counted) };
  }

  /** @returns the HTML of all footnotes that are referenced; the reference of a footnote's text may add others */
  renderFootnoteSection(): string {
    const texts: string[] = [];
    for (const label of this.#references.keys()) {
      const body = this.#footnotes.get(label);
      if (body && !this.isCurrent(body)) this.render(body);
      texts.push(body?.rendered?.html ?? '');
    }
    const items = [...this.#references.values()].map((last, index) => this.#renderFootnote(texts[index] ?? '', last));
    if (items.length === 0) return '';
    return `<section><h2 id="${this.#prefix}label">Footnotes</h2><ol>${items.join('')}</ol></section>`;
  }

  #renderFootnote(html: string, { number, count }: FootnoteReference): string {
    const links = Array.from({ length: count }, (_, index) => {
      const id = escapeHtml(formatReferenceId(this.#prefix, number, index + 1));
      const order = index > 0 ? `<sup>${index + 1}</sup>` : '';
      return ` <a href="#${id}" aria-label="Back to reference ${number}">↩${order}</a>`;
    }).join('');
    const body = html.endsWith('</p>') ? `${html.slice(0, -'</p>'.length)}${links}</p>` : `${html}${links}`;
    return `<li id="${this.#prefix}${number}">${body}</li>`;
  }

  #addReference(label: string): FootnoteReference {
    const { number, count } = this.#references.get(label) ?? { number: this.#references.size + 1, count: 0 };
    const reference = { number, count: count + 1 };
    this.#references.set(label, reference);
    return reference;
  }
}

function describeCounts(
  labels: readonly string[],
  counts: ReadonlyMap<string, FootnoteReference | undefined>,
  counted: number,
): string {
  if (labels.length === 0) return '';
  return JSON.stringify([counted, ...[...new Set(labels)].map((label) => counts.get(label) ?? 0)]);
}
