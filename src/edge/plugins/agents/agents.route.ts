import type { Context } from 'hono';
import { findMaxTokensFault } from '../../../api-rules/max-tokens.ts';
import { hasScope } from '../../auth/authenticate.ts';
import type { AppEnv } from '../../auth/context.ts';
import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import { listSelectableModels } from '../../classify/model-by-label.schema.ts';
import { rejectUnsupportedParameters } from '../../claude/pricing/adapt-for-model.ts';
import { runLimitFields } from '../../claude/request/all-fields.ts';
import { createMissingPluginError } from '../../kit/http/errors.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { admitVersionStorageRequest } from '../../money/admission/admit-free.ts';
import type { FoundVersion } from '../../money/versions/kv-copies.ts';
import { requireStoredVersion } from '../../registry/versions/find-stored.ts';
import { createRejectionWarning, findRejectionWarnings } from '../../registry/versions/rejection-warnings.ts';
import {
  canSeeToolAddresses,
  readBodyWithStoredTools,
  redactToolAddresses,
} from '../../registry/versions/stored-tools.ts';
import { createVersionedRoutes, createVersionReader, toOwnerField } from '../../registry/versions/versioned-routes.ts';
import { AGENTS, type Agent } from './agent.ts';
import { type AgentDefinition, serializeAgent } from './agent-definition.ts';
import { MAX_AGENT_BYTES, putAgent } from './agents.schema.ts';
import type { AgentContent } from './agents-answers.schema.ts';
import { checkServers } from './called-servers.ts';
import { validateModelChoice } from './choice/choose-model.ts';
import { copyPrefixIntoAgent } from './copy-prefix-parts.ts';
import { fillAgentToolDescriptions } from './fill-tool-descriptions.ts';

/** The routes of agents. An admin stores the deployment's, everybody else those of their account. */
export const AGENT_ROUTES = createVersionedRoutes({
  stored: AGENTS,
  scope: 'messages',
  schemas: putAgent,
  maxBytes: MAX_AGENT_BYTES,
  readPutBody: async (c, warn) => {
    const by = getOwnerToStoreAs(c);
    const json = await readBodyWithStoredTools(c, 'free', warn, (sent) => copyPrefixIntoAgent(c, sent, by));
    if (!Array.isArray(json.tools)) return json;
    const tools = await fillAgentToolDescriptions(json.tools, (agent) =>
      requireStoredVersion(AGENTS, createVersionReader(c), agent, [by, DEPLOYMENT]),
    );
    return { ...json, tools };
  },
  serializeVersion: serializeAgent,
  createGetResponse: (c, found) => c.json(toAgentContent(c, found)),
  createPutResponse: async (c, found, leftOut) => {
    checkServers(found.value.definition, c.get('identity'), c.get('settings'));
    requireSupportedRunLimits(found.value.definition.limits);
    await validateAgentModels(c, found.value, getOwnerToStoreAs(c));
    return {
      ...toAgentContent(c, found),
      warnings: [
        ...leftOut,
        ...findRejectionWarnings({ mcp_servers: [], ...found.value.definition }),
        ...findOutputLimitWarnings(c, found.value.definition),
      ],
    };
  },
  admitPut: admitVersionStorageRequest,
});

/** @throws ApiError 400 for a limit of cost or time in a definition without a run, because nothing would enforce it */
function requireSupportedRunLimits(limits: AgentDefinition['limits']): void {
  const name = (['max_usd', 'max_seconds'] as const).find((one) => limits[one] !== undefined);
  if (name !== undefined && runLimitFields().length === 0) throw createMissingPluginError('runs', `limits.${name}:`);
}

/**
 * @returns the owner of what this caller stores. What an admin stores belongs to the deployment, and may only name what the
 *   deployment owns
 */
function getOwnerToStoreAs(c: Context<AppEnv>): string {
  const identity = c.get('identity');
  return hasScope(identity, 'admin') ? DEPLOYMENT : identity.account;
}

/**
 * Checks the models that an agent can reach, and how it chooses one: an agent with one model costs no read.
 *
 * @throws ApiError 400 for what one of the models refuses, and as `validateModelChoice`
 */
async function validateAgentModels(c: Context<AppEnv>, agent: Agent, by: string): Promise<void> {
  const { models } = c.get('settings');
  const { definition } = agent;
  const { model, fallback_models = [], fallbacks } = definition;
  const own = typeof model === 'string' ? [model] : [model.otherwise, ...listSelectableModels(model)];
  rejectUnsupportedParameters(models, [...own, ...fallback_models], { ...definition });
  // An entry of the API's own `fallbacks` can override parameters of the request, so validate each entry together with its
  // overrides.
  for (const entry of Array.isArray(fallbacks) ? fallbacks : [])
    rejectUnsupportedParameters(models, [undefined, entry.model], { ...definition, ...entry });
  await validateModelChoice(c, agent, by);
}

/** @returns a warning for each of the agent's own models whose limit is below the agent's `max_tokens` */
function findOutputLimitWarnings(c: Context<AppEnv>, { model, max_tokens }: AgentDefinition): string[] {
  const names = typeof model === 'string' ? [model] : [model.otherwise, ...listSelectableModels(model)];
  const rows = names.flatMap((name) => (name === undefined ? [] : (c.get('settings').models.findRow(name) ?? [])));
  return rows.flatMap((row) => createRejectionWarning(findMaxTokensFault(max_tokens, row)));
}

function toAgentContent(c: Context<AppEnv>, { name, hash, owner, value }: FoundVersion<Agent>): AgentContent {
  const { tools, mcp_servers: servers, ...definition } = value.definition;
  const isOwn = owner === c.get('identity').account;
  // Callers that may not see the addresses of this agent's servers still see their own servers without a secret: they could
  // send these in a request themselves.
  const shown = canSeeToolAddresses(c, owner)
    ? servers
    : servers?.filter((server) => isOwn && !server.authorization_token);
  return {
    type: 'agent',
    name,
    version: `${name}@${hash}`,
    owner: toOwnerField(owner),
    ...definition,
    ...removeUndefined({ mcp_servers: shown }),
    tools: redactToolAddresses(c, owner, tools),
  };
}
