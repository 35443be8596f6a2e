import type { Context } from 'hono';
import { admitFree, admitStoring } from '../accounts/admission/admit-free.ts';
import { checkOwned } from '../accounts/admission/check-owned.ts';
import { readToStore } from '../accounts/admission/read-body.ts';
import { hasScope } from '../auth/authenticate.ts';
import { type AppEnv, contextOf } from '../auth/context.ts';
import { Hono } from '../http/hono.ts';
import { storedTools } from '../tools/stored-tools.ts';
import { idsNamed } from '../upstream/request/named-ids.ts';
import type { Found } from '../versions/kv-copies.ts';
import { namedRoutes, ownerName } from '../versions/named-routes.ts';
import { type Agent, agentBytes } from './agent.ts';
import { AGENTS } from './agent-kind.ts';
import { MAX_AGENT_BYTES, putAgent } from './agents.schema.ts';
import type { AgentContent } from './agents-answers.schema.ts';

/** Makes the routes of agents. An admin stores the deployment's, everybody else those of their account. */
export function agentsRoutes() {
  return new Hono<AppEnv>().route(
    '/',
    namedRoutes({
      stored: AGENTS,
      path: '/agents',
      scope: 'messages',
      schemas: putAgent,
      maxBytes: MAX_AGENT_BYTES,
      readBody: async (c) => {
        const { json } = await readToStore(c, 'free');
        await checkOwned(contextOf(c), idsNamed(json));
        const tools = await storedTools(json.tools, c.get('identity'), c.get('settings'), () => admitFree(c));
        return { ...json, ...(tools === undefined ? {} : { tools }) };
      },
      write: agentBytes,
      show: (c, found) => c.json(agentContentOf(c, found)),
      answerPut: agentContentOf,
      admit: admitStoring,
    }),
  );
}

function agentContentOf(c: Context<AppEnv>, { name, hash, owner, value }: Found<Agent>): AgentContent {
  const { tools, ...definition } = value.definition;
  // An address may be a secret of whoever has stored it, and its headers too.
  const isShown = hasScope(c.get('identity'), 'tools');
  const told = isShown ? tools : tools.map(({ run: _, ...tool }) => tool);
  return { type: 'agent', name, version: `${name}@${hash}`, owner: ownerName(owner), ...definition, tools: told };
}
