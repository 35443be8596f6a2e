import { finalError } from '../http/errors.ts';

/**
 * The formats of JSON that rows hold.
 *
 * A member may be added at any time: a release that does not know it ignores it. If a member changes its meaning or is
 * removed, its format gets a new version. One release learns to read that version, and only the next release writes it. So
 * going back by one release is always possible: that release can read everything that is stored.
 */

/** The versions of one format. */
export interface Format {
  /** The newest version that this release can read. */
  reads: number;
  /** The version that this release writes. The release before can read it. */
  writes: number;
}

export const FORMATS = {
  profile: { reads: 1, writes: 1 },
  grant: { reads: 1, writes: 1 },
  outcome: { reads: 1, writes: 1 },
  /** An account's own limits. */
  limits: { reads: 1, writes: 1 },
  /** The identity of an account towards its pools. */
  lease: { reads: 1, writes: 1 },
  /** What must still be handed over to pools from an erased account. */
  handovers: { reads: 1, writes: 1 },
  /** What a pool has granted an account, by window. */
  grants: { reads: 1, writes: 1 },
  /** How far the rows of an account's ledger are folded. */
  fold: { reads: 1, writes: 1 },
  /** A batch, and how far it has come. */
  batch: { reads: 1, writes: 1 },
  /** A classification by batch, and how far it has come. */
  classification_batch: { reads: 1, writes: 1 },
  /** The result of a webhook's event. */
  classification: { reads: 1, writes: 1 },
} as const satisfies Record<string, Format>;

export type FormatName = keyof typeof FORMATS;

/**
 * @returns the value of a text that a row holds
 * @throws ApiError 500 for a version that only a later release can read. Guessing could destroy it
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

/** @returns the text by which a row holds a value. The first version has no number, which makes most rows shorter. */
export function writeFormat(name: FormatName, value: object | null, { writes }: Format = FORMATS[name]): string {
  return JSON.stringify(value === null || writes === 1 ? value : { ...value, v: writes });
}

/** @returns what is stored without the version of its form. */
export function withoutFormat<T extends object>(stored: T): T {
  const { v: _, ...own } = stored as T & { v?: number };
  return own as T;
}
