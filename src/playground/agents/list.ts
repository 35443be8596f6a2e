/** Loads the stored agents, with what they cost and what they did last. */
import { signal } from '@preact/signals';
import type { AgentContent } from '../../agents/agents-answers.schema.ts';
import type { LedgerRow, NamedRow, Page, UsageReport } from '../../client/index.ts';
import type { VersionRow } from '../../versions/versions-answers.schema.ts';
import { edge, readJson } from '../edge/client.ts';
import { poll } from '../edge/poll.ts';

/** What was spent by an agent, or by one version of it. */
export interface AgentSpend {
  requests: number;
  usd: number;
}

/** The agents; undefined until they are known. */
export const agents = signal<NamedRow[] | undefined>(undefined);
/** What each version has spent, by `name@version`. */
export const spent = signal<ReadonlyMap<string, AgentSpend>>(new Map());
/** The last requests that ran with an agent, newest first. */
export const agentRequests = signal<LedgerRow[]>([]);
export const agentsFault = signal<string | undefined>(undefined);

const AGENTS_EVERY_MS = 5_000;
const MOST_AGENTS = 1_000;
/** Of the last requests, those of agents are shown. */
const REQUESTS_READ = 200;

/** Keeps all of it up to date while the page is visible. */
export function keepAgents(): () => void {
  return poll(
    async (isCurrent) => {
      const [list, usage, page] = await Promise.all([
        readJson<Page<NamedRow>>('/agents', { query: { limit: MOST_AGENTS } }),
        readJson<UsageReport>('/usage', { query: { group_by: 'agent' } }),
        edge().requests({ limit: REQUESTS_READ }),
      ]);
      if (!isCurrent()) return;
      agents.value = list.data;
      spent.value = new Map(
        usage.data.flatMap(({ key, requests, cost_usd }) => (key === null ? [] : [[key, { requests, usd: cost_usd }]])),
      );
      agentRequests.value = page.data.filter(({ agent }) => agent !== null);
    },
    AGENTS_EVERY_MS,
    agentsFault,
  );
}

/** @returns what all versions of an agent have spent */
export function spentBy(name: string): AgentSpend {
  const versions = [...spent.value].filter(([version]) => nameIn(version) === name);
  return versions.reduce((sum, [, { requests, usd }]) => ({ requests: sum.requests + requests, usd: sum.usd + usd }), {
    requests: 0,
    usd: 0,
  });
}

/** @returns the name of a version `name@version` */
export function nameIn(version: string): string {
  return version.slice(0, version.lastIndexOf('@'));
}

/** Reads an agent as it is stored now, and its versions, newest first. */
export async function readAgent(name: string): Promise<{ content: AgentContent; versions: VersionRow[] }> {
  const path = `/agents/${encodeURIComponent(name)}`;
  const [content, versions] = await Promise.all([
    readJson<AgentContent>(path),
    readJson<Page<VersionRow>>(`${path}/versions`, { query: { limit: MOST_AGENTS } }),
  ]);
  return { content, versions: versions.data };
}
