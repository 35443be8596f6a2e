import type { Context } from 'hono';
import { defaultModel } from '../../claude/pricing/default-model.ts';
import { refuseUntaken } from '../../claude/pricing/takes.ts';
import { unthinkingModels } from '../../claude/pricing/thinking-off.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import { DEPLOYMENT } from '../../gate/identity/identity.ts';
import { invalidRequest } from '../../kit/http/errors.ts';
import { CLASSIFIERS } from '../../named/classify/task/classifier-kind.ts';
import { findAsked } from '../../named/versions/named-routes.ts';
import type { Agent } from '../agents/agent.ts';
import { choiceOf, modelsIn } from './choose-model.ts';

/**
 * Checks the models that an agent can reach, and how it chooses one, before it is stored: an agent with one model costs no read.
 *
 * @param by who stores the agent: an account, or what stands for the deployment. Only their classifiers and the deployment's count
 * @throws ApiError 400 for what one of the models refuses, a label that the classifier does not have, or a model that would take too long to give it, 404 for a classifier that does not exist
 */
export async function checkModels(c: Context<AppEnv>, agent: Agent, by: string): Promise<void> {
  const { models } = c.get('settings');
  const { definition } = agent;
  const { model, fallback_models = [], fallbacks } = definition;
  const own = typeof model === 'string' ? [model] : [model.otherwise, ...modelsIn(model)];
  refuseUntaken(models, [...own, ...fallback_models], { ...definition });
  // Those of the API change members themselves.
  for (const entry of Array.isArray(fallbacks) ? fallbacks : [])
    refuseUntaken(models, [undefined, entry.model], { ...definition, ...entry });
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
