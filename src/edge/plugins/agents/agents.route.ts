import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import { modelsIn } from '../../classify/model-by-label.schema.ts';
import { refuseUntaken } from '../../claude/pricing/adapt-for-model.ts';
import { limitsOfRun } from '../../claude/request/members.ts';
import { needsPlugin } from '../../kit/http/errors.ts';
import { withoutUndefined } from '../../kit/json/object.ts';
import { admitStoring } from '../../money/admission/admit-free.ts';
import type { Found } from '../../money/versions/kv-copies.ts';
import { requireStored } from '../../registry/versions/find-stored.ts';
import { namedRoutes, ownerName, readerOf } from '../../registry/versions/named-routes.ts';
import { schemaWarnings } from '../../registry/versions/schema-warnings.ts';
import { readWithTools, seesAddresses, shownTools } from '../../registry/versions/stored-tools.ts';
import { AGENTS, type Agent } from './agent.ts';
import { type AgentDefinition, agentBytes } from './agent-definition.ts';
import { MAX_AGENT_BYTES, putAgent } from './agents.schema.ts';
import type { AgentContent } from './agents-answers.schema.ts';
import { checkServers } from './called-servers.ts';
import { checkChoice } from './choice/choose-model.ts';
import { describedTools } from './described-tools.ts';
import { withPartsOfPrefix } from './parts-of-prefix.ts';

/** The routes of agents. An admin stores the deployment's, everybody else those of their account. */
export const AGENT_ROUTES = namedRoutes({
  stored: AGENTS,
  scope: 'messages',
  schemas: putAgent,
  maxBytes: MAX_AGENT_BYTES,
  readBody: async (c, warn) => {
    const by = storedBy(c);
    const json = await readWithTools(c, 'free', warn, (sent) => withPartsOfPrefix(c, sent, by));
    if (!Array.isArray(json.tools)) return json;
    const tools = await describedTools(json.tools, (agent) =>
      requireStored(AGENTS, readerOf(c), agent, [by, DEPLOYMENT]),
    );
    return { ...json, tools };
  },
  write: agentBytes,
  show: (c, found) => c.json(agentContentOf(c, found)),
  answerPut: async (c, found, leftOut) => {
    checkServers(found.value.definition, c.get('identity'), c.get('settings'));
    checkLimits(found.value.definition.limits);
    await checkModels(c, found.value, storedBy(c));
    return { ...agentContentOf(c, found), warnings: [...leftOut, ...schemaWarnings(found.value.definition)] };
  },
  admit: admitStoring,
});

/** @throws ApiError 400 for a limit of money or time where nothing runs, so that nobody would hold it */
function checkLimits(limits: AgentDefinition['limits']): void {
  const name = (['max_usd', 'max_seconds'] as const).find((one) => limits[one] !== undefined);
  if (name !== undefined && limitsOfRun().length === 0) throw needsPlugin('runs', `limits.${name}: runs hold it`);
}

/** @returns who stores what this caller stores. What an admin stores belongs to the deployment, and so must what it names */
function storedBy(c: Context<AppEnv>): string {
  const identity = c.get('identity');
  return hasScope(identity, 'admin') ? DEPLOYMENT : identity.account;
}

/**
 * Checks the models that an agent can reach, and how it chooses one: an agent with one model costs no read.
 *
 * @throws ApiError 400 for what one of the models refuses, and as `checkChoice`
 */
async function checkModels(c: Context<AppEnv>, agent: Agent, by: string): Promise<void> {
  const { models } = c.get('settings');
  const { definition } = agent;
  const { model, fallback_models = [], fallbacks } = definition;
  const own = typeof model === 'string' ? [model] : [model.otherwise, ...modelsIn(model)];
  refuseUntaken(models, [...own, ...fallback_models], { ...definition });
  // Those of the API change members themselves.
  for (const entry of Array.isArray(fallbacks) ? fallbacks : [])
    refuseUntaken(models, [undefined, entry.model], { ...definition, ...entry });
  await checkChoice(c, agent, by);
}

function agentContentOf(c: Context<AppEnv>, { name, hash, owner, value }: Found<Agent>): AgentContent {
  const { tools, mcp_servers: servers, ...definition } = value.definition;
  const isOwn = owner === c.get('identity').account;
  // Whoever may send a server in a request may read those without a secret.
  const shown = seesAddresses(c, owner) ? servers : servers?.filter((server) => isOwn && !server.authorization_token);
  return {
    ...{ type: 'agent', name, version: `${name}@${hash}`, owner: ownerName(owner), ...definition },
    ...withoutUndefined({ mcp_servers: shown }),
    tools: shownTools(c, owner, tools),
  };
}
