import type { Context } from 'hono';
import { hasScope } from '../../auth/authenticate.ts';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import { namedModelsOf } from '../../classify/model-by-label.schema.ts';
import { rejectUnsupportedParameters } from '../../claude/pricing/adapt-for-model.ts';
import { runLimitFields } from '../../claude/request/all-fields.ts';
import { missingPluginError } from '../../kit/http/errors.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { admitVersionStorage } from '../../money/admission/admit-free.ts';
import type { FoundVersion } from '../../money/versions/kv-copies.ts';
import { requireStored } from '../../registry/versions/find-stored.ts';
import { findSchemaWarnings } from '../../registry/versions/schema-warnings.ts';
import { canSeeAddresses, readBodyWithTools, redactTools } from '../../registry/versions/stored-tools.ts';
import { createReader, createVersionedRoutes, toOwner } from '../../registry/versions/versioned-routes.ts';
import { AGENTS, type Agent } from './agent.ts';
import { type AgentDefinition, agentBytes } from './agent-definition.ts';
import { MAX_AGENT_BYTES, putAgent } from './agents.schema.ts';
import type { AgentContent } from './agents-answers.schema.ts';
import { checkServers } from './called-servers.ts';
import { checkChoice } from './choice/choose-model.ts';
import { copyPrefixParts } from './copy-prefix-parts.ts';
import { fillToolDescriptions } from './fill-tool-descriptions.ts';

/** The routes of agents. An admin stores the deployment's, everybody else those of their account. */
export const AGENT_ROUTES = createVersionedRoutes({
  stored: AGENTS,
  scope: 'messages',
  schemas: putAgent,
  maxBytes: MAX_AGENT_BYTES,
  readBody: async (c, warn) => {
    const by = ownerOfStored(c);
    const json = await readBodyWithTools(c, 'free', warn, (sent) => copyPrefixParts(c, sent, by));
    if (!Array.isArray(json.tools)) return json;
    const tools = await fillToolDescriptions(json.tools, (agent) =>
      requireStored(AGENTS, createReader(c), agent, [by, DEPLOYMENT]),
    );
    return { ...json, tools };
  },
  write: agentBytes,
  respond: (c, found) => c.json(agentContentOf(c, found)),
  createPutResponse: async (c, found, leftOut) => {
    checkServers(found.value.definition, c.get('identity'), c.get('settings'));
    checkLimits(found.value.definition.limits);
    await checkModels(c, found.value, ownerOfStored(c));
    return { ...agentContentOf(c, found), warnings: [...leftOut, ...findSchemaWarnings(found.value.definition)] };
  },
  admit: admitVersionStorage,
});

/** @throws ApiError 400 for a limit of money or time where nothing runs, so that nobody would hold it */
function checkLimits(limits: AgentDefinition['limits']): void {
  const name = (['max_usd', 'max_seconds'] as const).find((one) => limits[one] !== undefined);
  if (name !== undefined && runLimitFields().length === 0)
    throw missingPluginError('runs', `limits.${name}: runs hold it`);
}

/** @returns who stores what this caller stores. What an admin stores belongs to the deployment, and so must what it names */
function ownerOfStored(c: Context<AppEnv>): string {
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
  const own = typeof model === 'string' ? [model] : [model.otherwise, ...namedModelsOf(model)];
  rejectUnsupportedParameters(models, [...own, ...fallback_models], { ...definition });
  // Those of the API change members themselves.
  for (const entry of Array.isArray(fallbacks) ? fallbacks : [])
    rejectUnsupportedParameters(models, [undefined, entry.model], { ...definition, ...entry });
  await checkChoice(c, agent, by);
}

function agentContentOf(c: Context<AppEnv>, { name, hash, owner, value }: FoundVersion<Agent>): AgentContent {
  const { tools, mcp_servers: servers, ...definition } = value.definition;
  const isOwn = owner === c.get('identity').account;
  // Whoever may send a server in a request may read those without a secret.
  const shown = canSeeAddresses(c, owner) ? servers : servers?.filter((server) => isOwn && !server.authorization_token);
  return {
    type: 'agent',
    name,
    version: `${name}@${hash}`,
    owner: toOwner(owner),
    ...definition,
    ...removeUndefined({ mcp_servers: shown }),
    tools: redactTools(c, owner, tools),
  };
}
