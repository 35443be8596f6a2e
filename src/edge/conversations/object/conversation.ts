/** The object of a conversation: what others call of it. */

import type { RestrictedCaller } from '../../auth/identity/caller.ts';
import { shouldHideToolContents } from '../../auth/identity/only.ts';
import { UpstreamDurableObject } from '../../claude/upstream-object.ts';
import { runInSteps } from '../../kit/async/run-in-steps.ts';
import { createMissingPluginError } from '../../kit/http/errors.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { getPluginMembers } from '../../kit/plugins/plugins.ts';
import { createRestrictedConversationJson, getRestrictedTokenGuard } from '../history/guard.ts';
import { rewindToMessage } from '../history/rewind.ts';
import type { PackedTurnAnswer } from '../views/turn-answer.ts';
import { streamMessagePage } from '../views/views.ts';
import { maintainConversation } from './alarm.ts';

import type {
  ConversationKey,
  NewConversationFields,
  NextPromptRequest,
  PromptToCount,
  RpcResult,
  RpcText,
  TurnOutcome,
  TurnRequest,
  TurnResumeResult,
} from './contract.ts';
import { ConversationState } from './conversation-state.ts';
import type { ConversationPatch, HistoryPageQuery, HistoryViewName, StopTurnQuery } from './conversations.schema.ts';
import { eraseConversation } from './erase.ts';
import { handleTurn } from './handle-turn.ts';
import { conversationPlugins, type ImportedHistory } from './hooks.ts';
import { type InitialContext, resolveInitialContext } from './initial-context.ts';
import { CONFIRM_RETRY_MS } from './maintenance.ts';
import { prepareNextPrompt } from './next-prompt.ts';
import { storeNewConversation, toProfileChanges } from './profile-changes.ts';
import { resumeTurnEvents } from './resume-turn.ts';
import { releaseUnusedPrefix } from './retained-prefix.ts';
import {
  createConversationNotFoundResult,
  createIdTakenResult,
  createMessageNotFoundResult,
  createTurnRunningError,
  packTurnAnswer,
  readRpcText,
  serializeApiError,
  toFailedResult,
} from './rpc-response.ts';
import { findTurnOutcome, findTurnReport } from './turn-report.ts';

declare module '../../kit/plugins/bindings.ts' {
  interface Bindings {
    CONVERSATION: DurableObjectNamespace<Conversation>;
  }
}

/**
 * One conversation: its history, and the turn that runs.
 *
 * The object owns a turn before anything is sent, and the turn goes on when its caller leaves. Whether a turn may begin is
 * decided in one step, without waiting. If a crash interrupts a turn, the turn is ended from its log when the object wakes.
 * What a call does is in the files that this one imports; what all share is the state.
 *
 * @example export { Conversation } from 'sluice';
 */
export class Conversation extends UpstreamDurableObject {
  readonly #state: ConversationState;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#state = new ConversationState(ctx, this.services, () => this.erase());
  }

  /** Begins a turn, or attaches to the turn that the same request has begun before. `call` is the request without its body. */
  handleTurn(call: string, body: TurnRequest['body']): Promise<PackedTurnAnswer> {
    const request = JSON.parse(call) as Omit<TurnRequest, 'body'>;
    return handleTurn(this.#state, { ...request, body }).then(packTurnAnswer);
  }

  /** @returns the prompt of the next turn as it would be sent, to be counted; undefined where there is no conversation yet */
  async prepareNextPrompt(request: NextPromptRequest): Promise<PromptToCount | undefined> {
    this.#state.recoverFromCrash();
    return await prepareNextPrompt(this.#state, request);
  }

  /**
   * Ends interrupted turns after a crash. A Worker that was copying a stream calls this when the stream breaks: then the turn's
   * cost ends at that time.
   */
  endInterruptedTurns(): void {
    this.#state.recoverFromCrash();
  }

  /** Resumes a turn after an event, or the running turn from its beginning. */
  resumeTurnStream(after: string | undefined, caller?: RestrictedCaller, show?: string): TurnResumeResult {
    this.#state.recoverFromCrash();
    const { holder: runner } = this.#state.lock;
    const refused = this.#state.findRestrictionError(caller);
    if (refused) return { kind: 'error', error: serializeApiError(refused) };
    return resumeTurnEvents(this.#state, runner, after, {
      shouldHideTools: shouldHideToolContents(caller?.only),
      show,
    });
  }

  /**
   * Stops the running turn, or only the turn `only`, and keeps the part of the answer that has arrived. Changes nothing if no
   * turn runs.
   */
  async stopRunningTurn(only: StopTurnQuery = {}, caller?: RestrictedCaller): Promise<RpcResult<RpcText>> {
    this.#state.recoverFromCrash();
    const refused = this.#state.findRestrictionError(caller);
    if (refused) return toFailedResult(refused);
    const { lock, transcript } = this.#state;
    const { holder: runner } = lock;
    await this.#state.stopTurn(only);
    // A first turn that was stopped before any output leaves no visible conversation. Describe its stored profile, so that the
    // response is not a 404.
    const profile = this.#state.visibleProfile ?? (runner && transcript.storedProfile);
    if (caller && profile)
      return { ok: true, value: createRestrictedConversationJson(profile, lock.holder?.turn.row.id) };
    return this.#state.describeAsResult(profile);
  }

  /**
   * Ends all running work whose credential was revoked. The account calls this after a revocation, and repeats the call until
   * it returns. A run that is resumed after a crash checks its credential itself.
   *
   * @throws ObjectUnreachableError if the account cannot be reached
   */
  stopIfCredentialEnded(): Promise<void> {
    return this.#state.stopIfCredentialEnded();
  }

  /** @returns the conversation without its messages, as JSON text. */
  read(): RpcResult<RpcText> {
    return this.#state.describeAsResult(this.#state.visibleProfile);
  }

  /** @returns what a turn did, as JSON text. Also finds a failed first turn, although it has created no conversation. */
  readTurnReport(id: string): RpcResult<RpcText> {
    this.#state.recoverFromCrash();
    const { transcript } = this.#state;
    return transcript.storedProfile ? findTurnReport(transcript, id) : createConversationNotFoundResult();
  }

  /** @returns the outcome of the turn with an idempotency key. @param isAwaited whether to wait until the turn has ended */
  async readTurnOutcome(key: string, isAwaited: boolean): Promise<TurnOutcome | undefined> {
    this.#state.recoverFromCrash();
    const { transcript, lock } = this.#state;
    if (isAwaited && lock.holder?.turn.row.key === key) await lock.holder.done;
    return transcript.storedProfile && findTurnOutcome(transcript, key);
  }

  /**
   * Stops a turn, and keeps the part of the answer that has arrived. Does not change a turn that has ended. @returns what the
   * turn did
   */
  async cancelTurn(turn: string): Promise<RpcResult<RpcText>> {
    await this.stopRunningTurn({ turn });
    const { transcript, maintenance } = this.#state;
    maintenance.changeRows(() => {
      for (const { cancel } of conversationPlugins()) cancel?.(transcript, turn, this.now());
    });
    return this.readTurnReport(turn);
  }

  /** Calls a method that a plugin has added to this object. @returns its result */
  async callPlugin<T>(plugin: string, method: string, ...args: readonly unknown[]): Promise<RpcResult<T>> {
    const parts = getPluginMembers('conversation', plugin).flat();
    const called = parts.flatMap(({ methods = {} }) => (Object.hasOwn(methods, method) ? methods[method] : [])).at(0);
    if (!called) throw new TypeError(`The plugin ${plugin} has no method ${method} in a conversation.`);
    // The cast is unchecked: the plugin declares the type of its method, and the caller has to expect the same type.
    return (await called(this.#state, ...args)) as RpcResult<T>;
  }

  /** @returns a page of messages as JSON text. */
  readMessagePage(page: HistoryPageQuery, caller?: RestrictedCaller): RpcResult<ReadableStream<Uint8Array>> {
    const may = this.#state.findProfileForCaller(caller);
    if (!may.ok) return may;
    const value = streamMessagePage(this.#state.transcript, page, {
      shouldHideTools: shouldHideToolContents(caller?.only),
      isRestricted: caller?.only !== undefined,
    });
    return value ? { ok: true, value } : createMessageNotFoundResult(page.after_id ?? page.before_id);
  }

  /** @returns the whole conversation as lines of JSON. */
  exportConversation(view?: HistoryViewName): Promise<RpcResult<ReadableStream<Uint8Array>>> {
    return this.callPlugin('transfer', 'export', view);
  }

  /** Creates the conversation with the defaults of its turns. It is empty, or has an imported history. */
  async createConversation(
    conversationKey: ConversationKey,
    fields: NewConversationFields,
    texts: { system?: RpcText; tools?: RpcText; messages?: RpcText },
  ): Promise<RpcResult<RpcText>> {
    const system = texts.system && (await readRpcText(texts.system));
    const tools = texts.tools && (await readRpcText(texts.tools));
    const messages = texts.messages && (await readRpcText(texts.messages));
    if (!this.#state.isConversationIdFree) return createIdTakenResult(conversationKey.id);
    let initialContext: InitialContext | undefined;
    let history: ImportedHistory | undefined;
    try {
      history = messages === undefined ? undefined : await parseImportedMessages(messages);
      initialContext = await resolveInitialContext(this.#state, conversationKey, fields, fields.caller);
      // Check the defaults now: `buildRequestWithAgent` throws if the agent does not allow them.
      if (initialContext?.agent)
        initialContext.stored.buildRequestWithAgent(new Map(), { system, tools }, { maxBreakpoints: 0 });
    } catch (thrown) {
      return toFailedResult(thrown);
    }
    if (!this.#state.isConversationIdFree) {
      releaseUnusedPrefix(this.#state, initialContext?.retained);
      return createIdTakenResult(conversationKey.id);
    }
    const by = { account: conversationKey.account, only: fields.caller?.only };
    try {
      const refused =
        by.only &&
        getRestrictedTokenGuard().findTurnRestrictionError(
          by,
          this.#state.transcript,
          undefined,
          initialContext?.agent,
        );
      if (refused) throw refused;
    } catch (thrown) {
      releaseUnusedPrefix(this.#state, initialContext?.retained);
      return toFailedResult(thrown);
    }
    const stored = storeNewConversation(
      this.#state,
      conversationKey,
      fields,
      { system, tools, history },
      initialContext,
    );
    return await this.#state.waitUntilHistoryStored(stored, history?.omitted);
  }

  /** Changes the fields that are not frozen. */
  patchConversation(patch: ConversationPatch): RpcResult<RpcText> {
    if (!this.#state.visibleProfile) return createConversationNotFoundResult();
    this.#state.maintenance.changeProfile(toProfileChanges(patch));
    return this.read();
  }

  /** Goes back to the state before a message's turn. In an import it goes back to the state before the message itself. */
  rewindConversation(before: string): RpcResult<RpcText> {
    const profile = this.#state.visibleProfile;
    if (!profile) return createConversationNotFoundResult();
    const { holder } = this.#state.lock;
    if (holder) return toFailedResult(createTurnRunningError(profile.id, holder.turn.row.id));
    // Set the alarm first. The rewind may remove a run that is not settled yet, and its steps, which are settled together with
    // their run, must then be settled one by one.
    this.services.alarm.scheduleAt(this.now() + CONFIRM_RETRY_MS);
    const { transcript, maintenance } = this.#state;
    const isFound = maintenance.changeRows(() => {
      const members = rewindToMessage(transcript, before);
      if (members) maintenance.saveProfileMembers(members);
      return members !== undefined;
    });
    return isFound ? this.read() : createMessageNotFoundResult(before);
  }

  /** Copies the history, up to the turn that `at` belongs to, into another conversation of the same account. */
  forkConversation(to: string, at: string | undefined, caller?: RestrictedCaller): Promise<RpcResult<RpcText>> {
    return this.callPlugin('transfer', 'fork', to, at, caller);
  }

  /** @returns the history as the lines that another deployment can restore. */
  backup(): Promise<RpcResult<ReadableStream<Uint8Array>>> {
    return this.callPlugin('transfer', 'lines');
  }

  /**
   * Begins this conversation with the history of another one. Stores all of it or nothing.
   *
   * @param erasedUntil set for a backup, whose lines are checked: what began up to then was erased with its account
   */
  storeCopiedHistory(
    conversationKey: ConversationKey,
    lines: ReadableStream<Uint8Array>,
    erasedUntil?: number,
  ): Promise<RpcResult<RpcText>> {
    return this.callPlugin('transfer', 'adopt', conversationKey, lines, erasedUntil);
  }

  /**
   * Deletes everything, and repeats the report to the account until it is confirmed. Damaged rows are deleted without being
   * read.
   *
   * @param conversationKey the account and id of this conversation, because its own rows may be damaged
   * @param isAccountDeleted whether its account is deleted too, so that no report is needed
   * @returns whether the conversation existed
   */
  erase(conversationKey?: ConversationKey, isAccountDeleted?: boolean): Promise<boolean> {
    return eraseConversation(this.#state, conversationKey, isAccountDeleted);
  }

  /** Renews the hold of the running turn, repeats unconfirmed settlements and reports, and deletes what has expired. */
  override alarm(): Promise<void> {
    return maintainConversation(this.#state);
  }
}

/** @throws ApiError 400 if the plugin rejects the messages, or if it is not in use */
async function parseImportedMessages(messages: string): Promise<ImportedHistory> {
  const { imports } = conversationPlugins().find((part) => part.imports) ?? {};
  if (!imports) throw createMissingPluginError('transfer', 'messages: importing a history');
  return await runInSteps(imports(messages));
}
