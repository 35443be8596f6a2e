import type { Random } from '../random/digest.ts';
import type { Json, JsonObject } from '../request/json.ts';
import { contentWords, excerpt } from '../text/words.ts';
import { satisfies } from './schema-check.ts';
import { numberOf } from './schema-forms.ts';

/** A text longer than this is not made, whatever `minLength` says; in characters. */
const LONGEST_STRING = 10_000;

function firstMatch(text: string, pattern: RegExp): string | undefined {
  const match = pattern.exec(text.slice(0, 2000));
  return match?.[1] ?? match?.[0];
}

/** Finds a name in a text: a capitalised word behind a preposition, else one within a sentence, else the first content word. */
function properName(text: string): string | undefined {
  const behind = firstMatch(text, /\b(?:in|at|for|near|from|to|of|with)\s+(\p{Lu}[\p{L}'-]+(?:\s\p{Lu}[\p{L}'-]+)?)/u);
  const within = behind ?? firstMatch(text, /(?<=\p{Ll}[,]?\s)(\p{Lu}\p{Ll}[\p{L}'-]*)/u);
  if (within !== undefined) return within;
  const word = contentWords(text).at(-1);
  return word === undefined ? undefined : word.charAt(0).toUpperCase() + word.slice(1);
}

/** What a string is likely to be meant for, told by its property's name, and what is put there. */
const MEANINGS: [RegExp, (text: string) => string][] = [
  [/e-?mail/, (text) => firstMatch(text, /[\w.+-]+@[\w-]+\.[\w.-]*\w/) ?? 'ada@example.com'],
  [/ur[li]$|link|href|website/, (text) => firstMatch(text, /https?:\/\/[^\s"'<>)]+/) ?? 'https://example.com/'],
  [/path|file/, (text) => firstMatch(text, /[\w./~-]*\w\.[a-z]\w{0,4}\b/) ?? 'README.md'],
  [/command|script|^cmd$/, (text) => firstMatch(text, /`([^`]+)`/) ?? 'echo simulated'],
  [/expression|formula|equation/, (text) => firstMatch(text, /[\d(][\d\s.()+*/^-]*[\d)]/)?.trim() ?? '1 + 1'],
  [/date|^day$/, (text) => firstMatch(text, /\d{4}-\d{2}-\d{2}/) ?? '2026-01-15'],
  [/city|location|place|country|town|region|destination|origin|address/, (text) => properName(text) ?? 'Paris'],
  [/query|question|prompt|text|message|content|input|body|search/, (text) => excerpt(text, 200)],
  [/title|subject|topic|summary|description|headline/, (text) => excerpt(text, 60)],
  [/reason|explanation|rationale|justification/, (text) => `Simulated: chosen by words of “${excerpt(text, 60)}”`],
  [/name|person|customer|author|recipient|assignee/, (text) => properName(text) ?? 'Ada'],
  [/symbol|ticker/, (text) => firstMatch(text, /\b[A-Z]{1,5}\b/) ?? 'ABC'],
  [/(^|_)(id|number|code|key)$|Id$/, (text) => firstMatch(text, /\b[A-Z]*[-#]?\d[\w-]*/) ?? 'A-1'],
];

function meantText(name: string, text: string): string {
  const meaning = MEANINGS.find(([pattern]) => pattern.test(name) || pattern.test(name.toLowerCase()))?.[1];
  const meant = meaning === undefined ? contentWords(text)[0] : meaning(text);
  return meant === undefined || meant === '' ? name || 'simulated' : meant;
}

function twoDigits(value: number): string {
  return String(value).padStart(2, '0');
}

/** Makes a text of one of JSON Schema's formats; undefined for an unknown format. */
function formatted(format: string, text: string, variant: number, random: Random): string | undefined {
  const day = `2026-${twoDigits(1 + (Math.floor(variant / 28) % 12))}-${twoDigits(1 + ((14 + variant) % 28))}`;
  const word = contentWords(text).find((entry) => /^[a-z]+$/.test(entry)) ?? 'simulated';
  const suffix = variant === 0 ? '' : String(variant);
  const uuid = () => {
    const digits = Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16));
    digits[12] = '4';
    digits[16] = '8';
    return digits.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  };
  const named = variant === 0 && firstMatch(text, /\b20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b/);
  const forms = new Map<string, () => string>([
    ['date', () => named || day],
    ['date-time', () => `${day}T12:00:00Z`],
    ['time', () => `12:${twoDigits(variant % 60)}:00Z`],
    ['duration', () => `P${variant + 1}D`],
    ['email', () => `${word}${suffix}@example.com`],
    ['hostname', () => `${word}${suffix}.example.com`],
    ['uri', () => `https://example.com/${word}${suffix}`],
    ['ipv4', () => `192.0.2.${1 + (variant % 254)}`],
    ['ipv6', () => `2001:db8::${(variant + 1).toString(16)}`],
    ['uuid', uuid],
  ]);
  // Forms that take other letters too, or only a part, take these as well.
  return forms.get(format.replace(/^idn-(?=email$|hostname$)/, '').replace(/^[iu]ri(-reference)?$/, 'uri'))?.();
}

function fitted(text: string, least: number, most: number): string {
  const characters = [...text];
  if (characters.length > most) return characters.slice(0, most).join('');
  if (characters.length >= least) return text;
  return text + ' simulated'.repeat(Math.ceil(least / 10)).slice(0, least - characters.length);
}

/**
 * Makes a string that satisfies a plain schema, except for its `pattern`, taken from the text where the property's name says what is wanted.
 * @param variant 0 for the first of a list; others differ from it.
 */
export function stringFor(schema: JsonObject, name: string, text: string, variant: number, random: Random): string {
  const least = Math.min(numberOf(schema, 'minLength') ?? 0, LONGEST_STRING);
  const most = numberOf(schema, 'maxLength') ?? LONGEST_STRING;
  const format = schema.format;
  const inFormat = typeof format === 'string' ? formatted(format, text, variant, random) : undefined;
  if (inFormat !== undefined) return inFormat;
  const meant = fitted(meantText(name, text), least, most);
  if (variant === 0) return meant;
  const suffix = String(variant + 1);
  return fitted(
    [...meant].slice(0, Math.max(0, most - suffix.length - 1)).join('') + (most > suffix.length ? ' ' : '') + suffix,
    least,
    most,
  );
}

function stepOf(schema: JsonObject, isInteger: boolean): number {
  const multiple = numberOf(schema, 'multipleOf');
  if (multiple === undefined || multiple <= 0) return isInteger ? 1 : 0;
  if (!isInteger) return multiple;
  for (let times = 1; times <= 1000; times++) {
    if (Math.abs(multiple * times - Math.round(multiple * times)) < 1e-9) return Math.round(multiple * times);
  }
  return multiple;
}

/** Makes a number that satisfies a plain schema: one that the text names, where that is possible. */
export function numberFor(schema: JsonObject, text: string, variant: number, isInteger: boolean): number {
  const step = stepOf(schema, isInteger);
  const low = Math.max(numberOf(schema, 'minimum') ?? -Infinity, numberOf(schema, 'exclusiveMinimum') ?? -Infinity);
  const high = Math.min(numberOf(schema, 'maximum') ?? Infinity, numberOf(schema, 'exclusiveMaximum') ?? Infinity);
  const named = (text.slice(0, 2000).match(/(?<![\w.-])-?\d+(?:\.\d+)?(?![\w-])/g) ?? []).map(Number);
  const middle = Number.isFinite(low) && Number.isFinite(high) ? low + (high - low) * 0.75 : undefined;
  const start = middle ?? (Number.isFinite(low) ? low : Number.isFinite(high) ? high : 1);
  const stride = step || 1;
  const preferred =
    variant === 0 ? [...named, start] : [low + variant * stride, high - variant * stride, start + variant * stride];
  const around = [start, low, high, low + (high - low) / 2, start + 1, start - 1, low + stride, high - stride];
  const candidates = [...preferred, ...around].filter(Number.isFinite).flatMap((value) => {
    if (step === 0) return [Number(value.toPrecision(6)), value];
    const times = value / step;
    return [Math.floor(times), Math.ceil(times), Math.floor(times) + 1, Math.ceil(times) - 1].map((n) =>
      Number((n * step).toPrecision(15)),
    );
  });
  const fits = (value: Json): boolean =>
    satisfies(value, { ...schema, type: isInteger ? 'integer' : 'number' }, { root: {}, left: 8 });
  return candidates.find(fits) ?? (Number.isFinite(start) ? start : 0);
}
