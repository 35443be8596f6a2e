/**
 * What copies, backups and rewinds of a conversation know of its rows: one list, which plugins go on with. Turns and messages are
 * not in it, because all others stand before or behind them.
 */

import { getPluginMembers, memoizeFromPlugins } from '../../../kit/plugins/plugins.ts';
import type { ConversationProfile, TurnRow } from './rows.ts';
import type { Transcript } from './transcript.ts';

/** A line of a copy: its kind, and its parts as JSON texts. */
export type ConversationCopyLine = readonly [kind: string, ...parts: string[]];

/** Stores the lines of one copy. */
interface ConversationCopyWriter {
  addLine(kind: string, first: string, second: string): void;
  /** Called when all lines have come. @returns changed members of the profile */
  end?(): Partial<ConversationProfile>;
}

/** The last turn that stays or is copied, whether others behind it are left out, and what is added to the numbers of turns. */
type KeptTurnRange = Record<'last' | 'shift', number> & { isCut: boolean };

/** Rows of some kinds, and members of the profile. */
export interface CopyableRows {
  /** The kinds of its lines. */
  readonly kinds?: readonly string[];
  /** @returns lines that stand before the first turn. @param lastMessage the number of the last message that is copied */
  linesBefore?(
    transcript: Transcript,
    profile: ConversationProfile,
    lastMessage: number,
  ): Iterable<ConversationCopyLine>;
  /** @returns lines that stand behind the row of their turn */
  linesOf?(transcript: Transcript, turn: TurnRow): Iterable<ConversationCopyLine>;
  /** @param shift is added to the numbers of turns */
  storing?(transcript: Transcript, shift: number): ConversationCopyWriter;
  /** Takes back what belongs to messages and turns from these numbers on. */
  rewind?(transcript: Transcript, message: number, turn: number): void;
  /** @returns its members of the profile, for the turns that are kept */
  keep?(profile: Partial<ConversationProfile>, turns: KeptTurnRange): Partial<ConversationProfile>;
}

const FROZEN = ['system', 'tools', 'runs', 'agent'] as const;
const frozen: CopyableRows = {
  kinds: FROZEN,
  *linesBefore(transcript, { agent }) {
    for (const [owner, text] of Object.entries(transcript.frozenTexts)) if (text !== undefined) yield [owner, text];
    if (agent) yield ['agent', transcript.frozenAgent];
  },
  storing: (transcript) => ({
    addLine(kind, text) {
      const owner = FROZEN.find((one) => one === kind);
      if (owner) transcript.storeFrozenText(owner, text);
    },
  }),
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
