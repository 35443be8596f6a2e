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

/** A turn that is asked for, until it begins. */
export interface PendingTurn {
  readonly request: BufferedTurnRequest;
  /** What a new conversation begins with. */
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
 * What a plugin has in the memory of one conversation's object: the phases of a turn, and the work of the plugin itself. All are
 * called in the order of the list of plugins.
 */
export interface ConversationHooks {
  /**
   * Plans a turn, or a prompt that is counted, in a way of its own. Writes nothing.
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
  before?(turn: PendingTurn, planned: NextRequestPlan): TurnPrerequisite | undefined;
  /**
   * Stores what the plugin keeps of a turn, in the step that takes the lock. May change the row, which is stored behind it.
   *
   * @returns long notes, which the stored row of a turn that is no run has until its end, but the row in memory has not
   */
  begin?(turn: PendingTurn, planned: NextRequestPlan, row: TurnRow): TurnNotes | undefined;
  /**
   * Stores a turn and makes its runner, in a way of its own.
   *
   * @returns undefined if the turn is not for this plugin
   */
  run?(turn: PendingTurn, planned: NextRequestPlan, row: TurnRow): TurnRunner | undefined;
  /** Ends or continues a turn of this plugin that a crash interrupted. @returns undefined unless the turn continues */
  resume?(row: TurnRow): TurnRunner | undefined;
  /** Begins a turn again that a crash has kept from being sent. @returns undefined if it cannot. @throws ApiError if it must not */
  beginAgain?(row: TurnRow): TurnRunner | undefined;
  /** @returns the ledger's dimensions of a request of the conversation. @param memory of a turn that begins; absent for a later step */
  getDimensions?(memory: PluginContextValues | undefined): DimensionValues;
  /** @returns headers of a turn's answer. @param hides whether the caller is not told how the agent works */
  headers?(turn: string, hides: boolean): Record<string, string>;
  /** Settles what a crash has interrupted of its own work, and what was not confirmed. Called at a wake, and by each alarm. */
  settle?(): void;
  /** Stores what the plugin tells of a turn's end. Called in the step that stores the end. */
  tell?(turn: TurnHandle): void;
  /** Does what is due. Called by each alarm. */
  alarm?(): void;
  /** @returns whether something is under way for which only a watch wakes the object */
  isOpen?(): boolean;
  /** Called when a turn has ended. */
  ended?(): void;
  /** @returns who has asked for what is under way */
  by?(): Identity | undefined;
  /** Stops what is under way. */
  stop?(): Promise<void>;
}

/** A conversation in the memory of its object. What plugins have in the object gets it, and nothing else. */
export interface ConversationContext extends ObjectContext {
  readonly maintenance: ConversationMaintainer;
  readonly hooks: readonly ConversationHooks[];
  /** The profile, if callers can see the conversation. Ends first what a crash has interrupted. */
  readonly visibleProfile: ConversationProfile | undefined;
  /** @returns the profile; the 404 if there is none, and the 403 for a restricted token that may not use this conversation */
  findProfileForCaller(caller: RestrictedCaller | undefined): RpcResult<ConversationProfile>;
  /** @returns the 409 for a conversation whose prefix or agent was withdrawn; undefined for any other */
  findWithdrawal(): Promise<unknown>;
  /** Ends what a crash has interrupted, or goes on with it. */
  recoverFromCrash(): void;
  /** Stops the running turn, or `only` the one that is named, and keeps what has come. Waits for its end a while. */
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

/** What a plugin has inside the object of a conversation. Its rows are in the tables of the conversation. */
export interface ConversationPlugin {
  /** Makes what it has in memory, when the object wakes. */
  createHooks?(conversation: ConversationContext): ConversationHooks;
  /** @returns why no turn may begin while calls wait for a decision; undefined if this plugin has none to decide */
  refusal?(transcript: Transcript): ApiError | undefined;
  /** Ends what waits of a turn that is cancelled. */
  cancel?(transcript: Transcript, turn: string, now: number): void;
  /** Checks messages that a new conversation begins with. @param list their JSON text @throws ApiError 400 that says what is wrong */
  imports?(list: string): SteppedWork<ImportedHistory>;
  /** What is called by `part` of the object, by name. */
  methods?: Readonly<Record<string, PluginMethod['call']>>;
}
declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** What the plugin does in the object of a conversation: the phases of a turn, and its own work. */
    readonly conversation?: readonly ConversationPlugin[];
  }
}

/** @returns the parts of all plugins in use. Every turn asks */
export const conversationPlugins = memoizeFromPlugins(() => getPluginMembers('conversation').flat());

/** A history that was made elsewhere, before it is stored. */
export interface ImportedHistory {
  /** How much of what was sent is not in it. */
  readonly omitted: ImportOmissions;
  /** Stores it in an empty conversation. @param context the model that its answers are said to be of, and the time: milliseconds since 1970 */
  storeInConversation(
    transcript: Transcript,
    context: { model: string | null; now: number },
  ): SteppedWork<Partial<ConversationProfile>>;
}
