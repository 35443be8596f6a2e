import { finalError } from '../http/errors.ts';
/**
 * The formats of JSON that rows hold.
 *
 * A member may be added at any time: a release that does not know it ignores it. A member that changes its meaning, or is
 * removed, makes a new version of its format. One release learns to read that version, and only the next release writes
 * it. So one can always go back by one release: it can read all that is stored.
 */

/** The versions of one format. */
export interface Format {
  /** The newest version that this release can read. */
  reads: number;
  /** The version that this release writes. The release before can read it. */
  writes: number;
}

export const FORMATS = {
  /** What a conversation is. */
  profile: { reads: 1, writes: 1 },
  /** What a turn was admitted with. */
  grant: { reads: 1, writes: 1 },
  /** How a turn ended. */
  outcome: { reads: 1, writes: 1 },
  /** An account's own limits. */
  limits: { reads: 1, writes: 1 },
  /** Who an account is to its pools. */
  lease: { reads: 1, writes: 1 },
  /** What pools are still to be told of an erased account. */
  handovers: { reads: 1, writes: 1 },
  /** What a pool has granted an account, by window. */
  grants: { reads: 1, writes: 1 },
  /** Up to where an account's rows are summed up. */
  fold: { reads: 1, writes: 1 },
  /** What a batch is, and how far it has come. */
  batch: { reads: 1, writes: 1 },
  /** What a classification by batch is, and how far it has come. */
  classification_batch: { reads: 1, writes: 1 },
  /** What a webhook's event was labelled with. */
  classification: { reads: 1, writes: 1 },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof FORMATS;

/**
 * @returns the value of a text that a row holds
 * @throws ApiError 500 for a version that only a later release can read: reading it by guess could destroy it
 */
export function readFormat<T>(name: FormatName, text: string, { reads }: Format = FORMATS[name]): T {
  const value = JSON.parse(text) as (T & { v?: unknown }) | null;
  const version = value?.v ?? 1;
  if (typeof version === 'number' && version <= reads) return value as T;
  throw finalError(
    'api_error',
    'This was stored by a newer version of this edge. Its operator must deploy that version again.',
    { logged: `newer_format: ${name} ${String(version).slice(0, 16)}` },
  );
}

/** @returns the text by which a row holds a value; the first version has no number, as before there were any. */
export function writeFormat(name: FormatName, value: object | null, { writes }: Format = FORMATS[name]): string {
  return JSON.stringify(value === null || writes === 1 ? value : { ...value, v: writes });
}
