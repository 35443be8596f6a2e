/** Chooses the model of an agent by a label of the question. */

import type { Context } from 'hono';
import type { AppEnv } from '../../../auth/context.ts';
import { DEPLOYMENT } from '../../../auth/identity/identity.ts';
import { listSelectableModels, type ModelByLabel } from '../../../classify/model-by-label.schema.ts';
import { CLASSIFIERS, normalizeStoredClassifier } from '../../../classify/task/classifier.ts';
import { classifyText } from '../../../classify/task/classify.ts';
import { toLabelList } from '../../../classify/task/labels.ts';
import type { ClassifyContext } from '../../../classify/task/take-vote.ts';
import { prepareClassificationTask } from '../../../classify/task/task.ts';
import type { ModelTable } from '../../../claude/models/models.ts';
import { adaptRequestForModel } from '../../../claude/pricing/adapt-for-model.ts';
import { findDefaultModel } from '../../../claude/pricing/default-model.ts';
import { describeNonThinkingModels } from '../../../claude/pricing/minimal-thinking.ts';
import { type ChosenModel, type ModelChoiceInput, OF_AGENT } from '../../../conversations/history/agent-in-use.ts';
import type { ModelSelectionReason } from '../../../conversations/history/storage/chosen-by.schema.ts';
import {
  formatVersionReference,
  type ModelSelection,
  type RetainedAgent,
} from '../../../conversations/history/storage/rows.ts';
import { waitWithTimeout } from '../../../kit/async/timeout.ts';
import { createInvalidRequestError } from '../../../kit/http/errors.ts';
import { createRequestIdWithSameMark } from '../../../kit/http/headers/request-id.ts';
import { logBackgroundFailure } from '../../../kit/http/log.ts';
import { isObject } from '../../../kit/json/object.ts';
import { parseVersionRef } from '../../../kit/kv/version-ref.ts';
import { createDimensionValue, type DimensionValues } from '../../../money/contracts/dimensions.ts';
import { requireStoredVersion } from '../../../registry/versions/find-stored.ts';
import { requireRequestedVersion, toOwnerField } from '../../../registry/versions/versioned-routes.ts';
import type { AgentDefinitionWithText } from '../agent-definition.ts';
import { OF_CHOICE } from './chosen-by.schema.ts';

/** The question for which a model is chosen. */
interface ModelChoiceQuestion {
  agent: RetainedAgent;
  /** The text to be labelled; undefined if there is none. */
  text: string | undefined;
  /** How the conversation's present model was chosen; undefined for its first question. */
  before: ModelSelection | undefined;
  conversation?: string | undefined;
}

/** How long a question waits for its label; milliseconds. */
const CHOICE_MS = 5_000;

/**
 * @returns how an agent chooses its model; undefined if it has only one. A label whose model does not support the agent's
 *   parameters selects `otherwise`
 */
export function getModelChoice(
  agent: Pick<AgentDefinitionWithText, 'definition'> | undefined,
  models: ModelTable,
): ModelByLabel | undefined {
  const { model: choice, ...asked } = agent?.definition ?? {};
  if (typeof choice !== 'object') return undefined;
  const from = models.findRow(choice.otherwise);
  const isModelUsableByAgent = ([, name]: [string, string]) =>
    !adaptRequestForModel(models.findRow(name), asked, from).refused;
  return { ...choice, models: Object.fromEntries(Object.entries(choice.models).filter(isModelUsableByAgent)) };
}

/**
 * @returns the model that a request names in place of a choice; undefined if it names none
 * @throws ApiError 400 if the agent does not allow that, or has no such model
 */
export function findRequestedModel(
  choice: ModelByLabel,
  name: string | undefined,
  models: ModelTable,
): ModelSelection | undefined {
  if (name === undefined) return undefined;
  if (!choice.overridable)
    throw createInvalidRequestError(
      'sluice-model: not supported by this agent, which chooses its model itself. Remove the header.',
    );
  const all = listSelectableModels(choice);
  const model = all.find((one) => one === name || models.resolveAlias(one) === models.resolveAlias(name));
  if (model !== undefined) return { model, by: { ...NO_LABEL, arm: 'asked', why: 'asked' } };
  throw createInvalidRequestError(
    `sluice-model: this agent uses only ${all.join(', ')}. Name one of these, or remove the header.`,
  );
}

const NO_LABEL = { label: null, classifier: null } as const;

/** @returns whether the next question can change the model: only a step up does */
export function canChooseMoreExpensiveModel(
  choice: ModelByLabel,
  { model }: ModelSelection,
  models: ModelTable,
): boolean {
  return listSelectableModels(choice).some((other) => isModelMoreExpensive(other, model, models));
}

/** @returns whether one model has higher prices than another */
export function isModelMoreExpensive(one: string, other: string, models: ModelTable): boolean {
  const sumModelPrices = (name: string) => {
    const { input, output } = models.findPriceRow(models.resolveAlias(name)).row.prices;
    return input + output;
  };
  return sumModelPrices(one) > sumModelPrices(other);
}

/**
 * Chooses the model for a question by its label. Later questions of a conversation can only change to a more expensive model,
 * and only if two labels in a row justify it. Never rejects: without a label the model is `otherwise`, or does not change. The
 * cost of the label is settled separately.
 */
export async function chooseModelByLabel(
  choice: ModelByLabel,
  question: ModelChoiceQuestion,
  by: ClassifyContext,
): Promise<ModelSelection> {
  const { before, agent, text } = question;
  const leaving = new AbortController();
  try {
    if (text === undefined) throw new Error('The message has no text to label.');
    const labelling = classifyQuestion(choice.by, question, { ...by, signal: leaving.signal });
    // Keep the classification running after the timeout: its cost still has to be settled.
    by.waitUntil(labelling.catch(() => {}));
    const { label, classifier } = await waitWithTimeout(labelling, CHOICE_MS);
    const { model, why } = decideModelByLabel(choice, label, before, by.settings.models);
    return { model, by: { label, classifier, arm: 'chosen', why } };
  } catch (thrown) {
    logBackgroundFailure(
      { request_id: by.requestId, agent: formatVersionReference(agent), classifier: choice.by },
      thrown,
    );
    return chooseModelWithoutLabel(choice, before);
  } finally {
    leaving.abort();
  }
}

/** @returns the model for a question without a label. @param before how the present one was chosen */
function chooseModelWithoutLabel({ otherwise }: ModelByLabel, before: ModelSelection | undefined): ModelSelection {
  return { model: before?.model ?? otherwise, by: { ...NO_LABEL, arm: 'chosen', why: 'failed' } };
}

/** @returns the label of a question, and the version that has given it. @throws Error if there is none */
async function classifyQuestion(
  ref: string,
  { agent, conversation, text }: ModelChoiceQuestion,
  by: ClassifyContext,
): Promise<{ label: string | null; classifier: string }> {
  const { identity, accounts, store, settings } = by;
  const { hash } = parseVersionRef(ref) ?? {};
  // The agent's owner chose this exact version of the classifier, so treat it as readable for every caller of the agent.
  const reader = { ...identity, listed: hash === undefined ? [] : [hash], accounts, store, settings };
  const found = await requireStoredVersion(CLASSIFIERS, reader, ref, [agent.owner, DEPLOYMENT]);
  const classifier = `${found.name}@${found.hash}`;
  const request_id = by.requestId;
  const chosenBy: ModelSelectionReason = {
    label: null,
    classifier,
    arm: 'chosen',
    why: 'label',
    owner: toOwnerField(agent.owner),
    request_id,
  };
  const outcome = await classifyText(
    prepareClassificationTask(normalizeStoredClassifier(found.value), { settings, version: classifier }),
    text,
    {
      ...by,
      requestId: createRequestIdWithSameMark(request_id),
      chooses: {
        conversation,
        dimensions: {
          ...createDimensionValue(OF_AGENT, formatVersionReference(agent)),
          ...createDimensionValue(OF_CHOICE, chosenBy),
        },
      },
    },
  );
  if (outcome.outcome !== 'classified') throw outcome.error;
  return { label: toLabelList(outcome.result)[0] ?? null, classifier };
}

/** @returns the dimensions of a request by how its model was chosen. @param owner who has stored the agent */
export function createModelChoiceDimensions(
  owner: string,
  chosen: ModelSelection | undefined,
  part: ModelSelectionReason['part'],
): DimensionValues {
  return createDimensionValue(OF_CHOICE, chosen && { ...chosen.by, part, owner: toOwnerField(owner) });
}

/** Decides on the model by a label. @param before how the present model was chosen; undefined for a first question */
export function decideModelByLabel(
  choice: ModelByLabel,
  label: string | null,
  before: ModelSelection | undefined,
  models: ModelTable,
): Pick<ModelSelection, 'model'> & Pick<ModelSelectionReason, 'why'> {
  const meant = getModelForLabel(choice, label);
  if (!before) return { model: meant, why: 'label' };
  const { model, by } = before;
  const meantBefore = by.label === null ? model : getModelForLabel(choice, by.label);
  // Two labels in a row both justify at least the cheaper of their two models. Change to a more expensive model only up to that
  // one.
  const agreed = isModelMoreExpensive(meant, meantBefore, models) ? meantBefore : meant;
  return isModelMoreExpensive(agreed, model, models) ? { model: agreed, why: 'step_up' } : { model, why: 'kept' };
}

function getModelForLabel({ models, otherwise }: ModelByLabel, label: string | null): string {
  return label !== null && Object.hasOwn(models, label) ? (models[label] ?? otherwise) : otherwise;
}

/**
 * Chooses the model of a message without a conversation: the model that it names, or that the label of its question selects.
 */
export async function chooseModelForMessage(
  stored: AgentDefinitionWithText,
  { agent, named, messages, context: by }: ModelChoiceInput,
): Promise<ChosenModel | undefined> {
  const { models } = by.settings;
  const choice = getModelChoice(stored, models);
  if (!choice) return undefined;
  const question = { agent, text: findLastQuestionText(messages), before: undefined };
  const chosen = findRequestedModel(choice, named, models) ?? (await chooseModelByLabel(choice, question, by));
  return {
    model: chosen.model,
    dimensions: createModelChoiceDimensions(agent.owner, chosen, 'first'),
    createHeaders: (hides) => createModelChosenHeader(chosen, hides),
  };
}

/** @returns the text of the last question among messages; undefined if it has none */
export function findLastQuestionText(messages: readonly { role: string; content?: unknown }[]): string | undefined {
  const content = messages.findLast(({ role }) => role === 'user')?.content;
  if (typeof content === 'string') return content;
  const texts = Array.isArray(content)
    ? content.filter(isObject).flatMap(({ type, text }) => (type === 'text' && typeof text === 'string' ? [text] : []))
    : [];
  return texts.length === 0 ? undefined : texts.join('\n\n');
}

/**
 * @returns the header `sluice-model-chosen`, which reports how a model was chosen. @param hides whether to report only the
 *   model
 */
export function createModelChosenHeader({ model, by }: ModelSelection, hides: boolean): Record<string, string> {
  const { label, classifier, arm, why } = by;
  // Encode the label, because it may contain characters that are not allowed in a header.
  const ofLabel = label === null ? '' : `; label=${encodeURIComponent(label.toWellFormed())}`;
  const more = `; arm=${arm}; why=${why}${ofLabel}${classifier === null ? '' : `; classifier=${classifier}`}`;
  return { 'sluice-model-chosen': encodeURI(model.toWellFormed()) + (hides ? '' : more) };
}

/**
 * Checks how an agent chooses its model, before it is stored.
 *
 * @param by the owner of the agent: an account, or the deployment. Only its own classifiers and the deployment's can be used
 * @throws ApiError 400 for a label that the classifier does not have, or a model that would take too long to return it, 404 for
 *   a classifier that does not exist
 */
export async function validateModelChoice(
  c: Context<AppEnv>,
  agent: AgentDefinitionWithText,
  by: string,
): Promise<void> {
  const { models } = c.get('settings');
  const choice = getModelChoice(agent, models);
  if (!choice) return;
  const { value } = await requireRequestedVersion(c, CLASSIFIERS, choice.by, [by, DEPLOYMENT]);
  const { labels, multi, model } = normalizeStoredClassifier(value);
  if (multi) {
    throw createInvalidRequestError(
      `model.by: ${choice.by} can return several labels. Use a classifier without \`multi\`.`,
    );
  }
  const labelsBy = model === undefined ? findDefaultModel(models) : models.findRow(model);
  if (labelsBy?.thinking?.default === 'always') {
    throw createInvalidRequestError(
      `model.by: ${choice.by} uses ${labelsBy.id}, which always thinks, but a question waits only 5 s for its label. Store the classifier with a model that can label without thinking: ${describeNonThinkingModels(models)}.`,
    );
  }
  const names = new Set(labels.map(({ name }) => name));
  const unknown = Object.keys(choice.models).find((label) => !names.has(label));
  if (unknown === undefined) return;
  throw createInvalidRequestError(
    `model.models: ${JSON.stringify(unknown)} is not a label of ${choice.by}. Its labels are: ${[...names].join(', ')}.`,
  );
}
