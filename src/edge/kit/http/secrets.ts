/**
 * Stores the credentials that are sent, and masks them in responses, because a gateway may quote them in its errors, and a tool
 * in its result.
 */

import { encoder, encodeUtf8, exactDecoder, toBase64 } from './bytes.ts';
import { decodeEscapes, decodeEscapesRepeatedly } from './decode-escapes.ts';

/** A shorter value is not masked. It is hardly a secret, and might be a word of any text. */
const MIN_MASKED_LENGTH = 8;
/** A shorter value is masked only as it is written: in other spellings it might be a part of any text. */
const MIN_SPELLED_LENGTH = 16;
const MASK = '[secret]';

/** The forms of one owner's secrets: `plain` is searched as it is, `spelled` in every spelling. */
interface SearchableSecretForms {
  secrets: readonly string[];
  plain: readonly string[];
  spelledSecrets: readonly string[];
}

const byOwner = new Map<string, SearchableSecretForms>();
let allSecrets: readonly string[] = [];
let spelled: readonly string[] = [];
/** A text without any of these has no escape that matters. */
let escapes: readonly string[] = [];
let shortestSecret = Number.POSITIVE_INFINITY;

/**
 * Remembers secrets, in each form in which a text may quote them.
 *
 * @param owner whose secrets they are, such as the name of a setting. They replace the owner's earlier secrets
 */
export function registerSecrets(owner: string, secrets: readonly string[]): void {
  const present = byOwner.get(owner)?.secrets;
  if (present?.length === secrets.length && present.every((secret, at) => secret === secrets[at])) return;
  const long = secrets.filter(({ length }) => length >= MIN_MASKED_LENGTH);
  const inBase64 = long.filter(({ length }) => length >= MIN_SPELLED_LENGTH).flatMap(listBase64Forms);
  const listEscapedForms = (secret: string) => [secret, escapeForJson(secret), escapeForJson(escapeForJson(secret))];
  const plain = long.flatMap((secret) => [
    ...listEscapedForms(secret),
    ...listEscapedForms(escapeForJson(secret).replaceAll('/', '\\/')),
    encodeURIComponent(secret),
  ]);
  const longest = long.filter(({ length }) => length >= MIN_SPELLED_LENGTH);
  // A secret may itself look like escaped text. A client that decodes it would show the decoded form, so search for that form,
  // too.
  const meant = longest.map((secret) => decodeEscapes(secret).text).filter(({ length }) => length >= MIN_MASKED_LENGTH);
  byOwner.set(owner, {
    secrets: [...secrets],
    plain: [...plain, ...inBase64],
    spelledSecrets: [...longest, ...meant, ...inBase64],
  });
  // Sort the longest first: masking a shorter secret that is part of a longer one would leave the rest of the longer one
  // visible.
  const collectForms = (select: (one: SearchableSecretForms) => readonly string[]) =>
    [...new Set([...byOwner.values()].flatMap(select))].sort((left, right) => right.length - left.length);
  allSecrets = collectForms(({ plain }) => plain);
  spelled = collectForms((one) => one.spelledSecrets);
  escapes = spelled.some((secret) => /[\\"\s]/.test(secret)) ? ['%', '\\'] : ['%', '\\u', '\\/'];
  shortestSecret = allSecrets.at(-1)?.length ?? Number.POSITIVE_INFINITY;
}

function escapeForJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** @returns what a secret looks like inside of base64, in both alphabets: it may begin at any of three positions. */
function listBase64Forms(secret: string): string[] {
  const bytes = encodeUtf8(secret);
  const forms = [0, 1, 2].map((before) => {
    const shifted = new Uint8Array(before + bytes.length);
    shifted.set(bytes, before);
    // Drop the characters at both ends: each also encodes bits of the text next to the secret.
    const first = Math.ceil((before * 8) / 6);
    return toBase64(shifted).slice(first, Math.floor((shifted.length * 8) / 6));
  });
  return [...forms, ...forms.map((form) => form.replaceAll('+', '-').replaceAll('/', '_'))];
}

/** @returns a text without the remembered secrets. */
export function maskSecrets(text: string): string {
  if (text.length < shortestSecret) return text;
  let rest = text;
  for (const secret of allSecrets) if (rest.includes(secret)) rest = rest.replaceAll(secret, MASK);
  return escapes.some((one) => rest.includes(one)) ? maskEscapedSecrets(rest) : rest;
}

/** Masks secrets that are written with escapes. */
function maskEscapedSecrets(text: string): string {
  const found = decodeEscapesRepeatedly(text).flatMap(({ text: meaning, positions }) =>
    spelled
      .flatMap((secret) => findSecretOccurrences(secret, meaning))
      .map(([start, end]) => [positions[start] ?? 0, positions[end] ?? 0] as const),
  );
  let rest = '';
  let from = 0;
  for (const [begin, end] of found.sort(([left], [right]) => left - right)) {
    // Merge overlapping secrets, so that they are masked once and no part between them stays visible.
    if (begin >= from) rest += text.slice(from, begin) + MASK;
    from = Math.max(from, end);
  }
  return rest + text.slice(from);
}

function findSecretOccurrences(secret: string, text: string): [start: number, end: number][] {
  const positions: [number, number][] = [];
  const { length } = secret;
  for (let at = text.indexOf(secret); at >= 0; at = text.indexOf(secret, at + length))
    positions.push([at, at + length]);
  return positions;
}

/** Masks secrets in every string and name of a parsed JSON value. @returns the value without them */
export function maskSecretsInJson(value: unknown): unknown {
  if (allSecrets.length === 0) return value;
  if (typeof value === 'string') return maskSecrets(value);
  if (Array.isArray(value)) return value.map(maskSecretsInJson);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, member]) => [maskSecrets(name), maskSecretsInJson(member)]),
  );
}

/** @returns a text without the beginning of a secret that it ends with, because it was interrupted there. */
export function trimPartialSecretAtEnd(text: string): string {
  const ends = decodeEscapesRepeatedly(text, true).map(({ text: meaning, positions }) => {
    const begun = computePartialSecretLength(meaning, spelled);
    return begun > 0 ? (positions[meaning.length - begun] ?? 0) : text.length;
  });
  return text.slice(0, Math.min(...ends, text.length - computePartialSecretLength(text, allSecrets)));
}

/** @returns the length of the longest beginning of a secret that a text ends with; 0 if there is none */
function computePartialSecretLength(text: string, secrets: readonly string[]): number {
  let longest = 0;
  for (const secret of secrets) {
    for (let length = secret.length - 1; length >= MIN_MASKED_LENGTH && length > longest; length -= 1)
      if (text.endsWith(secret.slice(0, length))) longest = length;
  }
  return longest;
}

/** @returns the bytes of a text without those secrets; the same bytes if it has none. */
export function maskSecretsInBytes(bytes: Uint8Array): Uint8Array {
  const text = exactDecoder.decode(bytes);
  const rest = maskSecrets(text);
  return rest === text ? bytes : encoder.encode(rest);
}
