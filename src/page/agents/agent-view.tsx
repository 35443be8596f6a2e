import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { LedgerRow } from '../../client/index.ts';
import type { AgentContent } from '../../edge/answers.ts';
import { chosenAgent as chatAgent } from '../chat/session/options.ts';
import { agents, parseVersionName, shortenVersionHash } from '../edge/agents.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { hasUnrestrictedScope, identity } from '../edge/identity.ts';
import { getModelDisplayName } from '../edge/models.ts';
import { hasPlugin } from '../edge/plugins.ts';
import { describeEnding } from '../edge/stop-reasons.ts';
import { SmallButton } from '../ui/button.tsx';
import { Cost } from '../ui/cost.tsx';
import { Facts } from '../ui/facts.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { formatBytes, formatCount, formatExactTime, formatRowTime } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { NotFound } from '../ui/not-found.tsx';
import { navigateToSection } from '../ui/route.ts';
import { CostCell, Table } from '../ui/table.tsx';
import { agentDrafts } from './agent-draft.ts';
import { getRunLimitTitle, toPlainSystem } from './agent-fields.ts';
import {
  agentRequests,
  isRequestWaitingForApproval,
  readAgentWithVersions,
  readUnlessMissing,
  removeAgentWithUndo,
  spendByVersion,
} from './stored-agents.ts';

const MAX_LISTED_RUNS = 20;

/** The strategies for a history that exceeds its limit. */
const HISTORY_STRATEGIES = {
  error: 'refused',
  truncate: 'oldest turns omitted',
  summarize: 'summarized',
} as const;

/** Shows an agent: what it is made of, its versions with what each has cost, and its last runs. */
export function AgentView({ name }: { name: string }) {
  const { fault, run } = useAsyncAction();
  const read = useSignal<Awaited<ReturnType<typeof readAgentWithVersions>> | 'missing' | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      read.value = await readUnlessMissing(readAgentWithVersions(name));
    });
  }, [name, run, read]);
  if (read.value === 'missing') return <MissingAgent />;
  return (
    <>
      <header class="apart page-head">
        <h1>{name}</h1>
        <a href="#/agents">All agents</a>
      </header>
      {/* An agent that cannot be read cannot be edited. */}
      {fault.value === undefined && <AgentActions name={name} />}
      {fault.value && <FaultMessage text={fault.value} />}
      {read.value && <AgentFacts content={read.value.content} />}
      {read.value && <AgentVersionsTable versions={read.value.versions} />}
      {read.value && <LastAgentRequests name={name} />}
    </>
  );
}

/** Says that there is no agent of this name. */
export function MissingAgent() {
  return (
    <NotFound
      title="This agent does not exist"
      text="The agent was deleted, or belongs to another account."
      back={{ href: '#/agents', name: 'All agents' }}
    />
  );
}

/** Shows what can be done with an agent. What an admin stores belongs to the deployment, and what others store to their account. */
function AgentActions({ name }: { name: string }) {
  // PUT and DELETE /agents/:name
  const canStore = hasUnrestrictedScope('prefixes');
  const owner = identity.value.admin ? 'deployment' : 'account';
  const isOwn = agents.value?.some((row) => row.name === name && row.owner === owner) ?? false;
  const startChatWithAgent = () => {
    chatAgent.value = name;
    navigateToSection('chat');
  };
  return (
    <p class="row">
      <SmallButton kind="first" name="Try" onClick={startChatWithAgent} />
      {canStore && (
        <SmallButton
          name={agentDrafts.value[name] ? 'Continue editing' : 'Edit'}
          onClick={() => navigateToSection('agents', [name, 'edit'])}
        />
      )}
      {canStore && isOwn && <SmallButton name="Delete" onClick={() => removeAgentWithUndo(name)} />}
    </p>
  );
}

function AgentVersionsTable({ versions }: Pick<Awaited<ReturnType<typeof readAgentWithVersions>>, 'versions'>) {
  const rows = versions.map((row) => ({
    ...row,
    spent: spendByVersion.value.get(row.version) ?? { requests: 0, usd: 0 },
  }));
  return (
    <section class="stack">
      <h2>Versions</h2>
      <p class="quiet">Requests and cost of all time, updated within a minute.</p>
      <Table
        columns={['Version', 'Stored', { number: 'Size', spare: true }, { number: 'Requests' }, { number: 'Cost' }]}
        label="Versions"
      >
        {rows.map(({ version, current, created_at, bytes, spent: { requests, usd: cost } }) => (
          <tr key={version}>
            <th scope="row" title={version}>
              <code>{shortenVersionHash(version)}</code> {current && <span class="tag">current</span>}
            </th>
            <td title={formatExactTime(created_at)}>{formatRowTime(created_at)}</td>
            <td class="number spare">{formatBytes(bytes)}</td>
            <td class="number">{formatCount(requests)}</td>
            <CostCell value={cost} />
          </tr>
        ))}
      </Table>
    </section>
  );
}

function LastAgentRequests({ name }: { name: string }) {
  const rows = agentRequests.value
    .filter(({ agent }) => agent !== null && parseVersionName(agent) === name)
    .slice(0, MAX_LISTED_RUNS);
  return (
    <section class="stack">
      <h2>Your last requests</h2>
      {rows.length === 0 ? (
        <p class="quiet">You have not used this agent recently.</p>
      ) : (
        <Table columns={['Time', 'Conversation', { number: 'Cost' }, 'Outcome']} label="Your last requests">
          {rows.map((row) => {
            const { request_id, created_at, conversation, status, cost_usd } = row;
            return (
              <tr key={request_id} data-look={status === 'held' ? 'running' : undefined}>
                <td title={`${formatExactTime(created_at)}, ${request_id}`}>{formatRowTime(created_at)}</td>
                <td class="text">
                  {conversation && (
                    <a href={`#/chat/${encodeURIComponent(conversation)}`}>
                      <Identifier id={conversation} />
                    </a>
                  )}
                </td>
                <td class="number">{status !== 'held' && <Cost value={cost_usd} />}</td>
                <td class="text">
                  <RequestOutcome row={row} />
                </td>
              </tr>
            );
          })}
        </Table>
      )}
    </section>
  );
}

function RequestOutcome({ row }: { row: LedgerRow }) {
  if (row.status === 'held') return <>running</>;
  if (isRequestWaitingForApproval(row)) {
    return (
      <span class="state" data-look="nearly">
        waiting for approval
      </span>
    );
  }
  return <Identifier id={row.error_type ?? describeEnding(row.stop_reason ?? row.status)} />;
}

function AgentFacts({ content }: { content: AgentContent }) {
  const { model, description, tools = [], limits, approvers, mcp_servers = [], container, fallbacks, betas } = content;
  const { history } = content;
  const names = tools.map(describeAgentTool);
  const system = toPlainSystem(content.system) ?? 'Several text blocks. To read them, select Edit.';
  const bounds = Object.entries(limits ?? {}).map(
    ([limit, most]) => `${most} ${getRunLimitTitle(limit).toLowerCase()}`,
  );
  return (
    <Facts
      class="headers details"
      facts={[
        ...(description === undefined ? [] : ([['Description', description]] as const)),
        ['Model', typeof model === 'string' ? getModelDisplayName(model) : describeModelChoice(model)],
        ...createFactIfPresent('System prompt', system === '' ? [] : [system]),
        ['Tools', names.length === 0 ? 'none' : names.join(', ')],
        ...createFactIfPresent('MCP servers', mcp_servers.map(describeAgentMcpServer)),
        ...createFactIfPresent(
          'Skills',
          container?.skills.map(({ skill_id }) => String(skill_id)),
        ),
        ...createFactIfPresent(
          'API fallbacks',
          fallbacks === 'default' ? [fallbacks] : fallbacks?.map((one) => one.model),
        ),
        ...createFactIfPresent('Betas', betas),
        ...createFactIfPresent(
          'Long histories',
          history && [`${HISTORY_STRATEGIES[history.strategy]} above ${formatCount(history.max_tokens)} tokens`],
        ),
        ...(hasPlugin('runs')
          ? ([
              ['Run limits', bounds.length === 0 ? 'none' : bounds.join(', ')],
              ['Approvers', approvers === 'admin' ? 'an admin' : 'the conversation’s owner'],
            ] as const)
          : []),
      ]}
    />
  );
}

interface AgentToolRun {
  agent?: string;
  url?: string;
  approval?: 'always' | { over: { field: string; above: number } };
}

/** @returns a tool by its name, with who answers its calls, and whether a person must approve them */
function describeAgentTool(tool: Record<string, unknown>): string {
  const name = String(tool.name ?? tool.type);
  if (!Object.hasOwn(tool, 'run')) return name;
  const { agent, url, approval }: AgentToolRun = Object(tool.run);
  const runner = agent !== undefined ? `by the agent ${agent}` : url === undefined ? 'by the Worker' : 'at a URL';
  const over = typeof approval === 'object' ? ` where ${approval.over.field} is above ${approval.over.above}` : '';
  return `${name} (run ${runner}${approval === undefined ? '' : `, needs approval${over}`})`;
}

function describeModelChoice({ by, models, otherwise }: Exclude<AgentContent['model'], string>): string {
  const each = Object.entries(models).map(([label, model]) => `${label}: ${getModelDisplayName(model)}`);
  return `chosen by ${by}: ${[...each, `otherwise ${getModelDisplayName(otherwise)}`].join(', ')}`;
}

/** @returns the fact, where there is one */
function createFactIfPresent(name: string, values: readonly string[] = []): (readonly [string, string])[] {
  return values.length === 0 ? [] : [[name, values.join(', ')]];
}

function describeAgentMcpServer({
  name,
  authorization_token: token,
}: {
  name: string;
  authorization_token?: { secret: string } | undefined;
}) {
  return token ? `${name} (secret ${token.secret})` : name;
}
