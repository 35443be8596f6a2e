import { Lexer, type Token, type TokensList } from 'marked';

/** Blocks that nest deeper are shown as they were written. */
const MAX_BLOCK_DEPTH = 50;
/** A paragraph with more marks of emphasis, or of images, is, too: the end of each is looked for in all that follows. */
const MAX_EMPHASIS_MARKS = 1_000;
/**
 * A text with a longer word before an `@` is not parsed either, because an e-mail address may begin at each of its characters.
 */
const MAX_EMAIL_NAME_CHARACTERS = 2_000;

/** Reads Markdown in a time that grows with its length alone. What would take longer is left plain. */
export class BoundedLexer extends Lexer {
  #depth = 0;

  override blockTokens(text: string, tokens: Token[] = [], isClipped?: boolean): TokensList {
    // The assertion is safe: only the outermost list needs `links`, and nothing reads them from nested lists.
    const list = tokens as TokensList;
    if (this.#depth > MAX_BLOCK_DEPTH) return pushPlainText(text, list);
    this.#depth += 1;
    super.blockTokens(text, list, isClipped);
    this.#depth -= 1;
    return list;
  }

  override inlineTokens(text: string, tokens: Token[] = []): Token[] {
    return hasTooManyMarks(text) ? pushPlainText(text, tokens) : super.inlineTokens(text, tokens);
  }
}

function pushPlainText<Tokens extends Token[]>(text: string, tokens: Tokens): Tokens {
  tokens.push({ type: 'text', raw: text, text, escaped: false });
  return tokens;
}

function hasTooManyMarks(text: string): boolean {
  let marks = 0;
  // In a long run each mark counts, because each may start another emphasis.
  for (const [run] of text.matchAll(/[*_~!]+/g)) marks += run.length > 3 ? run.length : 1;
  if (marks > MAX_EMPHASIS_MARKS) return true;
  return (
    text.includes('@') &&
    text.split(/\s+/).some((word) => word.length > MAX_EMAIL_NAME_CHARACTERS && word.includes('@'))
  );
}
