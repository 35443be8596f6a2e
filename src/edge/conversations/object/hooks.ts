import type { Identity, RestrictedCaller } from '../../auth/identity/caller.ts';
import type { SteppedWork } from '../../kit/async/run-in-steps.ts';
import type { ApiError } from '../../kit/http/errors.ts';
import type { PluginContextValues } from '../../kit/plugins/context-values.ts';
import { getPluginMembers, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import type { DimensionValues } from '../../money/contracts/dimensions.ts';
import type { ResolvedAgent } from '../history/agent-in-use.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import type { ConversationProfile, TurnRow } from '../history/storage/rows.ts';
import type { Transcript } from '../history/storage/transcript.ts';
import type { TurnNotes } from '../history/storage/turn-notes.ts';
import type { TurnHandle, TurnRunner } from '../turn/turn-handle.ts';
import type { RpcResult, RpcText, TurnRequest } from './contract.ts';
import type { StopTurnQuery } from './conversations.schema.ts';
import type { ImportOmissions } from './conversations-answers.schema.ts';
import type { InitialContext } from './initial-context.ts';
import type { ConversationMaintainer } from './maintenance.ts';
import type { ObjectContext } from './object-context.ts';
import type { TurnLock } from './turn-lock.ts';

/** A turn's request whose body has been read. */
export type BufferedTurnRequest = TurnRequest & { body: string };

/** A requested turn that has not begun yet. */
export interface PendingTurn {
  readonly request: BufferedTurnRequest;
  /** The prefix or agent of a new conversation. */
  readonly initialContext: InitialContext | undefined;
  /** What plugins remember of it from one look at it to the next. */
  readonly pluginContext: PluginContextValues;
}

/** What must be waited for before a turn can begin. Once it is done, everything is looked at again. */
export interface TurnPrerequisite {
  work: Promise<unknown>;
  /** Whether a stream is kept alive by pings meanwhile. */
  pings?: boolean;
}

/**
 * The hooks of a plugin in the object of one conversation: for the phases of a turn, and for the plugin's own work. They are
 * called in the order of the list of plugins.
 */
export interface ConversationHooks {
  /**
   * Plans a turn, or a prompt that is counted, instead of the core. Writes nothing.
   *
   * @param plan plans it with a model
   * @returns undefined if the turn is not for this plugin
   */
  plan?(
    turn: Pick<PendingTurn, 'pluginContext'> & { request?: BufferedTurnRequest },
    agent: ResolvedAgent | undefined,
    plan: (model: string) => NextRequestPlan,
  ): NextRequestPlan | undefined;
  /** @returns what must be waited for; undefined if the turn can begin. @throws ApiError if it must not begin */
  findPrerequisite?(turn: PendingTurn, planned: NextRequestPlan): TurnPrerequisite | undefined;
  /**
   * Stores the plugin's data of a turn, in the step that takes the lock. May change the row, which is stored afterwards.
   *
   * @returns notes that are too long to stay in memory. They are added to the row that is stored, but not to `row`, and are
   *   removed at the end of the turn. Those of a run are not stored
   */
  storeTurnData?(turn: PendingTurn, planned: NextRequestPlan, row: TurnRow): TurnNotes | undefined;
  /**
   * Stores a turn and makes its runner, instead of the core.
   *
   * @returns undefined if the turn is not for this plugin
   */
  run?(turn: PendingTurn, planned: NextRequestPlan, row: TurnRow): TurnRunner | undefined;
  /** Ends or continues a turn of this plugin that a crash interrupted. @returns undefined unless the turn continues */
  resume?(row: TurnRow): TurnRunner | undefined;
  /** Begins a turn again that a crash has kept from being sent. @returns undefined if it cannot. @throws ApiError if it must not */
  beginAgain?(row: TurnRow): TurnRunner | undefined;
  /** @returns the ledger's dimensions of a request of the conversation. @param pluginContext of a turn that begins; absent for a later step */
  getDimensions?(pluginContext: PluginContextValues | undefined): DimensionValues;
  /** @returns headers of a turn's answer. @param hides whether the caller is not told how the agent works */
  headers?(turn: string, hides: boolean): Record<string, string>;
  /**
   * Settles the plugin's work that a crash has interrupted, such as a summary, and repeats unconfirmed settlements. Called at each wake and by
   * each alarm.
   */
  settleOpenWork?(): void;
  /** Stores the plugin's data about the end of a turn, such as an event. Called in the step that stores the end. */
  storeEndData?(turn: TurnHandle): void;
  /** Does the work that is due. Called by each alarm. */
  alarm?(): void;
  /** @returns whether something is under way for which only a watch wakes the object */
  hasPendingWork?(): boolean;
  /** Called when a turn has ended and the lock is free. Starts work that waits for this, such as a summary. */
  onTurnEnded?(): void;
  /** @returns the caller for whom the plugin works now: for a summary, the caller of its turn */
  getCaller?(): Identity | undefined;
  /** Stops the work that is running. */
  stopWork?(): Promise<void>;
}

/** A conversation in the memory of its object. What plugins have in the object gets it, and nothing else. */
export interface ConversationContext extends ObjectContext {
  readonly maintenance: ConversationMaintainer;
  readonly hooks: readonly ConversationHooks[];
  /** The profile, if callers can see the conversation. Ends or resumes interrupted turns first. */
  readonly visibleProfile: ConversationProfile | undefined;
  /** @returns the profile; the 404 if there is none, and the 403 for a restricted token that may not use this conversation */
  findProfileForCaller(caller: RestrictedCaller | undefined): RpcResult<ConversationProfile>;
  /** @returns the 409 for a conversation whose prefix or agent was withdrawn; undefined for any other */
  findWithdrawalError(): Promise<unknown>;
  /** Ends or resumes the turns that a crash has interrupted. */
  recoverFromCrash(): void;
  /**
   * Stops the running turn, or only the turn `only`, and keeps the part of the answer that has arrived. Waits for its end for a
   * limited time.
   */
  stopTurn(only: StopTurnQuery): Promise<void>;
  /** The lock that the running turn holds. */
  readonly lock: TurnLock;
  /** Aborts the object, since the end of a turn could not be stored. */
  abortObject(thrown: unknown): void;
  /** Whether a new conversation may begin here. */
  readonly isConversationIdFree: boolean;
  /** Waits until a history is stored. Until then no turn begins. @returns the conversation */
  waitUntilHistoryStored(stored: Promise<void>): Promise<RpcResult<RpcText>>;
}

/** A method as its plugin types it: its arguments come from a call of the object. */
interface PluginMethod {
  call(object: ConversationContext, ...args: readonly unknown[]): unknown;
}

/** A plugin's part of a conversation's object. Its rows are in the tables of the conversation. */
export interface ConversationPlugin {
  /** Creates the hooks when the object wakes. */
  createHooks?(conversation: ConversationContext): ConversationHooks;
  /** @returns why no turn may begin while calls wait for a decision; undefined if this plugin has none to decide */
  refusal?(transcript: Transcript): ApiError | undefined;
  /** Ends what waits of a turn that is cancelled. */
  cancel?(transcript: Transcript, turn: string, now: number): void;
  /**
   * Checks the imported messages of a new conversation. @param list their JSON text @throws ApiError 400 that explains what is
   * wrong
   */
  imports?(list: string): SteppedWork<ImportedHistory>;
  /** The methods that `callPlugin` of the object calls by name. */
  methods?: Readonly<Record<string, PluginMethod['call']>>;
}
declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** The hooks of the plugin in the object of a conversation: for the phases of a turn, and for its own work. */
    readonly conversation?: readonly ConversationPlugin[];
  }
}

/** @returns the parts of all plugins in use. Cached, because every turn reads them */
export const conversationPlugins = memoizeFromPlugins(() => getPluginMembers('conversation').flat());

/** A history that was made elsewhere, before it is stored. */
export interface ImportedHistory {
  /** How many messages and blocks of the import were left out. */
  readonly omitted: ImportOmissions;
  /**
   * Stores the history in an empty conversation. @param context the model to store for its answers, and the time: milliseconds
   * since 1970
   */
  storeInConversation(
    transcript: Transcript,
    context: { model: string | null; now: number },
  ): SteppedWork<Partial<ConversationProfile>>;
}
