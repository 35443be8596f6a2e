import regjsparser, { type AstNode } from 'regjsparser';
import type { Random } from '../random/digest.ts';

// A pattern is read and never run: a schema comes from outside, and a pattern can be written so that running it takes forever.

const FEATURES = { namedGroups: true, lookbehind: true, unicodePropertyEscape: true } as const;
type Node = AstNode<typeof FEATURES>;

/** Thrown for syntax that this file does not write (back references, looking around, most properties), and for too much text. */
class UnwritablePattern extends Error {}

const LOWER = 'abcdefghijklmnopqrstuvwxyz';
const DIGITS = '0123456789';
const ESCAPES = { d: DIGITS, w: `${LOWER}${LOWER.toUpperCase()}${DIGITS}_`, s: ' ', D: LOWER, W: ' -', S: LOWER };
const PROPERTIES = new Map([
  ['L', LOWER],
  ['N', DIGITS],
]);
const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index));

/** Repetitions within repetitions could ask for more text than there is memory, or for more steps than there is time. */
const LONGEST_TEXT = 20_000;
const MOST_STEPS = 200_000;
const DEEPEST_PATTERN = 100;

function parsed(pattern: string): Node {
  try {
    return regjsparser.parse(pattern, 'u', FEATURES);
  } catch {
    // Without the flag more escapes are allowed.
    return regjsparser.parse(pattern, '', FEATURES);
  }
}

/** Lists characters that a node stands for: some of them where they are many. */
function charactersOf(node: Node): string[] {
  switch (node.type) {
    case 'value':
      return [String.fromCodePoint(node.codePoint)];
    case 'dot':
      return [...LOWER];
    case 'characterClassEscape':
      return [...ESCAPES[node.value]];
    case 'unicodePropertyEscape':
      return node.negative ? [] : [...(PROPERTIES.get(node.value) ?? '')];
    case 'characterClassRange': {
      const { min, max } = node;
      const length = Math.min(max.codePoint - min.codePoint, 255) + 1;
      return Array.from({ length }, (_, index) => String.fromCodePoint(min.codePoint + index));
    }
    case 'characterClass': {
      const members = node.body.flatMap(charactersOf);
      return node.negative ? printable.filter((character) => !members.includes(character)) : members;
    }
    default:
      throw new UnwritablePattern();
  }
}

class PatternWriter {
  readonly #random: Random;
  #steps = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** @param extra how often an unbounded repetition is repeated beyond its minimum */
  write(node: Node, extra: number, depth = 0): string {
    if (++this.#steps > MOST_STEPS || depth > DEEPEST_PATTERN) throw new UnwritablePattern();
    switch (node.type) {
      case 'anchor':
        return '';
      case 'value':
        return String.fromCodePoint(node.codePoint);
      case 'alternative':
        return this.#joined(node.body, extra, depth);
      case 'disjunction':
        return this.write(this.#oneOf(node.body), extra, depth + 1);
      case 'group':
        if (node.behavior !== 'normal' && node.behavior !== 'ignore') throw new UnwritablePattern();
        return this.#joined(node.body, extra, depth);
      case 'quantifier': {
        const times = Math.min(node.max ?? Number.POSITIVE_INFINITY, node.min + extra, 1000);
        return this.#joined(Array<Node>(times).fill(node.body[0]), extra, depth);
      }
      default:
        return this.#oneOf(charactersOf(node));
    }
  }

  #joined(nodes: readonly Node[], extra: number, depth: number): string {
    let text = '';
    for (const node of nodes) {
      text += this.write(node, extra, depth + 1);
      if (text.length > LONGEST_TEXT) throw new UnwritablePattern();
    }
    return text;
  }

  #oneOf<Choice>(choices: readonly Choice[]): Choice {
    const choice = choices[Math.floor(this.#random() * choices.length)];
    if (choice === undefined) throw new UnwritablePattern();
    return choice;
  }
}

/**
 * Writes a text that matches a regular expression and has a length between the bounds, as far as one is found.
 * @returns undefined for syntax beyond literals, classes, groups, alternatives and repetition, or if no length fits
 */
export function textMatching(pattern: string, least: number, most: number, random: Random): string | undefined {
  if (pattern.length > 1000) return undefined;
  try {
    const node = parsed(pattern);
    const writer = new PatternWriter(random);
    for (let extra = 0; extra <= 64; extra++) {
      const text = writer.write(node, extra);
      const length = [...text].length;
      if (length >= least && length <= most) return text;
    }
  } catch (error) {
    if (!(error instanceof UnwritablePattern || error instanceof SyntaxError)) throw error;
  }
  return undefined;
}
