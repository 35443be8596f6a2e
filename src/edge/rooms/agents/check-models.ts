import type { Context } from 'hono';
import { refuseUntaken } from '../../claude/pricing/takes.ts';
import type { AppEnv } from '../../gate/auth/context.ts';
import type { Agent } from './agent.ts';
import { choiceInUse, modelsIn } from './choice-of-model.ts';

/**
 * Checks the models that an agent can reach, and how it chooses one, before it is stored: an agent with one model costs no read.
 *
 * @param by who stores the agent: an account, or what stands for the deployment
 * @throws ApiError 400 for what one of the models refuses, 409 where the room that chooses is not there, or as that room says
 */
export async function checkModels(c: Context<AppEnv>, agent: Agent, by: string): Promise<void> {
  const { models } = c.get('settings');
  const { definition, lacking } = agent;
  if (lacking) throw lacking;
  const { model, fallback_models = [], fallbacks } = definition;
  const own = typeof model === 'string' ? [model] : [model.otherwise, ...modelsIn(model)];
  refuseUntaken(models, [...own, ...fallback_models], { ...definition });
  // Those of the API change members themselves.
  for (const entry of Array.isArray(fallbacks) ? fallbacks : [])
    refuseUntaken(models, [undefined, entry.model], { ...definition, ...entry });
  await choiceInUse()?.check(c, agent, by);
}
