/**
 * Remembers the credentials that go up, and masks them in what comes back, because a gateway may quote them in its errors,
 * and a tool in its answer.
 */

import { encoder, exactDecoder } from './bytes.ts';

/** A shorter value is not masked. It is hardly a secret, and might be a word of any text. */
const LEAST_LENGTH = 8;
const MASK = '[secret]';

const secretsByOwner = new Map<string, readonly string[]>();
let all: readonly string[] = [];
let shortest = Number.POSITIVE_INFINITY;

/**
 * Remembers secrets, in each form in which a text may quote them.
 *
 * @param owner whose secrets they are, such as the name of a setting. They replace the owner's earlier secrets
 */
export function keepSecrets(owner: string, secrets: readonly string[]): void {
  const long = secrets.filter(({ length }) => length >= LEAST_LENGTH);
  const forms = (secret: string) => [secret, inJson(secret), inJson(inJson(secret))];
  secretsByOwner.set(
    owner,
    long.flatMap((secret) => [
      ...forms(secret),
      ...forms(inJson(secret).replaceAll('/', '\\/')),
      encodeURIComponent(secret),
    ]),
  );
  // One secret may be a part of another, so longer ones come first.
  all = [...new Set([...secretsByOwner.values()].flat())].sort((left, right) => right.length - left.length);
  shortest = all.at(-1)?.length ?? Number.POSITIVE_INFINITY;
}

function inJson(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}

/** @returns a text without the remembered secrets. */
export function masked(text: string): string {
  if (text.length < shortest) return text;
  let rest = text;
  for (const secret of all) if (rest.includes(secret)) rest = rest.replaceAll(secret, MASK);
  return rest;
}

/** @returns a text without the beginning of a secret that it ends with, because it was interrupted there. */
export function withoutBegunSecret(text: string): string {
  for (const secret of all) {
    for (let length = secret.length - 1; length >= LEAST_LENGTH; length -= 1)
      if (text.endsWith(secret.slice(0, length))) return text.slice(0, -length);
  }
  return text;
}

/** @returns the bytes of a text without those secrets; the same bytes if it has none. */
export function maskedBytes(bytes: Uint8Array): Uint8Array {
  const text = exactDecoder.decode(bytes);
  const rest = masked(text);
  return rest === text ? bytes : encoder.encode(rest);
}
