import type { Json, JsonObject } from '../../api-rules/json.ts';
import type { RandomSource } from '../random/digest.ts';
import { listContentWords, shortenToSingleLine } from '../text/words.ts';
import { satisfiesSchema } from './schema-check.ts';
import { readNumberKeyword } from './schema-forms.ts';

/** The maximum of characters of a created text, even if `minLength` is greater. */
const MAX_STRING_CHARACTERS = 10_000;

function findFirstMatch(text: string, pattern: RegExp): string | undefined {
  const match = pattern.exec(text.slice(0, 2000));
  return match?.[1] ?? match?.[0];
}

/** Finds a name in a text: a capitalised word behind a preposition, else one within a sentence, else the first content word. */
function findProperName(text: string): string | undefined {
  const behind = findFirstMatch(
    text,
    /\b(?:in|at|for|near|from|to|of|with)\s+(\p{Lu}[\p{L}'-]+(?:\s\p{Lu}[\p{L}'-]+)?)/u,
  );
  const within = behind ?? findFirstMatch(text, /(?<=\p{Ll}[,]?\s)(\p{Lu}\p{Ll}[\p{L}'-]*)/u);
  if (within !== undefined) return within;
  const word = listContentWords(text).at(-1);
  return word === undefined ? undefined : word.charAt(0).toUpperCase() + word.slice(1);
}

/** Patterns of property names, with a function that creates a likely value for a string of that name. */
const MEANING_PATTERNS: [RegExp, (text: string) => string][] = [
  [/e-?mail/, (text) => findFirstMatch(text, /[\w.+-]+@[\w-]+\.[\w.-]*\w/) ?? 'ada@example.com'],
  [/ur[li]$|link|href|website/, (text) => findFirstMatch(text, /https?:\/\/[^\s"'<>)]+/) ?? 'https://example.com/'],
  [/path|file/, (text) => findFirstMatch(text, /[\w./~-]*\w\.[a-z]\w{0,4}\b/) ?? 'README.md'],
  [/command|script|^cmd$/, (text) => findFirstMatch(text, /`([^`]+)`/) ?? 'echo simulated'],
  [/expression|formula|equation/, (text) => findFirstMatch(text, /[\d(][\d\s.()+*/^-]*[\d)]/)?.trim() ?? '1 + 1'],
  [/date|^day$/, (text) => findFirstMatch(text, /\d{4}-\d{2}-\d{2}/) ?? '2026-01-15'],
  [/city|location|place|country|town|region|destination|origin|address/, (text) => findProperName(text) ?? 'Paris'],
  [/query|question|prompt|text|message|content|input|body|search/, (text) => shortenToSingleLine(text, 200)],
  [/title|subject|topic|summary|description|headline/, (text) => shortenToSingleLine(text, 60)],
  [
    /reason|explanation|rationale|justification/,
    (text) => `Simulated: chosen by words of “${shortenToSingleLine(text, 60)}”`,
  ],
  [/name|person|customer|author|recipient|assignee/, (text) => findProperName(text) ?? 'Ada'],
  [/symbol|ticker/, (text) => findFirstMatch(text, /\b[A-Z]{1,5}\b/) ?? 'ABC'],
  [/(^|_)(id|number|code|key)$|Id$/, (text) => findFirstMatch(text, /\b[A-Z]*[-#]?\d[\w-]*/) ?? 'A-1'],
];

function findTextForPropertyName(name: string, text: string): string {
  const meaning = MEANING_PATTERNS.find(([pattern]) => pattern.test(name) || pattern.test(name.toLowerCase()))?.[1];
  const meant = meaning === undefined ? listContentWords(text)[0] : meaning(text);
  return meant === undefined || meant === '' ? name || 'simulated' : meant;
}

function padTwoDigits(value: number): string {
  return String(value).padStart(2, '0');
}

/** Makes a text of one of JSON Schema's formats; undefined for an unknown format. */
function createTextOfFormat(format: string, text: string, variant: number, random: RandomSource): string | undefined {
  const day = `2026-${padTwoDigits(1 + (Math.floor(variant / 28) % 12))}-${padTwoDigits(1 + ((14 + variant) % 28))}`;
  const word = listContentWords(text).find((entry) => /^[a-z]+$/.test(entry)) ?? 'simulated';
  const suffix = variant === 0 ? '' : String(variant);
  const createUuid = () => {
    const digits = Array.from({ length: 32 }, () => Math.floor(random() * 16).toString(16));
    digits[12] = '4';
    digits[16] = '8';
    return digits.join('').replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
  };
  const named = variant === 0 && findFirstMatch(text, /\b20\d\d-(?:0[1-9]|1[0-2])-(?:0[1-9]|1\d|2[0-8])\b/);
  const forms = new Map<string, () => string>([
    ['date', () => named || day],
    ['date-time', () => `${day}T12:00:00Z`],
    ['time', () => `12:${padTwoDigits(variant % 60)}:00Z`],
    ['duration', () => `P${variant + 1}D`],
    ['email', () => `${word}${suffix}@example.com`],
    ['hostname', () => `${word}${suffix}.example.com`],
    ['uri', () => `https://example.com/${word}${suffix}`],
    ['ipv4', () => `192.0.2.${1 + (variant % 254)}`],
    ['ipv6', () => `2001:db8::${(variant + 1).toString(16)}`],
    ['uuid', createUuid],
  ]);
  // Use the plain format for its internationalized (`idn-email`) and relative (`uri-reference`) variants, which accept the same
  // values.
  return forms.get(format.replace(/^idn-(?=email$|hostname$)/, '').replace(/^[iu]ri(-reference)?$/, 'uri'))?.();
}

function fitTextLength(text: string, minLength: number, maxLength: number): string {
  const characters = [...text];
  if (characters.length > maxLength) return characters.slice(0, maxLength).join('');
  if (characters.length >= minLength) return text;
  return text + ' simulated'.repeat(Math.ceil(minLength / 10)).slice(0, minLength - characters.length);
}

/**
 * Makes a string that satisfies a plain schema, except for its `pattern`, taken from the text if the property's name shows its
 * meaning.
 * @param variant 0 for the first of a list; others differ from it.
 */
export function createSchemaString(
  schema: JsonObject,
  name: string,
  text: string,
  variant: number,
  random: RandomSource,
): string {
  const least = Math.min(readNumberKeyword(schema, 'minLength') ?? 0, MAX_STRING_CHARACTERS);
  const most = readNumberKeyword(schema, 'maxLength') ?? MAX_STRING_CHARACTERS;
  const format = schema.format;
  const inFormat = typeof format === 'string' ? createTextOfFormat(format, text, variant, random) : undefined;
  if (inFormat !== undefined) return inFormat;
  const meant = fitTextLength(findTextForPropertyName(name, text), least, most);
  if (variant === 0) return meant;
  const suffix = String(variant + 1);
  return fitTextLength(
    [...meant].slice(0, Math.max(0, most - suffix.length - 1)).join('') + (most > suffix.length ? ' ' : '') + suffix,
    least,
    most,
  );
}

function getNumberStep(schema: JsonObject, isInteger: boolean): number {
  const multiple = readNumberKeyword(schema, 'multipleOf');
  if (multiple === undefined || multiple <= 0) return isInteger ? 1 : 0;
  if (!isInteger) return multiple;
  for (let times = 1; times <= 1000; times++) {
    if (Math.abs(multiple * times - Math.round(multiple * times)) < 1e-9) return Math.round(multiple * times);
  }
  return multiple;
}

/** Makes a number that satisfies a plain schema: one that the text names, where that is possible. */
export function createSchemaNumber(schema: JsonObject, text: string, variant: number, isInteger: boolean): number {
  const step = getNumberStep(schema, isInteger);
  const low = Math.max(
    readNumberKeyword(schema, 'minimum') ?? -Infinity,
    readNumberKeyword(schema, 'exclusiveMinimum') ?? -Infinity,
  );
  const high = Math.min(
    readNumberKeyword(schema, 'maximum') ?? Infinity,
    readNumberKeyword(schema, 'exclusiveMaximum') ?? Infinity,
  );
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
  const satisfiesNumber = (value: Json): boolean =>
    satisfiesSchema(value, { ...schema, type: isInteger ? 'integer' : 'number' }, { root: {}, remainingSteps: 8 });
  return candidates.find(satisfiesNumber) ?? (Number.isFinite(start) ? start : 0);
}
