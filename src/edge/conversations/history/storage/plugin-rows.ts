/** What plugins store in the object of a conversation: rows in tables of their own, which are made with the first of them. */

import type { SqlTables } from '../../../durable/tables.ts';
import type * as z from '../../../kit/http/zod.ts';
import { getPluginMembers, memoizeFromPlugins } from '../../../kit/plugins/plugins.ts';
import type { ToolCallStats } from '../../../money/contracts/settlement.ts';
import type { conversationReport, turnReport } from '../../object/conversations-answers.schema.ts';
import type { ConversationTables } from './rows.ts';

/** A call of a tool by the edge. */
export interface EdgeCall {
  /** The number of the turn whose answer called it. */
  readonly turn: number;
  /** The id of its `tool_use`. */
  readonly id: string;
  /** Milliseconds since 1970; null while it runs, and if a crash has hidden whether it was made. */
  readonly endedAt: number | null;
}

/** The calls that the edge has made: their results are sent with the next message, and are shown with their answer. */
export interface EdgeCalls {
  /** The ids of all of them. */
  readonly ids: ReadonlySet<string>;
  /** @returns the calls of a turn, in their order */
  listCallsOfTurn(turn: number): readonly EdgeCall[];
  /** @returns the `tool_result` blocks of a turn's calls as JSON texts, by the ids of the calls */
  readResultsOfTurn(turn: number): Map<string, string>;
  /** Changes the result of a call that has ended. @param result the `tool_result` block as JSON text, which is short */
  replaceResult(turn: number, id: string, result: string): void;
  /** @returns how often the tools of a turn were called; undefined if none was */
  countCalledTools(turn: number): Record<string, ToolCallStats> | undefined;
  /** Describes the calls of a turn. @param inputsIn reads their inputs, by the ids of the calls */
  describeCallsOfTurn(turn: number, inputsIn: (turn: number) => ReadonlyMap<string, unknown>): VisibleEdgeCalls;
}
type VisibleEdgeCalls = z.output<typeof turnReport>['steps'][number]['calls'];

/** The calls of an edge that makes none. */
export const NO_EDGE_CALLS: EdgeCalls = {
  ids: new Set(),
  listCallsOfTurn: () => [],
  readResultsOfTurn: () => new Map(),
  replaceResult() {},
  countCalledTools: () => undefined,
  describeCallsOfTurn: () => [],
};

/** A text that is sent instead of the beginning of a history. Turns refer to it by its id, as a negative number. */
export interface HistorySubstitute {
  readonly id: number;
  /** The number of the last message that it replaces. */
  readonly until: number;
  /** The message, as JSON text. */
  readonly text: string | null;
  readonly tokens: number;
}

/** Reads the texts that can replace the beginning of a history. */
export interface HistorySubstituteReader {
  /** @returns the text that replaces most messages */
  findMostCovering(): HistorySubstitute | undefined;
  /** @returns the one with an id, if it can be sent */
  findUsableById(id: number): HistorySubstitute | undefined;
  /**
   * Describes them, as they are shown with their conversation.
   *
   * @param endsAt finds the ids of the last messages up to a number
   * @returns undefined if none was begun
   */
  describeSummaries(
    endsAt: (until: number) => Pick<VisibleSummary, 'until' | 'until_shown'>,
  ): VisibleSummary[] | undefined;
}
type VisibleSummary = NonNullable<z.output<typeof conversationReport>['summaries']>[number];

/** The rows of a plugin in a conversation: what they report, and what happens to them. */
export interface PluginRows {
  /** Why no turn may begin; null while one may. */
  readonly paused?: 'approval' | null;
  /** Until when they keep the conversation; milliseconds since 1970. */
  readonly keptUntil?: number | undefined;
  readonly calls?: EdgeCalls;
  /** Absent while there are none. */
  readonly standIns?: HistorySubstituteReader | undefined;
  /** Whether something of them is not settled, or under way. */
  readonly isBusy?: boolean;
  /** @returns why a turn has paused before its end; null if it has not, or if that is not known */
  pauseOf?(turn: number): string | null;
  /** @returns the number of the turn that this turn continues, or of the turn that continues this one */
  before?(turn: number): number | undefined;
  after?(turn: number): number | undefined;
  /** Deletes those of turns. @param turns a query of their numbers */
  deleteOf?(turns: string, ...bindings: SqlStorageValue[]): void;
  /** Deletes the damaged rows that describe how a turn continues. */
  dropDamaged?(turn: number): void;
  /** When the next notification of these rows is due; milliseconds since 1970. */
  readonly nextAt?: number | undefined;
  /** Deletes all that belong to the history. */
  deleteHistoryRows(): void;
  /** Deletes pending notifications, because the conversation is deleted. */
  drop?(): void;
}

/** The rows of one plugin. */
export interface PluginRowsDefinition<Of extends PluginRows = PluginRows> {
  readonly name: string;
  /** The statements that make its tables. */
  readonly tables: string;
  /** @param tables its own @param all those of the conversation, for texts of any length */
  openRows(tables: SqlTables, all: ConversationTables): Of;
}
declare module '../../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** The rows that the plugin stores in the object of a conversation. */
    readonly rows?: PluginRowsDefinition;
  }
}

/** @returns the rows of all plugins in use. Cached, because every turn reads them */
export const rowsInUse = memoizeFromPlugins(() => getPluginMembers('rows'));
