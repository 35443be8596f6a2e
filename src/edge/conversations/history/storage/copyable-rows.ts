/**
 * Describes for copies, backups and rewinds which rows a conversation has: one list, which plugins extend. Turns and messages
 * are not in this list, because the lines of all other rows are relative to them.
 */

import type * as z from '../../../kit/http/zod.ts';
import { getPluginMembers, memoizeFromPlugins } from '../../../kit/plugins/plugins.ts';
import { FROZEN_LINES } from './copied-lines.schema.ts';
import type { ConversationProfile, TurnRow } from './rows.ts';
import type { Transcript } from './transcript.ts';

/** A line of a copy: its kind, and its parts as JSON texts. */
export type ConversationCopyLine = readonly [kind: string, ...parts: string[]];

/** A kind of line in forks and backups. */
export interface CopyLineKind {
  /** The schema of each part. */
  readonly parts: readonly z.ZodMiniType[];
  /** The member of the first part that increases from line to line. Without it a copy has at most one line of this kind. */
  readonly numberedBy?: string;
}

/** The last turn that remains or is copied, whether later turns are left out, and what is added to the numbers of turns. */
type KeptTurnRange = Record<'last' | 'shift', number> & { isCut: boolean };

/** Rows of some kinds, and members of the profile. */
export interface CopyableRows {
  /** The kinds of its lines, by name. */
  readonly lines?: Readonly<Record<string, CopyLineKind>>;
  /** @returns lines that stand before the first turn. @param lastMessage the number of the last message that is copied */
  linesBefore?(
    transcript: Transcript,
    profile: ConversationProfile,
    lastMessage: number,
  ): Iterable<ConversationCopyLine>;
  /** @returns lines that come after the row of their turn */
  linesOf?(transcript: Transcript, turn: TurnRow): Iterable<ConversationCopyLine>;
  /** Stores a line of one of its kinds. @param shift is added to the numbers of turns */
  storeLine?(transcript: Transcript, shift: number, ...line: ConversationCopyLine): void;
  /** Takes back what belongs to messages and turns from these numbers on. */
  rewind?(transcript: Transcript, message: number, turn: number): void;
  /** @returns its members of the profile, for the turns that are kept */
  keep?(profile: Partial<ConversationProfile>, turns: KeptTurnRange): Partial<ConversationProfile>;
}

const frozen: CopyableRows = {
  lines: FROZEN_LINES,
  *linesBefore(transcript, { agent }) {
    for (const [owner, text] of Object.entries(transcript.frozenTexts)) if (text !== undefined) yield [owner, text];
    if (agent) yield ['agent', transcript.frozenAgent];
  },
  storeLine(transcript, _, kind, text) {
    transcript.storeFrozenText(kind as keyof typeof FROZEN_LINES, text);
  },
};

declare module '../../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Which rows of the plugin a fork, an export and a backup contain. */
    readonly copied?: CopyableRows;
  }
}

/** @returns the list, in the order of lines */
export const copiedRows = memoizeFromPlugins(() => [frozen, ...getPluginMembers('copied')]);

/** @returns what all in the list have as members of the profile, for the turns that are kept */
export function selectProfileMembers(
  profile: Partial<ConversationProfile>,
  turns: KeptTurnRange,
): Partial<ConversationProfile> {
  return Object.assign({}, ...copiedRows().map(({ keep }) => keep?.(profile, turns))) as Partial<ConversationProfile>;
}
