/**
 * Prints the texts of all errors of the edge with their places, to read them side by side: `npm run errors`, or
 * `npm run errors money` for the folders whose path begins so.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative } from 'node:path';
import { root } from './root.ts';

const EDGE = join(root, 'src/edge');
/** Files whose texts describe something: the reference, prompts, metrics, and sources of webhooks. */
const HAS_NO_ERRORS =
  /(?:reference|answers\.schema|-families|\/prompt|\/plugin|\/response-headers|^\/openapi)\.ts$|\/sources\/|\/openapi\//;
/** Functions that create an error or take the message of one. */
const ERROR_CALL = /Error$|^refine$/;
/** Functions whose texts describe a field. */
const DESCRIPTION_CALL = /^(?:addDescription|createOptionalField|describe\w*|addReferenceMeta)$/;
/** A message has a space between two words; types, headers and SQL have none, or no lowercase words. */
const HAS_WORDS = /[a-z`’)\]}"] [a-z`“"$({]/;
/** A sentence that is not in a call: it starts with a capital, a parameter or a value, and ends with a full stop. */
const IS_SENTENCE = /^(?:[A-Z$“]|\w+: ).* .* .*\.$/s;
const IS_SQL = /^\s*(?:select|insert|update|delete|create|from|where) /;
/** A comment, a regular expression after an operator, or the name before a parenthesis. */
const COMMENT = /\/\/.*|\/\*[\s\S]*?\*\//y;
const REGULAR_EXPRESSION = /(?<=(?:[(,=:[!&|?{};]|return)\s*)\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\]|\\.)*\])+\//y;
const NAME_BEFORE = /(\w*)\s*(?:<[^<>()]*>)?$/;

/** Returns the index of the quote that ends a literal. Templates may contain expressions with literals. */
function findLiteralEnd(text: string, start: number): number {
  const quote = text[start];
  let index = start + 1;
  while (index < text.length && text[index] !== quote) {
    if (text[index] === '\\') index += 1;
    else if (quote === '`' && text.startsWith('${', index)) index = findExpressionEnd(text, index + 2);
    index += 1;
  }
  return index;
}

function findExpressionEnd(text: string, start: number): number {
  let depth = 1;
  let index = start;
  while (index < text.length) {
    const character = text[index] ?? '';
    if ('\'"`'.includes(character)) index = findLiteralEnd(text, index);
    else if (character === '{') depth += 1;
    else if (character === '}') depth -= 1;
    if (depth === 0) return index;
    index += 1;
  }
  return index;
}

/** Returns the index after a comment or a regular expression; undefined if there is none. */
function skipOpaqueText(text: string, at: number): number | undefined {
  for (const pattern of [COMMENT, REGULAR_EXPRESSION]) {
    pattern.lastIndex = at;
    if (text[at] === '/' && pattern.test(text)) return pattern.lastIndex;
  }
  return undefined;
}

function isErrorText(literal: string, calls: readonly string[]): boolean {
  if (!HAS_WORDS.test(literal) || IS_SQL.test(literal) || calls.some((name) => DESCRIPTION_CALL.test(name)))
    return false;
  return IS_SENTENCE.test(literal) || calls.some((name) => ERROR_CALL.test(name));
}

/** Finds the error texts of a source file in their order. */
function* findErrorTexts(text: string): Generator<{ index: number; literal: string }> {
  const calls: string[] = [];
  let index = 0;
  while (index < text.length) {
    const character = text[index] ?? '';
    const after = skipOpaqueText(text, index);
    if (after !== undefined) {
      index = after;
      continue;
    }
    if (character === '(') calls.push(NAME_BEFORE.exec(text.slice(Math.max(0, index - 80), index))?.[1] ?? '');
    else if (character === ')') calls.pop();
    else if ('\'"`'.includes(character)) {
      const end = findLiteralEnd(text, index);
      const literal = text.slice(index + 1, end).replaceAll('\\`', '`');
      if (isErrorText(literal, calls)) yield { index, literal };
      index = end;
    }
    index += 1;
  }
}

const folder = process.argv[2] ?? '';
const entries = await readdir(EDGE, { recursive: true, withFileTypes: true });
const files = entries.filter((entry) => entry.isFile() && entry.name.endsWith('.ts'));
const paths = files.map((entry) => relative(EDGE, join(entry.parentPath, entry.name))).toSorted();
for (const path of paths.filter((one) => one.startsWith(folder) && !HAS_NO_ERRORS.test(`/${one}`))) {
  const text = await readFile(join(EDGE, path), 'utf8');
  for (const { index, literal } of findErrorTexts(text)) {
    process.stdout.write(`${path}:${text.slice(0, index).split('\n').length}\t${literal}\n`);
  }
}
