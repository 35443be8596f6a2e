/** Loads the stored agents, with what they cost and what they did last. */

import { signal } from '@preact/signals';
import type { LedgerRow, Page, UsageReport } from '../../client/index.ts';
import { inPath } from '../../client/transport.ts';
import type { AgentContent, Below, ServedPath, VersionRow } from '../../edge/answers.ts';
import { ofAccount } from '../edge/account.ts';
import { nameIn, refreshAgents } from '../edge/agents.ts';
import { edge, readJson } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { poll } from '../edge/poll.ts';
import { Removals } from '../edge/removals.ts';
import { formatDay, formatStamp } from '../ui/format.ts';
import { go } from '../ui/route.ts';

/** What was spent by an agent, or by one version of it. */
export interface AgentSpend {
  requests: number;
  usd: number;
  /** The last day in UTC on which anybody has asked it, `YYYY-MM-DD`; absent for who does not see everybody's requests. */
  lastDay?: string | undefined;
}

/** What each version has spent, by `name@version`. */
export const spent = signal<ReadonlyMap<string, AgentSpend>>(new Map());
/** The last requests that ran with an agent, newest first. */
export const agentRequests = signal<LedgerRow[]>([]);
/** The conversations that wait for approval. */
const waiting = signal<ReadonlySet<string>>(new Set());
export const agentsFault = signal<string | undefined>(undefined);

const AGENTS_EVERY_MS = 5_000;
const MOST_VERSIONS = 1_000;
/** Of the last requests, those of agents are shown. */
const REQUESTS_READ = 200;

/** Keeps all of it up to date while the page is visible. */
export function keepAgents(): () => void {
  return poll(
    async (isCurrent) => {
      const [usage, page, conversations] = await Promise.all([
        readJson<UsageReport>('/usage', {
          query: { group_by: 'agent', ...(seesAll() ? {} : ofAccount(identity.value.account)) },
        }),
        edge().requests({ limit: REQUESTS_READ }),
        edge().conversations.list({ limit: REQUESTS_READ }),
        refreshAgents(),
      ]);
      if (!isCurrent()) return;
      spent.value = new Map(
        usage.data.flatMap(({ key, requests, cost_usd: usd, last_day: lastDay }) =>
          key === null ? [] : [[key, { requests, usd, lastDay }]],
        ),
      );
      waiting.value = new Set(conversations.data.filter(({ paused }) => paused !== null).map(({ id }) => id));
      agentRequests.value = page.data.filter(({ agent }) => agent !== null);
    },
    AGENTS_EVERY_MS,
    agentsFault,
  );
}

/** @returns whether the spending of all accounts is read: only their shared budget sums it */
export function seesAll(): boolean {
  return identity.value.admin && hasPlugin('pools');
}

/** @returns what all versions of an agent have spent */
export function spentBy(name: string): AgentSpend {
  const versions = [...spent.value].filter(([version]) => nameIn(version) === name);
  const days = versions.flatMap(([, { lastDay }]) => lastDay ?? []).sort();
  return {
    requests: versions.reduce((sum, [, { requests }]) => sum + requests, 0),
    usd: versions.reduce((sum, [, { usd }]) => sum + usd, 0),
    lastDay: days.at(-1),
  };
}

/** @returns when an agent was last asked by anybody, as it is said: one's own time, or the day of another's; empty for never */
export function lastRun(name: string): string {
  const own = agentRequests.value.find(({ agent }) => agent !== null && nameIn(agent) === name)?.created_at;
  const { lastDay } = spentBy(name);
  if (lastDay === undefined || (own !== undefined && own >= lastDay)) return own === undefined ? '' : formatStamp(own);
  return lastDay === new Date().toISOString().slice(0, 10) ? 'today' : formatDay(lastDay);
}

/** Reads an agent as it is stored now, and its versions, newest first. */
export async function readAgent(name: string): Promise<{ content: AgentContent; versions: VersionRow[] }> {
  const [content, versions] = await Promise.all([
    readVersion(name),
    readJson<Page<VersionRow>>(agentPath(name, '/versions'), { query: { limit: MOST_VERSIONS } }),
  ]);
  return { content, versions: versions.data };
}

/** Reads one version. @param version `name@version`, or a name, for the current one */
export async function readVersion(version: string): Promise<AgentContent> {
  return await readJson<AgentContent>(agentPath(version));
}

/** Stores a version, which is the current one from now on; the others are kept. @throws SluiceError in the words of the edge */
export async function storeAgent(name: string, fields: object): Promise<AgentContent> {
  const stored = await readJson<AgentContent>(agentPath(name), { method: 'PUT', body: fields });
  await refreshAgents();
  return stored;
}

export const removedAgents = new Removals();

/** Deletes an agent that is open. Until that can no longer be undone it stays in the list. */
export function removeAgent(name: string): void {
  removedAgents.remove(name, {
    leave: () => go('agents'),
    finish: async () => {
      await edge().fetch(agentPath(name), { method: 'DELETE', keepalive: true });
      await refreshAgents();
    },
  });
}

function agentPath(name: string, rest: Below<'/agents/:name'> = ''): ServedPath {
  return `/agents/${inPath(name)}${rest}`;
}

/** @returns whether a request's conversation waits for approval since that request: it is the last one there */
export function waitsSince({ request_id, conversation }: LedgerRow): boolean {
  if (conversation === null || !waiting.value.has(conversation)) return false;
  return agentRequests.value.find((row) => row.conversation === conversation)?.request_id === request_id;
}

/** @returns whether a conversation with this agent waits for approval */
export function isWaiting(name: string): boolean {
  return agentRequests.value.some(
    ({ agent, conversation }) =>
      agent !== null && nameIn(agent) === name && conversation !== null && waiting.value.has(conversation),
  );
}
