import { type Digest, digest, hex } from './digest.ts';

function seal(kind: string, text: string, seed: Digest): string {
  return hex(digest(`${kind}:${text}`, seed));
}

/** Signs the text of a thinking block. The signature depends on the text and the seed alone. */
export function signThinking(thinking: string, seed: Digest): string {
  return btoa(`sluice-simulator:thinking:${seal('thinking', thinking, seed)}`);
}

/** Tells whether a thinking block comes back as the simulator made it. */
export function isSignedThinking(thinking: string, signature: string, seed: Digest): boolean {
  return signature === signThinking(thinking, seed);
}

/** Makes the data of a redacted thinking block. */
export function redactedData(subject: string, seed: Digest): string {
  const id = seal('subject', subject, seed);
  return btoa(`sluice-simulator:redacted:${id}:${seal('redacted', id, seed)}`);
}

/** Tells whether a redacted thinking block comes back as the simulator made it. */
export function isRedactedData(data: string, seed: Digest): boolean {
  let opened: string;
  try {
    opened = atob(data);
  } catch {
    return false;
  }
  const [, kind, id = '', mark] = opened.split(':');
  return kind === 'redacted' && mark === seal('redacted', id, seed);
}
