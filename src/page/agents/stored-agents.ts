/** Loads the stored agents, with what they cost and what they did last. */

import { type LedgerRow, type Page, SluiceError, type UsageReport } from '../../client/index.ts';
import { encodePathSegment } from '../../client/transport.ts';
import type { AgentContent, PathRemainderBelow, ServedRoutePath, VersionRow } from '../../edge/answers.ts';
import { createAccountQuery } from '../edge/account.ts';
import { parseVersionName, refreshAgentList } from '../edge/agents.ts';
import { getClient, readJson, sendRequest } from '../edge/client.ts';
import { createTokenSignal } from '../edge/credential.ts';
import { identity } from '../edge/identity.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { pollWhileVisible } from '../edge/poll.ts';
import { UndoableRemovals } from '../edge/removals.ts';
import { formatDay, formatRowTime } from '../ui/format.ts';
import { navigateToSection } from '../ui/route.ts';

/** The spending of an agent, or of one version of it. */
export interface AgentSpend {
  requests: number;
  usd: number;
  /** The last day in UTC on which anybody has asked it, `YYYY-MM-DD`; absent for who does not see everybody's requests. */
  lastDay?: string | undefined;
}

/** The spending of each version, by `name@version`. */
export const spendByVersion = createTokenSignal<ReadonlyMap<string, AgentSpend>>(new Map());
/** The last requests that ran with an agent, newest first. */
export const agentRequests = createTokenSignal<LedgerRow[]>([]);
/** The conversations that wait for approval. */
const waitingConversations = createTokenSignal<ReadonlySet<string>>(new Set());
export const agentsFault = createTokenSignal<string | undefined>(undefined);

const AGENTS_POLL_MS = 5_000;
const MAX_VERSIONS = 1_000;
/** How many of the last requests are read to find those of agents. */
const MAX_READ_REQUESTS = 200;

/** Keeps all of it up to date while the page is visible. */
export function pollAgents(): () => void {
  return pollWhileVisible(
    async (isCurrent) => {
      const [usage, page, conversations] = await Promise.all([
        readJson<UsageReport>('/usage', {
          query: {
            group_by: 'agent',
            ...(canSeeSpendingOfAllAccounts() ? {} : createAccountQuery(identity.value.account)),
          },
        }),
        getClient().requests({ limit: MAX_READ_REQUESTS }),
        getClient().conversations.list({ limit: MAX_READ_REQUESTS }),
        refreshAgentList(),
      ]);
      if (!isCurrent()) return;
      spendByVersion.value = new Map(
        usage.data.flatMap(({ key, requests, cost_usd: usd, last_day: lastDay }) =>
          key === null ? [] : [[key, { requests, usd, lastDay }]],
        ),
      );
      waitingConversations.value = new Set(
        conversations.data.filter(({ paused }) => paused !== null).map(({ id }) => id),
      );
      agentRequests.value = page.data.filter(({ agent }) => agent !== null);
    },
    AGENTS_POLL_MS,
    agentsFault,
  );
}

/** @returns whether the spending of all accounts is read: only their shared budget sums it */
export function canSeeSpendingOfAllAccounts(): boolean {
  return identity.value.admin && hasPlugin('pools');
}

/** @returns what all versions of an agent have spent */
export function sumAgentSpend(name: string): AgentSpend {
  const versions = [...spendByVersion.value].filter(([version]) => parseVersionName(version) === name);
  const days = versions.flatMap(([, { lastDay }]) => lastDay ?? []).sort();
  return {
    requests: versions.reduce((sum, [, { requests }]) => sum + requests, 0),
    usd: versions.reduce((sum, [, { usd }]) => sum + usd, 0),
    lastDay: days.at(-1),
  };
}

/** @returns when an agent was last asked by anybody, as it is said: one's own time, or the day of another's; empty for never */
export function formatLastAgentUse(name: string): string {
  const own = agentRequests.value.find(({ agent }) => agent !== null && parseVersionName(agent) === name)?.created_at;
  const { lastDay } = sumAgentSpend(name);
  if (lastDay === undefined || (own !== undefined && own >= lastDay))
    return own === undefined ? '' : formatRowTime(own);
  return lastDay === new Date().toISOString().slice(0, 10) ? 'today' : formatDay(lastDay);
}

/** @returns what was read, or `missing` if there is no such agent */
export async function readUnlessMissing<Content>(reading: Promise<Content>): Promise<Content | 'missing'> {
  try {
    return await reading;
  } catch (thrown) {
    if (thrown instanceof SluiceError && thrown.type === 'not_found_error') return 'missing';
    throw thrown;
  }
}

/** Reads an agent as it is stored now, and its versions, newest first. */
export async function readAgentWithVersions(name: string): Promise<{ content: AgentContent; versions: VersionRow[] }> {
  const [content, versions] = await Promise.all([
    readAgentVersion(name),
    readJson<Page<VersionRow>>(createAgentPath(name, '/versions'), { query: { limit: MAX_VERSIONS } }),
  ]);
  return { content, versions: versions.data };
}

/** Reads one version. @param version `name@version`, or a name, for the current one */
export async function readAgentVersion(version: string): Promise<AgentContent> {
  return await readJson<AgentContent>(createAgentPath(version));
}

/** Stores a version, which is the current one from now on; the others are kept. @throws SluiceError in the words of the edge */
export async function storeAgent(name: string, fields: object): Promise<AgentContent> {
  const stored = await readJson<AgentContent>(createAgentPath(name), { method: 'PUT', body: fields });
  await refreshAgentList();
  return stored;
}

export const agentRemovals = new UndoableRemovals();

/** Deletes an agent that is open. Until that can no longer be undone it stays in the list. */
export function removeAgentWithUndo(name: string): void {
  agentRemovals.startRemoval(name, {
    leave: () => navigateToSection('agents'),
    deletePermanently: async () => {
      await sendRequest(createAgentPath(name), { method: 'DELETE', keepalive: true });
      await refreshAgentList();
    },
  });
}

function createAgentPath(name: string, rest: PathRemainderBelow<'/agents/:name'> = ''): ServedRoutePath {
  return `/agents/${encodePathSegment(name)}${rest}`;
}

/** @returns whether a request's conversation waits for approval since that request: it is the last one there */
export function isRequestWaitingForApproval({ request_id, conversation }: LedgerRow): boolean {
  if (conversation === null || !waitingConversations.value.has(conversation)) return false;
  return agentRequests.value.find((row) => row.conversation === conversation)?.request_id === request_id;
}

/** @returns whether a conversation with this agent waits for approval */
export function isAgentWaitingForApproval(name: string): boolean {
  return agentRequests.value.some(
    ({ agent, conversation }) =>
      agent !== null &&
      parseVersionName(agent) === name &&
      conversation !== null &&
      waitingConversations.value.has(conversation),
  );
}
