import type { Context } from 'hono';
import { admitStoring } from '../accounts/admission/admit-free.ts';
import { DAY_MS } from '../async/durations.ts';
import { hasScope, requireScope } from '../auth/authenticate.ts';
import { type AppEnv, accountOf } from '../auth/context.ts';
import { spanId } from '../budget/windows.ts';
import { invalidRequest } from '../http/errors.ts';
import { Hono } from '../http/hono.ts';
import { validate } from '../http/validate.ts';
import { DEPLOYMENT } from '../identity/identity.ts';
import { parseRef } from '../identity/version-ref.ts';
import { withoutUndefined } from '../json/object.ts';
import { deploymentPool } from '../pools/pools.route.ts';
import type { ChoiceSum } from '../pricing/choice-sums.ts';
import { readWithTools, seesAddresses, shownTools } from '../tools/stored-tools.ts';
import type { Found } from '../versions/kv-copies.ts';
import { namedRoutes, ownerName } from '../versions/named-routes.ts';
import type { Owner } from '../versions/versions-answers.schema.ts';
import { type Agent, agentBytes } from './agent.ts';
import { AGENTS } from './agent-kind.ts';
import { statsOfChoices } from './agent-stats.ts';
import { agentStatsQuery, MAX_AGENT_BYTES, putAgent } from './agents.schema.ts';
import type { AgentContent, AgentStats } from './agents-answers.schema.ts';
import { checkServers } from './called-servers.ts';
import { checkModels } from './check-choice.ts';
import { describedTools } from './described-tools.ts';
import { findAgent } from './find-agent.ts';
import { withPartsOfPrefix } from './parts-of-prefix.ts';

/** Makes the routes of agents, and of what the choice of their models has saved. An admin stores the deployment's, everybody else those of their account. */
export function agentsRoutes() {
  return new Hono<AppEnv>()
    .get('/agents/:name/stats', requireScope('messages'), async (c) => c.json(await statsOf(c)))
    .route(
      '/',
      namedRoutes({
        stored: AGENTS,
        scope: 'messages',
        schemas: putAgent,
        maxBytes: MAX_AGENT_BYTES,
        readBody: async (c) => {
          const identity = c.get('identity');
          const by = storedBy(c);
          const json = await readWithTools(c, 'free', (sent) => withPartsOfPrefix(c, sent, by));
          if (!Array.isArray(json.tools)) return json;
          const context = { env: c.env, settings: c.get('settings') };
          return {
            ...json,
            tools: await describedTools(json.tools, (agent) => findAgent(context, identity, agent, by)),
          };
        },
        write: agentBytes,
        show: (c, found) => c.json(agentContentOf(c, found)),
        answerPut: async (c, found) => {
          checkServers(found.value.definition, c.get('identity'), c.get('settings'));
          await checkModels(c, found.value, storedBy(c));
          return agentContentOf(c, found);
        },
        admit: admitStoring,
      }),
    );
}

const DEFAULT_DAYS = 90;

/** @returns what the caller's own conversations with an agent have cost and saved; an admin gets those of all accounts */
async function statsOf(c: Context<AppEnv>): Promise<AgentStats> {
  const { to, version, ...given } = validate(agentStatsQuery, c.req.query());
  const from = given.from ?? spanId('day', Date.now() - DEFAULT_DAYS * DAY_MS);
  const name = c.req.param('name') ?? '';
  const ref = parseRef(version ?? '');
  if (version !== undefined && (ref?.name !== name || ref.hash === undefined))
    throw invalidRequest(`version: Input should be a version of this agent: ${name}@…`);
  const query = (owner: Owner) => ({ agent: `${owner} ${name}`, from, to });
  const own = async (owner: Owner) =>
    await accountOf(c, c.get('identity').account)((object) => object.choices(query(owner)));
  let sums: ChoiceSum[];
  // Accounts can store agents of the same name: what an admin sees is the deployment's alone.
  if (hasScope(c.get('identity'), 'admin')) sums = await deploymentPool(c)((pool) => pool.choices(query('deployment')));
  else {
    sums = await own('account');
    if (sums.length === 0) sums = await own('deployment');
  }
  if (sums.length === 0)
    await findAgent({ env: c.env, settings: c.get('settings') }, c.get('identity'), version ?? name);
  return { type: 'agent_stats', name, from, to: to ?? null, ...statsOfChoices(sums, version) };
}

/** @returns who stores what this caller stores. What an admin stores belongs to the deployment, and so must what it names */
function storedBy(c: Context<AppEnv>): string {
  const identity = c.get('identity');
  return hasScope(identity, 'admin') ? DEPLOYMENT : identity.account;
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
