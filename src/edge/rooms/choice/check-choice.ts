import type { Context } from 'hono';
import { defaultModel } from '../../claude/pricing/default-model.ts';
import { unthinkingModels } from '../../claude/pricing/thinking-off.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import { DEPLOYMENT } from '../../gate/identity/identity.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { CLASSIFIERS } from '../../named/classify/task/classifier-kind.ts';
import { findAsked } from '../../named/versions/named-routes.ts';
import type { StoredAgent } from '../agents/agent-definition.ts';
import { choiceOf } from './choose-model.ts';

/**
 * Checks how an agent chooses its model, before it is stored.
 *
 * @param by who stores the agent: an account, or what stands for the deployment. Only their classifiers and the deployment's count
 * @throws ApiError 400 for a label that the classifier does not have, or a model that would take too long to give it, 404 for a classifier that does not exist
 */
export async function checkChoice(c: Context<AppEnv>, agent: StoredAgent, by: string): Promise<void> {
  const { models } = c.get('settings');
  const choice = choiceOf(agent, models);
  if (!choice) return;
  const { value } = await findAsked(c, CLASSIFIERS, choice.by, [by, DEPLOYMENT]);
  if (value.multi) {
    throw invalidRequest(`model.by: ${choice.by} may give several labels. Name a classifier without \`multi\`.`);
  }
  const labelsBy = value.model === undefined ? defaultModel(models) : models.find(value.model);
  if (labelsBy?.thinking?.default === 'always') {
    throw invalidRequest(
      `model.by: ${choice.by} labels by ${labelsBy.id}, which always thinks, and a question waits 5 s for its label. Store it with a model that labels without: ${unthinkingModels(models)}.`,
    );
  }
  const known = new Set(value.labels.map(({ name }) => name));
  const unknown = Object.keys(choice.models).find((label) => !known.has(label));
  if (unknown === undefined) return;
  throw invalidRequest(
    `model.models: ${JSON.stringify(unknown)} is none of the labels of ${choice.by}. It has: ${[...known].join(', ')}.`,
  );
}
