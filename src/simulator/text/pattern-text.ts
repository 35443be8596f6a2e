import type { Random } from '../random/digest.ts';

// Texts that match a regular expression, made by reading the expression. It is never run: a schema comes from outside, and
// a pattern can be written so that running it takes forever.

/** Thrown for what this reader does not know (back references, looking around, Unicode sets) or will not write. */
class UnknownSyntax extends Error {}

/** A piece of a pattern that writes its text; `extra` is how often an unbounded repetition is repeated beyond its minimum. */
type Piece = (extra: number) => string;

const lower = 'abcdefghijklmnopqrstuvwxyz';
const classes = new Map<string, string>([
  ['d', '0123456789'],
  ['w', `${lower}${lower.toUpperCase()}0123456789_`],
  ['s', ' '],
  ['D', lower],
  ['W', ' -'],
  ['S', lower],
]);
const controls = new Map<string, string>([
  ['t', '\t'],
  ['n', '\n'],
  ['r', '\r'],
  ['f', '\f'],
  ['v', '\v'],
  ['0', '\0'],
]);
const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join('');

/** Repetitions within repetitions could ask for more text than there is memory. */
const longestText = 20_000;

function joined<Part>(parts: readonly Part[], write: (part: Part) => string): string {
  let text = '';
  for (const part of parts) {
    text += write(part);
    if (text.length > longestText) throw new UnknownSyntax();
  }
  return text;
}

class PatternReader {
  #at = 0;
  readonly #pattern: string;
  readonly #random: Random;

  constructor(pattern: string, random: Random) {
    this.#pattern = pattern;
    this.#random = random;
  }

  read(): Piece {
    const piece = this.#alternatives(0);
    if (this.#at < this.#pattern.length) throw new UnknownSyntax();
    return piece;
  }

  #peek(): string {
    return this.#pattern.charAt(this.#at);
  }

  #take(text: string): boolean {
    if (!this.#pattern.startsWith(text, this.#at)) return false;
    this.#at += text.length;
    return true;
  }

  #alternatives(depth: number): Piece {
    if (depth > 50) throw new UnknownSyntax();
    const options = [this.#sequence(depth)];
    while (this.#take('|')) options.push(this.#sequence(depth));
    const chosen = options[Math.floor(this.#random() * options.length)];
    return chosen ?? (() => '');
  }

  #sequence(depth: number): Piece {
    const pieces: Piece[] = [];
    while (this.#at < this.#pattern.length && this.#peek() !== '|' && this.#peek() !== ')') {
      pieces.push(this.#repeated(this.#atom(depth)));
    }
    return (extra) => joined(pieces, (piece) => piece(extra));
  }

  #atom(depth: number): Piece {
    if (this.#take('^') || this.#take('$')) return () => '';
    if (this.#take('(')) return this.#group(depth);
    if (this.#take('[')) return this.#oneOf(this.#set());
    if (this.#take('.')) return this.#oneOf(lower);
    if (this.#take('\\')) return this.#escape();
    const character = String.fromCodePoint(this.#pattern.codePointAt(this.#at) ?? 0);
    if ('*+?{'.includes(character)) throw new UnknownSyntax();
    this.#at += character.length;
    return () => character;
  }

  #group(depth: number): Piece {
    if (this.#take('?')) {
      const isGroup = this.#take(':') || this.#named();
      if (!isGroup) throw new UnknownSyntax();
    }
    const piece = this.#alternatives(depth + 1);
    if (!this.#take(')')) throw new UnknownSyntax();
    return piece;
  }

  #named(): boolean {
    const name = /^<[A-Za-z_]\w*>/.exec(this.#pattern.slice(this.#at, this.#at + 100))?.[0];
    if (name === undefined) return false;
    this.#at += name.length;
    return true;
  }

  #oneOf(characters: string): Piece {
    const all = [...characters];
    if (all.length === 0) throw new UnknownSyntax();
    return () => all[Math.floor(this.#random() * all.length)] ?? '';
  }

  #escape(): Piece {
    if (this.#take('b') || this.#take('B')) return () => '';
    return this.#oneOf(this.#escaped());
  }

  /** The characters that an escape stands for; the backslash has been read. */
  #escaped(): string {
    const letter = this.#peek();
    this.#at++;
    const code = letter === 'x' ? /^[\da-f]{2}/i : letter === 'u' ? /^[\da-f]{4}/i : undefined;
    if (code !== undefined) {
      const digits = code.exec(this.#pattern.slice(this.#at, this.#at + 4))?.[0];
      if (digits === undefined) throw new UnknownSyntax();
      this.#at += digits.length;
      return String.fromCharCode(Number.parseInt(digits, 16));
    }
    if (letter === 'p' && this.#take('{L}')) return lower;
    if (letter === 'p' && this.#take('{N}')) return '0123456789';
    const known = classes.get(letter) ?? controls.get(letter);
    if (known !== undefined) return known;
    if (letter === '' || /[A-Za-z1-9]/.test(letter)) throw new UnknownSyntax();
    return letter;
  }

  #set(): string {
    const negated = this.#take('^');
    let characters = '';
    while (!this.#take(']')) {
      if (this.#at >= this.#pattern.length) throw new UnknownSyntax();
      const from = this.#setMember();
      if (this.#peek() === '-' && this.#pattern.charAt(this.#at + 1) !== ']' && from.length === 1) {
        this.#at++;
        const first = from.charCodeAt(0);
        const last = this.#setMember().charCodeAt(0);
        for (let code = first; code <= Math.min(last, first + 255); code++) characters += String.fromCharCode(code);
      } else characters += from;
    }
    return negated ? [...printable].filter((character) => !characters.includes(character)).join('') : characters;
  }

  #setMember(): string {
    if (this.#take('\\')) return this.#take('b') ? '\b' : this.#escaped();
    const character = String.fromCodePoint(this.#pattern.codePointAt(this.#at) ?? 0);
    this.#at += character.length;
    return character;
  }

  #repeated(piece: Piece): Piece {
    const [least, most] = this.#quantifier();
    this.#take('?');
    return (extra) => {
      const times = Math.min(most, least + extra, 1000);
      return joined(Array.from({ length: times }), () => piece(extra));
    };
  }

  #quantifier(): [number, number] {
    if (this.#take('*')) return [0, Number.POSITIVE_INFINITY];
    if (this.#take('+')) return [1, Number.POSITIVE_INFINITY];
    if (this.#take('?')) return [0, 1];
    const counted = /^\{(\d+)(,?)(\d*)\}/.exec(this.#pattern.slice(this.#at, this.#at + 24));
    if (counted === null) return [1, 1];
    this.#at += counted[0].length;
    const least = Number(counted[1]);
    if (counted[2] === '') return [least, least];
    return [least, counted[3] === '' ? Number.POSITIVE_INFINITY : Number(counted[3])];
  }
}

/**
 * A text that matches a regular expression and has a length between the bounds, as far as that is found.
 * @returns undefined for syntax beyond literals, classes, groups, alternatives and repetition, or if no length fits.
 */
export function textMatching(pattern: string, least: number, most: number, random: Random): string | undefined {
  if (pattern.length > 1000) return undefined;
  try {
    const piece = new PatternReader(pattern, random).read();
    for (let extra = 0; extra <= 64; extra++) {
      const text = piece(extra);
      const length = [...text].length;
      if (length >= least && length <= most) return text;
    }
  } catch (error) {
    if (!(error instanceof UnknownSyntax)) throw error;
  }
  return undefined;
}
