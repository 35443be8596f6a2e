/** Chooses the models of a conversation's turns, where its agent chooses. */

import type { ModelByLabel } from '../../../classify/model-by-label.schema.ts';
import type { ResolvedAgent } from '../../../conversations/history/agent-in-use.ts';
import type { NextRequestPlan } from '../../../conversations/history/next-request.ts';
import type { ModelSelectionReason } from '../../../conversations/history/storage/chosen-by.schema.ts';
import type {
  ModelSelection,
  RetainedAgent,
  TurnRow,
  TurnStatus,
  TurnWithModelSelection,
} from '../../../conversations/history/storage/rows.ts';
import type { Transcript } from '../../../conversations/history/storage/transcript.ts';
import { addNotes } from '../../../conversations/history/storage/turn-notes.ts';
import { findTurnById } from '../../../conversations/history/storage/turn-queries.ts';
import type { TurnRequest } from '../../../conversations/object/contract.ts';
import type { ConversationHooks, PendingTurn, TurnPrerequisite } from '../../../conversations/object/hooks.ts';
import type { ObjectContext } from '../../../conversations/object/object-context.ts';
import { createModelChoiceRunningError } from '../../../conversations/object/rpc-response.ts';
import { getOrCreate } from '../../../kit/cache/get-or-create.ts';
import { parseJsonObject } from '../../../kit/json/object.ts';
import { createContextKey, type PluginContextValues } from '../../../kit/plugins/context-values.ts';
import { createDimensionValue, type DimensionValues } from '../../../money/contracts/dimensions.ts';
import { Agent } from '../agent.ts';
import {
  canChooseMoreExpensiveModel,
  chooseModelByLabel,
  createModelChoiceDimensions,
  createModelChosenHeader,
  findLastQuestionText,
  findRequestedModel,
  getModelChoice,
  isModelMoreExpensive,
} from './choose-model.ts';
import { OF_CHOICE } from './chosen-by.schema.ts';

/** How the model of a turn was chosen before it begins. */
const GIVEN = createContextKey<ModelSelection>('given');
/** How the model of a planned turn was chosen, and what still has to be chosen. */
const PLANNED = createContextKey<{ chosen: ModelSelection | undefined; toChoose?: PendingModelChoice | undefined }>(
  'planned',
);
/** The role of a turn in its conversation. */
const PART = createContextKey<ModelSelectionReason['part']>('part');

/** What chooses a model, and how the present one was chosen. */
interface PendingModelChoice {
  choice: ModelByLabel;
  before: ModelSelection | undefined;
}

/** Chooses models. It takes no lock: a choice counts once a turn has begun with it. */
export class ModelChooser implements ConversationHooks {
  readonly #conversation: ObjectContext;
  /** The choices on their way, by the hashes of their requests. */
  readonly #running = new Map<string, Promise<ModelSelection>>();

  constructor(conversation: ObjectContext) {
    this.#conversation = conversation;
  }

  /** Plans a turn whose agent chooses its model. If the model is still to be chosen, `findPrerequisite` waits for that. */
  plan(
    { pluginContext, request }: Parameters<NonNullable<ConversationHooks['plan']>>[0],
    agent: ResolvedAgent | undefined,
    plan: (model: string) => NextRequestPlan,
  ): NextRequestPlan | undefined {
    const { transcript, settings } = this.#conversation;
    const { models } = settings();
    const choice = agent instanceof Agent ? getModelChoice(agent, models) : undefined;
    if (!choice) return undefined;
    const preset = pluginContext.get(GIVEN);
    const { chosen: before, isDecided } = findCurrentModelChoice(transcript, request?.call.hash);
    const named = findRequestedModel(choice, request?.edgeOptions.model, models);
    // Another turn may have changed the conversation to a more expensive model while this label was determined. In that case,
    // keep that model.
    const isBehind = preset && before && isModelMoreExpensive(before.model, preset.model, models);
    let chosen: ModelSelection | undefined = named ?? (isBehind ? before : (preset ?? before));
    const model = chosen?.model ?? choice.otherwise;
    let planned = plan(model);
    if (planned.follows) {
      // A tool loop continues with the model that made the calls, because the results have to be sent to it.
      chosen = transcript.storedProfile?.choices?.at(-1);
      const maker = chosen?.model ?? choice.otherwise;
      if (maker !== model) planned = plan(maker);
    }
    const isChosen =
      named ??
      preset ??
      (isDecided || planned.follows || (before && !canChooseMoreExpensiveModel(choice, before, models)));
    pluginContext.set(PLANNED, { chosen, toChoose: isChosen ? undefined : { choice, before } });
    return planned;
  }

  /** @throws ApiError while the model of another request is being chosen */
  findPrerequisite(
    { request, initialContext: beginning, pluginContext }: PendingTurn,
    { messages }: NextRequestPlan,
  ): TurnPrerequisite | undefined {
    const { storedProfile: profile } = this.#conversation.transcript;
    const agent = profile?.exists ? profile.agent : beginning?.agent;
    const toChoose = pluginContext.get(PLANNED)?.toChoose;
    if (!toChoose || !agent) return undefined;
    if (this.#running.size > 0 && !this.#running.has(request.call.hash)) throw createModelChoiceRunningError();
    const work = this.#chooseModelOnce(request, agent, toChoose, messages).then((chosen) =>
      pluginContext.set(GIVEN, chosen),
    );
    return { work };
  }

  storeTurnData({ pluginContext }: PendingTurn, _: NextRequestPlan, row: TurnRow): undefined {
    const { chosen } = pluginContext.get(PLANNED) ?? {};
    if (!chosen) return;
    addNotes(row, createDimensionValue(OF_CHOICE, chosen.by));
    pluginContext.set(PART, storeModelChoice(this.#conversation.transcript, row, chosen));
  }

  getDimensions(pluginContext: PluginContextValues | undefined): DimensionValues {
    const { agent, choices } = this.#conversation.transcript.storedProfile ?? {};
    return agent ? createModelChoiceDimensions(agent.owner, choices?.at(-1), pluginContext?.get(PART)) : {};
  }

  headers(turn: string, hides: boolean): Record<string, string> {
    const chosen = findModelChoiceOfTurn(this.#conversation.transcript, turn);
    return chosen ? createModelChosenHeader(chosen, hides) : {};
  }

  /** Chooses the model for a request. The same request again waits for the same choice. */
  #chooseModelOnce(
    { conversationKey, call: { id: requestId, hash }, caller: identity }: Omit<TurnRequest, 'body'>,
    agent: RetainedAgent,
    { choice, before }: PendingModelChoice,
    messages: NextRequestPlan['messages'],
  ): Promise<ModelSelection> {
    const { env, settings, getUpstream: upstream, waitUntil } = this.#conversation;
    const question = messages.findLast(({ role }) => role === 'user');
    return getOrCreate(this.#running, hash, () =>
      chooseModelByLabel(
        choice,
        {
          agent,
          text: question && findLastQuestionText([{ ...question, content: parseJsonObject(question.text)?.content }]),
          before,
          conversation: conversationKey.id,
        },
        {
          requestId,
          identity,
          accounts: env,
          store: env.STORE,
          settings: settings(),
          upstream: upstream(),
          waitUntil,
        },
      ).finally(() => this.#running.delete(hash)),
    );
  }
}

/**
 * @param hash that of the next request; without it, for no request
 * @returns the choice in force, and whether it was made for this very request, whose turn did not come to its end
 */
function findCurrentModelChoice(
  transcript: Transcript,
  hash?: string,
): { chosen: TurnWithModelSelection | undefined; isDecided: boolean } {
  const { choices = [] } = transcript.storedProfile ?? {};
  const last = choices.at(-1);
  if (last && last.hash === hash && last.by.arm !== 'asked' && isTurnRetryable(transcript.getTurnStatus(last.turn)))
    return { chosen: last, isDecided: true };
  return { chosen: choices.findLast((one) => isChoiceKeptForLaterTurns(transcript, one)), isDecided: false };
}

/** @returns how the model of a turn was chosen; undefined if it was not */
function findModelChoiceOfTurn(transcript: Transcript, id: string): TurnWithModelSelection | undefined {
  const { choices } = transcript.storedProfile ?? {};
  if (!choices) return undefined;
  const seq = findTurnById(transcript, id)?.seq ?? Number.POSITIVE_INFINITY;
  return choices.findLast(({ turn }) => turn <= seq);
}

/**
 * Stores how the model of a beginning turn was chosen. Of consecutive turns with the same model, only the first and the last
 * are kept.
 *
 * @returns the role of the turn in its conversation
 */
function storeModelChoice(
  transcript: Transcript,
  { seq, hash }: { seq: number; hash: string },
  chosen: ModelSelection,
): ModelSelectionReason['part'] {
  const { storedProfile: profile } = transcript;
  if (!profile) return undefined;
  const { choices: stored = [], asksAgain, ...others } = profile;
  const choices = stored.filter((one) => one.turn < seq && isChoiceKeptForLaterTurns(transcript, one));
  const isFirst = choices.length === 0;
  const isNew = choices.at(-1) !== chosen;
  const part = asksAgain ? 'again' : isFirst ? 'first' : isNew && chosen.by.why === 'step_up' ? 'step_up' : 'next';
  if (isNew) {
    const { model, by } = chosen;
    if (choices.length > 1 && choices.slice(-2).every((one) => one.model === model)) choices.pop();
    choices.push({ model, by, turn: seq, hash });
  } else if (choices.length === stored.length && !asksAgain) return part;
  transcript.saveProfile({ ...others, choices });
  return part;
}

/** @returns whether a choice counts for later turns. A model that a request has named counts only for that request */
function isChoiceKeptForLaterTurns(transcript: Transcript, choice: TurnWithModelSelection): boolean {
  return choice.by.arm !== 'asked' && !isTurnNotInHistory(transcript.getTurnStatus(choice.turn));
}

/** @returns whether the same request again is another try, by the status of the turn that it began before */
function isTurnRetryable(status: TurnStatus | undefined): boolean {
  return isTurnNotInHistory(status) || status === 'interrupted';
}

/** @returns whether a turn is not in the history, by its status */
function isTurnNotInHistory(status: TurnStatus | undefined): boolean {
  return status === undefined || status === 'failed';
}
