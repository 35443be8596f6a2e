/** Chooses the model of an agent by a label of the question. */

import type { Context } from 'hono';
import type { AppEnv } from '../../../auth/context.ts';
import { DEPLOYMENT } from '../../../auth/identity/identity.ts';
import { type ModelByLabel, namedModelsOf } from '../../../classify/model-by-label.schema.ts';
import { CLASSIFIERS, classifierIn } from '../../../classify/task/classifier.ts';
import { classify } from '../../../classify/task/classify.ts';
import { labelsOf } from '../../../classify/task/labels.ts';
import type { ClassifyContext } from '../../../classify/task/take-vote.ts';
import { prepareTask } from '../../../classify/task/task.ts';
import type { ModelTable } from '../../../claude/models/models.ts';
import { adaptForModel } from '../../../claude/pricing/adapt-for-model.ts';
import { findDefaultModel } from '../../../claude/pricing/default-model.ts';
import { describeNonThinkingModels } from '../../../claude/pricing/minimal-thinking.ts';
import { type ChosenModel, type ModelChoiceRequest, OF_AGENT } from '../../../conversations/history/agent-in-use.ts';
import type { ChosenBy } from '../../../conversations/history/storage/chosen-by.schema.ts';
import { type ModelSelection, type RetainedAgent, refOf } from '../../../conversations/history/storage/rows.ts';
import { withTimeout } from '../../../kit/async/timeout.ts';
import { invalidRequest } from '../../../kit/http/errors.ts';
import { createSiblingRequestId } from '../../../kit/http/headers/request-id.ts';
import { logFailure } from '../../../kit/http/log.ts';
import { isObject } from '../../../kit/json/object.ts';
import { parseRef } from '../../../kit/kv/version-ref.ts';
import { type DimensionValues, dimensionValue } from '../../../money/contracts/dimensions.ts';
import { requireStored } from '../../../registry/versions/find-stored.ts';
import { findRequested, toOwner } from '../../../registry/versions/versioned-routes.ts';
import type { StoredAgent } from '../agent-definition.ts';
import { OF_CHOICE } from './chosen-by.schema.ts';

/** What a model is chosen for. */
interface ModelQuestion {
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
 * @returns how an agent chooses its model; undefined if it has only one. What means a model that refuses what the agent asks means
 *   `otherwise`
 */
export function modelChoiceOf(
  agent: Pick<StoredAgent, 'definition'> | undefined,
  models: ModelTable,
): ModelByLabel | undefined {
  const { model: choice, ...asked } = agent?.definition ?? {};
  if (typeof choice !== 'object') return undefined;
  const from = models.find(choice.otherwise);
  const fits = ([, name]: [string, string]) => !adaptForModel(models.find(name), asked, from).refused;
  return { ...choice, models: Object.fromEntries(Object.entries(choice.models).filter(fits)) };
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
  if (!choice.overridable) throw invalidRequest('sluice-model: this agent chooses its model itself. Leave it out.');
  const all = namedModelsOf(choice);
  const model = all.find((one) => one === name || models.resolve(one) === models.resolve(name));
  if (model !== undefined) return { model, by: { ...NO_LABEL, arm: 'asked', why: 'asked' } };
  throw invalidRequest(`sluice-model: this agent answers with ${all.join(', ')}. Name one of these, or leave it out.`);
}

const NO_LABEL = { label: null, classifier: null } as const;

/** @returns whether the next question can change the model: only a step up does */
export function canStepUp(choice: ModelByLabel, { model }: ModelSelection, models: ModelTable): boolean {
  return namedModelsOf(choice).some((other) => isMoreExpensive(other, model, models));
}

/** @returns whether one model has higher prices than another */
export function isMoreExpensive(one: string, other: string, models: ModelTable): boolean {
  const priceOf = (name: string) => {
    const { input, output } = models.findPriceRow(models.resolve(name)).row.prices;
    return input + output;
  };
  return priceOf(one) > priceOf(other);
}

/**
 * Chooses the model for a question by its label. Later questions of a conversation can only make a step up, where two labels in
 * a row mean a dearer model. Never rejects: without a label the model is `otherwise`, or stays. What the label has cost is settled
 * by itself.
 */
export async function chooseModel(
  choice: ModelByLabel,
  question: ModelQuestion,
  by: ClassifyContext,
): Promise<ModelSelection> {
  const { before, agent, text } = question;
  const leaving = new AbortController();
  try {
    if (text === undefined) throw new Error('The question has no text to be labelled.');
    const labelling = classifyQuestion(choice.by, question, { ...by, signal: leaving.signal });
    // After the time is over it still settles what it has cost.
    by.waitUntil(labelling.catch(() => {}));
    const { label, classifier } = await withTimeout(labelling, CHOICE_MS);
    const { model, why } = decideModel(choice, label, before, by.settings.models);
    return { model, by: { label, classifier, arm: 'chosen', why } };
  } catch (thrown) {
    logFailure({ request_id: by.requestId, agent: refOf(agent), classifier: choice.by }, thrown);
    return chooseWithoutLabel(choice, before);
  } finally {
    leaving.abort();
  }
}

/** @returns the model for a question without a label. @param before how the present one was chosen */
function chooseWithoutLabel({ otherwise }: ModelByLabel, before: ModelSelection | undefined): ModelSelection {
  return { model: before?.model ?? otherwise, by: { ...NO_LABEL, arm: 'chosen', why: 'failed' } };
}

/** @returns the label of a question, and the version that has given it. @throws Error if there is none */
async function classifyQuestion(
  ref: string,
  { agent, conversation, text }: ModelQuestion,
  by: ClassifyContext,
): Promise<{ label: string | null; classifier: string }> {
  const { identity, accounts, store, settings } = by;
  const { hash } = parseRef(ref) ?? {};
  // Whoever has stored the agent has named this version.
  const reader = { ...identity, listed: hash === undefined ? [] : [hash], accounts, store, settings };
  const found = await requireStored(CLASSIFIERS, reader, ref, [agent.owner, DEPLOYMENT]);
  const classifier = `${found.name}@${found.hash}`;
  const request_id = by.requestId;
  const chosenBy: ChosenBy = {
    label: null,
    classifier,
    arm: 'chosen',
    why: 'label',
    owner: toOwner(agent.owner),
    request_id,
  };
  const outcome = await classify(prepareTask(classifierIn(found.value), { settings, version: classifier }), text, {
    ...by,
    requestId: createSiblingRequestId(request_id),
    chooses: {
      conversation,
      about: { ...dimensionValue(OF_AGENT, refOf(agent)), ...dimensionValue(OF_CHOICE, chosenBy) },
    },
  });
  if (outcome.outcome !== 'classified') throw outcome.error;
  return { label: labelsOf(outcome.result)[0] ?? null, classifier };
}

/** @returns what a request is about by how its model was chosen. @param owner who has stored the agent */
export function choiceDimensions(
  owner: string,
  chosen: ModelSelection | undefined,
  part: ChosenBy['part'],
): DimensionValues {
  return dimensionValue(OF_CHOICE, chosen && { ...chosen.by, part, owner: toOwner(owner) });
}

/** Decides on the model by a label. @param before how the present model was chosen; undefined for a first question */
export function decideModel(
  choice: ModelByLabel,
  label: string | null,
  before: ModelSelection | undefined,
  models: ModelTable,
): Pick<ModelSelection, 'model'> & Pick<ChosenBy, 'why'> {
  const meant = modelForLabel(choice, label);
  if (!before) return { model: meant, why: 'label' };
  const { model, by } = before;
  const meantBefore = by.label === null ? model : modelForLabel(choice, by.label);
  // Both labels mean at least the cheaper one of the two.
  const agreed = isMoreExpensive(meant, meantBefore, models) ? meantBefore : meant;
  return isMoreExpensive(agreed, model, models) ? { model: agreed, why: 'step_up' } : { model, why: 'kept' };
}

function modelForLabel({ models, otherwise }: ModelByLabel, label: string | null): string {
  return label !== null && Object.hasOwn(models, label) ? (models[label] ?? otherwise) : otherwise;
}

/** Chooses the model of a message without a conversation: the one that it names, or that its question means. */
export async function chooseForMessage(
  stored: StoredAgent,
  { agent, named, messages, context: by }: ModelChoiceRequest,
): Promise<ChosenModel | undefined> {
  const { models } = by.settings;
  const choice = modelChoiceOf(stored, models);
  if (!choice) return undefined;
  const question = { agent, text: lastQuestionOf(messages), before: undefined };
  const chosen = findRequestedModel(choice, named, models) ?? (await chooseModel(choice, question, by));
  return {
    model: chosen.model,
    about: choiceDimensions(agent.owner, chosen, 'first'),
    headers: (hides) => choiceHeader(chosen, hides),
  };
}

/** @returns the text of the last question among messages; undefined if it has none */
export function lastQuestionOf(messages: readonly { role: string; content?: unknown }[]): string | undefined {
  const content = messages.findLast(({ role }) => role === 'user')?.content;
  if (typeof content === 'string') return content;
  const texts = Array.isArray(content)
    ? content.filter(isObject).flatMap(({ type, text }) => (type === 'text' && typeof text === 'string' ? [text] : []))
    : [];
  return texts.length === 0 ? undefined : texts.join('\n\n');
}

/** @returns how a model was chosen, as the header `sluice-model-chosen` says it. @param hides whether only the model is told */
export function choiceHeader({ model, by }: ModelSelection, hides: boolean): Record<string, string> {
  const { label, classifier, arm, why } = by;
  // A label may have any characters, and a header may not.
  const ofLabel = label === null ? '' : `; label=${encodeURIComponent(label.toWellFormed())}`;
  const more = `; arm=${arm}; why=${why}${ofLabel}${classifier === null ? '' : `; classifier=${classifier}`}`;
  return { 'sluice-model-chosen': encodeURI(model.toWellFormed()) + (hides ? '' : more) };
}

/**
 * Checks how an agent chooses its model, before it is stored.
 *
 * @param by who stores the agent: an account, or what stands for the deployment. Only their classifiers and the deployment's count
 * @throws ApiError 400 for a label that the classifier does not have, or a model that would take too long to give it, 404 for a classifier that does not exist
 */
export async function checkChoice(c: Context<AppEnv>, agent: StoredAgent, by: string): Promise<void> {
  const { models } = c.get('settings');
  const choice = modelChoiceOf(agent, models);
  if (!choice) return;
  const { value } = await findRequested(c, CLASSIFIERS, choice.by, [by, DEPLOYMENT]);
  const { labels, multi, model } = classifierIn(value);
  if (multi) {
    throw invalidRequest(`model.by: ${choice.by} may give several labels. Name a classifier without \`multi\`.`);
  }
  const labelsBy = model === undefined ? findDefaultModel(models) : models.find(model);
  if (labelsBy?.thinking?.default === 'always') {
    throw invalidRequest(
      `model.by: ${choice.by} labels by ${labelsBy.id}, which always thinks, and a question waits 5 s for its label. Store it with a model that labels without: ${describeNonThinkingModels(models)}.`,
    );
  }
  const names = new Set(labels.map(({ name }) => name));
  const unknown = Object.keys(choice.models).find((label) => !names.has(label));
  if (unknown === undefined) return;
  throw invalidRequest(
    `model.models: ${JSON.stringify(unknown)} is none of the labels of ${choice.by}. It has: ${[...names].join(', ')}.`,
  );
}
