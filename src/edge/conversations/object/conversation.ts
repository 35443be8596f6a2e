/** The object of a conversation: what others call of it. */

import type { RestrictedCaller } from '../../auth/identity/caller.ts';
import { shouldHideTools } from '../../auth/identity/only.ts';
import { UpstreamObject } from '../../claude/upstream-object.ts';
import { runInSteps } from '../../kit/async/run-in-steps.ts';
import { missingPluginError } from '../../kit/http/errors.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { contributions } from '../../kit/plugins/plugins.ts';
import { guard, restrictedView } from '../history/guard.ts';
import { rewindTo } from '../history/rewind.ts';
import type { PackedAnswer } from '../views/turn-answer.ts';
import { pageOfMessages } from '../views/views.ts';
import { maintainConversation } from './alarm.ts';
import { preparePrompt } from './begin-turn.ts';
import type {
  ConversationKey,
  ConversationObject,
  CountedPrompt,
  CreatedFields,
  PromptRequest,
  Result,
  ResumeResult,
  RpcText,
  TurnOutcome,
  TurnRequest,
} from './contract.ts';
import { ConversationState } from './conversation-state.ts';
import type { ConversationPatch, HistoryQuery, StopQuery, View } from './conversations.schema.ts';
import { eraseConversation } from './erase.ts';
import { handleTurn } from './handle-turn.ts';
import { conversationPlugins, type ImportedHistory } from './hooks.ts';
import { type InitialContext, resolveInitialContext } from './initial-context.ts';
import { CONFIRM_RETRY_MS } from './maintenance.ts';
import { changesOf, storeNewConversation } from './profile-changes.ts';
import { resumeTurn } from './resume-turn.ts';
import { releaseUnused } from './retained-prefix.ts';
import {
  conflict,
  failedRpcResult,
  idTaken,
  noMessage,
  pack,
  readRpcText,
  unknownConversation,
  wireError,
} from './rpc-response.ts';
import { findTurnOutcome, findTurnReport } from './turn-report.ts';

/**
 * One conversation: its history, and the turn that runs.
 *
 * The object owns a turn before anything goes up, and the turn goes on when its caller leaves. Whether a turn may begin is
 * decided in one step, without waiting. If a crash interrupts a turn, the turn is ended from its log when the object wakes.
 * What a call does is in the files that this one imports; what all share is the state.
 *
 * @example export { Conversation } from 'sluice';
 */
export class Conversation extends UpstreamObject implements ConversationObject {
  readonly #state: ConversationState;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env);
    this.#state = new ConversationState(ctx, this.services, () => this.erase());
  }

  /** Begins a turn, or attaches to the one that the same request began before. `call` is the request without its body. */
  turn(call: string, body: TurnRequest['body']): Promise<PackedAnswer> {
    const request = JSON.parse(call) as Omit<TurnRequest, 'body'>;
    return handleTurn(this.#state, { ...request, body: body }).then(pack);
  }

  /** @returns the prompt of the next turn as it would go up, to be counted; undefined where there is no conversation yet */
  async prompt(request: PromptRequest): Promise<CountedPrompt | undefined> {
    this.#state.recover();
    return await preparePrompt(this.#state, request);
  }

  /** Ends what a crash has interrupted. Whoever carries a stream that broke calls it: then the turn is booked until now. */
  wake(): void {
    this.#state.recover();
  }

  /** Resumes a turn after an event, or the running turn from its beginning. */
  resume(after: string | undefined, caller?: RestrictedCaller, show?: string): ResumeResult {
    this.#state.recover();
    const { runner } = this.#state;
    const refused = this.#state.restrictionErrorFor(caller);
    if (refused) return { kind: 'error', error: wireError(refused) };
    return resumeTurn(this.#state, runner, after, { shouldHideTools: shouldHideTools(caller?.only), show });
  }

  /** Stops the running turn, or `only` the one that is named, and keeps what has come. Changes nothing if no turn runs. */
  async stop(only: StopQuery = {}, caller?: RestrictedCaller): Promise<Result<RpcText>> {
    this.#state.recover();
    const refused = this.#state.restrictionErrorFor(caller);
    if (refused) return failedRpcResult(refused);
    const { runner, transcript } = this.#state;
    await this.#state.stopTurn(only);
    // A first turn that was stopped before it said anything leaves no conversation: it is described as it ended.
    const profile = this.#state.profile() ?? (runner && transcript.profile);
    if (caller && profile) return { ok: true, value: restrictedView(profile, this.#state.runner?.turn.row.id) };
    return this.#state.describe(profile);
  }

  /**
   * Ends what runs if its credential has ended. The account calls it after a revocation, and again until it has come back.
   * A run that dies here asks by itself before it goes on.
   *
   * @throws ObjectUnreachable while the account cannot be asked
   */
  checkCredential(): Promise<void> {
    return this.#state.checkCredential();
  }

  /** @returns the conversation without its messages, as JSON text. */
  read(): Result<RpcText> {
    return this.#state.describe(this.#state.profile());
  }

  /** @returns what a turn did, as JSON text. A failed first turn is found too, though it has left no conversation. */
  turnReport(id: string): Result<RpcText> {
    this.#state.recover();
    const { transcript } = this.#state;
    return transcript.profile ? findTurnReport(transcript, id) : unknownConversation();
  }

  /** @returns the outcome of the turn with an idempotency key. @param isAwaited whether to wait until the turn has ended */
  async turnOutcome(key: string, isAwaited: boolean): Promise<TurnOutcome | undefined> {
    this.#state.recover();
    const { transcript, runner } = this.#state;
    if (isAwaited && runner?.turn.row.key === key) await runner.done;
    return transcript.profile && findTurnOutcome(transcript, key);
  }

  /** Stops a turn, and keeps what has come. A turn that has ended stays as it is. @returns what the turn did */
  async cancel(turn: string): Promise<Result<RpcText>> {
    await this.stop({ turn });
    for (const { cancel } of conversationPlugins()) cancel?.(this.#state.transcript, turn, this.now());
    this.#state.maintenance.notePaused();
    return this.turnReport(turn);
  }

  /** Calls a method of what a plugin has in this object. @returns what it returns */
  async callPlugin<T>(plugin: string, method: string, ...args: readonly unknown[]): Promise<Result<T>> {
    const parts = contributions('conversation', plugin).flat();
    const called = parts.flatMap(({ methods = {} }) => (Object.hasOwn(methods, method) ? methods[method] : [])).at(0);
    if (!called) throw new TypeError(`The plugin ${plugin} has no method ${method} in a conversation.`);
    // The plugin types its method, and the caller what it awaits, as with every call of an object.
    return (await called(this.#state, ...args)) as Result<T>;
  }

  /** @returns a page of messages as JSON text. */
  messages(page: HistoryQuery, caller?: RestrictedCaller): Result<ReadableStream<Uint8Array>> {
    const may = this.#state.profileFor(caller);
    if (!may.ok) return may;
    const value = pageOfMessages(this.#state.transcript, page, {
      shouldHideTools: shouldHideTools(caller?.only),
      isBound: caller?.only !== undefined,
    });
    return value ? { ok: true, value } : noMessage(page.after_id ?? page.before_id);
  }

  /** @returns the whole conversation as lines of JSON. */
  export(view?: View): Promise<Result<ReadableStream<Uint8Array>>> {
    return this.callPlugin('transfer', 'export', view);
  }

  /** Creates the conversation with the defaults of its turns. It is empty, or has an imported history. */
  async create(
    place: ConversationKey,
    fields: CreatedFields,
    texts: { system?: RpcText; tools?: RpcText; messages?: RpcText },
  ): Promise<Result<RpcText>> {
    const system = texts.system && (await readRpcText(texts.system));
    const tools = texts.tools && (await readRpcText(texts.tools));
    const messages = texts.messages && (await readRpcText(texts.messages));
    if (!this.#state.isFree) return idTaken(place.id);
    let beginning: InitialContext | undefined;
    let history: ImportedHistory | undefined;
    try {
      history = messages === undefined ? undefined : await readImport(messages);
      beginning = await resolveInitialContext(this.#state, place, fields, fields.caller);
      // Defaults that the agent does not allow are refused.
      if (beginning?.agent) beginning.stored.applyPrefix(new Map(), { system, tools }, { maxBreakpoints: 0 });
    } catch (thrown) {
      return failedRpcResult(thrown);
    }
    if (!this.#state.isFree) {
      releaseUnused(this.#state, beginning?.retained);
      return idTaken(place.id);
    }
    const by = { account: place.account, only: fields.caller?.only };
    try {
      const refused = by.only && guard().refusalOfTurn(by, this.#state.transcript, undefined, beginning?.agent);
      if (refused) throw refused;
    } catch (thrown) {
      releaseUnused(this.#state, beginning?.retained);
      return failedRpcResult(thrown);
    }
    const stored = storeNewConversation(this.#state, place, fields, { system, tools, history }, beginning);
    return await this.#state.waitUntilStored(stored, history?.omitted);
  }

  /** Changes the fields that are not frozen. */
  patch(patch: ConversationPatch): Result<RpcText> {
    if (!this.#state.profile()) return unknownConversation();
    this.#state.maintenance.change(changesOf(patch));
    return this.read();
  }

  /** Goes back to the state before a message's turn. In an import it goes back to the state before the message itself. */
  rewind(before: string): Result<RpcText> {
    const profile = this.#state.profile();
    if (!profile) return unknownConversation();
    if (this.#state.runner) return failedRpcResult(conflict(profile.id, this.#state.runner.turn.row.id));
    // What was settled together with a turn that has gone may have to be settled by itself.
    this.services.alarm.schedule(this.now() + CONFIRM_RETRY_MS);
    const change = rewindTo(this.#state.transcript, before);
    if (!change) return noMessage(before);
    this.#state.maintenance.change(change);
    return this.read();
  }

  /** Copies the history, up to the turn that `at` belongs to, into another conversation of the same account. */
  fork(to: string, at: string | undefined, caller?: RestrictedCaller): Promise<Result<RpcText>> {
    return this.callPlugin('transfer', 'fork', to, at, caller);
  }

  /** @returns the history as the lines that another deployment can restore. */
  backup(): Promise<Result<ReadableStream<Uint8Array>>> {
    return this.callPlugin('transfer', 'lines');
  }

  /** Begins this conversation with the history of another one. Stores all of it or nothing. */
  adopt(place: ConversationKey, lines: ReadableStream<Uint8Array>): Promise<Result<RpcText>> {
    return this.callPlugin('transfer', 'adopt', place, lines);
  }

  /**
   * Deletes everything, and repeats the report to the account until it is confirmed. What is damaged is deleted unread.
   *
   * @param place whose conversation this is, which its own rows may not say any more
   * @param ends whether its account ends, and needs no report
   * @returns whether the conversation existed
   */
  erase(place?: ConversationKey, ends?: boolean): Promise<boolean> {
    return eraseConversation(this.#state, place, ends);
  }

  /** Renews the hold of the running turn, repeats unconfirmed settlements and reports, and deletes what has expired. */
  override alarm(): Promise<void> {
    return maintainConversation(this.#state);
  }
}

/** @throws ApiError 400 as the plugin says, and where it is not in use */
async function readImport(messages: string): Promise<ImportedHistory> {
  const { imports } = conversationPlugins().find((part) => part.imports) ?? {};
  if (!imports) throw missingPluginError('transfer', 'messages: a history is brought in');
  return await runInSteps(imports(messages));
}
