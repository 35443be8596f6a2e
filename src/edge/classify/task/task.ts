import type { RequestContext } from '../../auth/context.ts';
import type { Identity } from '../../auth/identity/caller.ts';
import type { ResolvedRestrictedName } from '../../auth/identity/only.ts';
import { findDefaultModel } from '../../claude/pricing/default-model.ts';
import type { Settings } from '../../config/settings.ts';
import { createInvalidRequestError, createMisconfiguredError } from '../../kit/http/errors.ts';
import type { ParsedPrefix } from '../../registry/prefixes/prefix.ts';
import { PREFIXES } from '../../registry/prefixes/prefix-kind.ts';
import { requireStoredVersion } from '../../registry/versions/find-stored.ts';
import type { TaskRequest } from '../classify.schema.ts';
import {
  CLASSIFIERS,
  type NormalizedClassifier,
  normalizeClassifier,
  normalizeStoredClassifier,
} from './classifier.ts';
import { type ClassificationPrompt, createClassificationPrompt, getModelPromptOptions } from './prompt.ts';

/** The task for each input of a request. It is found, checked and prepared once. */
export interface ClassificationTask {
  classifier: NormalizedClassifier;
  prompt: ClassificationPrompt;
  /** The model's id as the upstream knows it. */
  model: string;
  /** The name that was asked for, perhaps an alias: limits may allow a model by it. */
  requestedModel: string;
  /** name@version of a stored classifier. */
  version: string | undefined;
  /** name@version of the prefix, for the ledger. */
  prefix: string | undefined;
  /** The models that may step in, according to the prefix. */
  fallbackModels: readonly string[] | undefined;
  votes: number;
  cacheSeconds: number;
}

const CACHE_SECONDS = 3_600;

/**
 * Finds the classifier and the prefix, and prepares the parts that all inputs share.
 *
 * @param bound whose classifier a restricted token means
 * @throws ApiError 400 for what cannot be a classifier, 404 for an unknown name, 503 while what is stored cannot be read
 */
export async function resolveTask(
  request: TaskRequest,
  context: Pick<RequestContext, 'accounts' | 'store' | 'settings'> & { identity: Pick<Identity, 'account' | 'scopes'> },
  bound?: ResolvedRestrictedName,
): Promise<ClassificationTask> {
  const { identity, accounts, store, settings } = context;
  const { account, scopes } = identity;
  const reader = { account, scopes, accounts, store, settings };
  const { classifier: ref, prefix: prefixRef, ...parts } = request;
  const [found, prefix] = await Promise.all([
    ref === undefined
      ? undefined
      : requireStoredVersion(CLASSIFIERS, { ...reader, listed: bound?.listedVersions }, ref, bound && [bound.owner]),
    prefixRef === undefined ? undefined : requireStoredVersion(PREFIXES, reader, prefixRef),
  ]);
  if (found) rejectInlineClassifierFields(parts);
  const { model, votes, cache_seconds } = request;
  const classifier = found ? normalizeStoredClassifier(found.value) : normalizeClassifier(parts);
  return prepareClassificationTask(
    {
      ...classifier,
      ...(model && { model }),
      ...(votes && { votes }),
      ...(cache_seconds !== undefined && { cache_seconds }),
    },
    {
      settings,
      version: found && `${found.name}@${found.hash}`,
      prefix: prefix && { ref: `${prefix.name}@${prefix.hash}`, value: prefix.value },
    },
  );
}

/**
 * Prepares a classifier that has been found.
 *
 * @throws ApiError 500 if no model is named and the model table has no default
 */
export function prepareClassificationTask(
  classifier: NormalizedClassifier,
  {
    settings,
    version,
    prefix,
  }: { settings: Settings; version?: string | undefined; prefix?: { ref: string; value: ParsedPrefix } | undefined },
): ClassificationTask {
  const { models } = settings;
  const modelAsked = classifier.model ?? prefix?.value.content.model ?? findDefaultModel(models)?.id;
  if (modelAsked === undefined)
    throw createMisconfiguredError(
      'model: Field required. The default is a Haiku model, and the model table of this deployment contains none.',
    );
  const model = models.resolveAlias(modelAsked);
  const row = models.findRow(model);
  const prompt = createClassificationPrompt(classifier, {
    model,
    ...getModelPromptOptions(row),
    minimumCacheable: row?.minimum_cacheable_tokens ?? Number.POSITIVE_INFINITY,
    prefix: prefix?.value,
  });
  const fallbackModels = prefix?.value.content.fallback_models;
  const { votes = 1, cache_seconds: cacheSeconds = CACHE_SECONDS } = classifier;
  return {
    classifier,
    prompt,
    model,
    requestedModel: modelAsked,
    version,
    prefix: prefix?.ref,
    fallbackModels,
    votes,
    cacheSeconds,
  };
}

function rejectInlineClassifierFields(parts: Omit<TaskRequest, 'classifier' | 'prefix'>): void {
  const { model: _, votes: __, cache_seconds: ___, ...own } = parts;
  const [first] = Object.entries(own).filter(([, value]) => value !== undefined);
  if (first)
    throw createInvalidRequestError(
      `${first[0]}: the classifier determines it. Send either \`classifier\` or its fields.`,
    );
}
