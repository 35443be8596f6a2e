import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { agents } from '../edge/agents.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { modelsFault } from '../edge/client.ts';
import { hasUnrestrictedScope } from '../edge/identity.ts';
import { currentModel } from '../edge/models.ts';
import { StaleDataFault } from '../edge/retry-fault.tsx';
import { UndoNote } from '../edge/undo-note.tsx';
import { EmptyState } from '../ui/empty-state.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { formatCount, formatRowTime } from '../ui/format.ts';
import { NotFound } from '../ui/not-found.tsx';
import { agentName, isEditingAgent, NEW_AGENT, navigateToSection } from '../ui/route.ts';
import { CostCell, Table } from '../ui/table.tsx';
import {
  type AgentDraft,
  agentDrafts,
  createEmptyAgentDraft,
  saveExampleAgentDraft,
  toAgentDraft,
} from './agent-draft.ts';
import { AgentForm } from './agent-form.tsx';
import { AgentView, MissingAgent } from './agent-view.tsx';
import { createExampleToolsJson } from './example-tools.ts';
import {
  agentRemovals,
  agentsFault,
  canSeeSpendingOfAllAccounts,
  formatLastAgentUse,
  isAgentWaitingForApproval,
  pollAgents,
  readAgentVersion,
  readUnlessMissing,
  sumAgentSpend,
} from './stored-agents.ts';

const EXAMPLE_AGENT = 'porter';
const NO_AGENTS = 'No agents yet. An agent’s instructions and limits apply to every caller.';

/** Lists the stored agents, or shows the one that the URL names. */
export function Agents() {
  useEffect(pollAgents, []);
  return (
    <div class="page">
      {agentsFault.value && <StaleDataFault text={agentsFault.value} />}
      {agentRemovals.fault.value && <FaultMessage text={agentRemovals.fault.value} />}
      <AgentFromUrl />
    </div>
  );
}

function AgentFromUrl() {
  const name = agentName.value;
  if (name === undefined) return <AgentList />;
  // PUT /agents/:name
  const canStore = hasUnrestrictedScope('prefixes');
  if ((name === NEW_AGENT || isEditingAgent.value) && !canStore)
    return (
      <NotFound
        title="Your token cannot store agents"
        text="Storing agents needs the scope prefixes. Ask the operator for a token with this scope."
        back={{ href: '#/agents', name: 'All agents' }}
      />
    );
  if (name === NEW_AGENT) return <NewAgent />;
  return isEditingAgent.value ? <EditAgent key={name} name={name} /> : <AgentView key={name} name={name} />;
}

function AgentList() {
  const rows = agents.value;
  // PUT /agents/:name
  const canStore = hasUnrestrictedScope('prefixes');
  return (
    <>
      <header class="stack">
        <div class="apart page-head">
          <h1>Agents</h1>
          {canStore && (
            <a class="button small" href={`#/agents/${NEW_AGENT}`}>
              {agentDrafts.value[NEW_AGENT] ? 'Continue the new agent' : 'New agent'}
            </a>
          )}
        </div>
        <p class="lead-more">
          An agent is a model with its own instructions, tools and limits. Requests select an agent with the field{' '}
          <code>agent</code>.
        </p>
      </header>
      {rows?.length === 0 &&
        (canStore ? (
          <EmptyState example="Add an example" onTry={fillNewAgentWithExample}>
            {NO_AGENTS}
          </EmptyState>
        ) : (
          <p class="quiet">{NO_AGENTS}</p>
        ))}
      {rows !== undefined && rows.length > 0 && (
        <Table
          columns={[
            'Agent',
            { spare: 'Description' },
            { number: 'Requests', spare: true },
            { number: 'Cost' },
            canSeeSpendingOfAllAccounts() ? 'Last run' : 'Your last run',
            { spare: 'Stored' },
          ]}
          label="Agents"
        >
          {rows.map(({ name, description, owner, updated_at }) => {
            const { requests, usd: cost } = sumAgentSpend(name);
            const isRemoved = agentRemovals.pendingRemovals.value.has(name);
            return (
              <tr key={`${owner} ${name}`} data-look={isRemoved ? 'removed' : undefined}>
                <th scope="row" class="text">
                  {isRemoved ? (
                    <>
                      {name} <UndoNote removals={agentRemovals} of={name} title={name} />
                    </>
                  ) : (
                    <a href={`#/agents/${encodeURIComponent(name)}`}>{name}</a>
                  )}
                  {isAgentWaitingForApproval(name) && <span class="tag waits">waiting for approval</span>}
                  {agentDrafts.value[name] && <span class="tag waits">unsaved changes</span>}
                </th>
                <td class="text spare">{description ?? ''}</td>
                <td class="number spare">{formatCount(requests)}</td>
                <CostCell value={cost} />
                <td>{formatLastAgentUse(name)}</td>
                <td class="spare">{formatRowTime(updated_at)}</td>
              </tr>
            );
          })}
        </Table>
      )}
    </>
  );
}

/** Fills the form of a new agent with an example. Existing text is kept. */
function fillNewAgentWithExample(): void {
  if (currentModel.value && !agentDrafts.value[NEW_AGENT]) {
    saveExampleAgentDraft(EXAMPLE_AGENT, currentModel.value.id, createExampleToolsJson(EXAMPLE_AGENT));
  }
  navigateToSection('agents', NEW_AGENT);
}

function NewAgent() {
  return (
    <>
      <AgentFormHeader title="New agent" draftName={NEW_AGENT} />
      {!currentModel.value && modelsFault.value && <FaultMessage text={modelsFault.value} />}
      {currentModel.value && <AgentForm agentName={NEW_AGENT} stored={createEmptyAgentDraft(currentModel.value.id)} />}
    </>
  );
}

function EditAgent({ name }: { name: string }) {
  const { fault, run } = useAsyncAction();
  const stored = useSignal<AgentDraft | 'missing' | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      const content = await readUnlessMissing(readAgentVersion(name));
      stored.value = content === 'missing' ? content : toAgentDraft(content);
    });
  }, [name, run, stored]);
  if (stored.value === 'missing') return <MissingAgent />;
  return (
    <>
      <AgentFormHeader title={`Edit ${name}`} edited={name} draftName={name} />
      {fault.value && <FaultMessage text={fault.value} />}
      {stored.value && <AgentForm agentName={name} stored={stored.value} />}
    </>
  );
}

interface AgentFormHeaderProps {
  title: string;
  /** The stored agent that is edited. */
  edited?: string;
  draftName: string;
}

function AgentFormHeader({ title, edited, draftName: of }: AgentFormHeaderProps) {
  return (
    <header class="apart page-head">
      <h1>
        {title} {agentDrafts.value[of] && <span class="tag waits">not saved yet</span>}
      </h1>
      <span class="inline">
        {edited !== undefined && <a href={`#/agents/${encodeURIComponent(edited)}`}>{edited}</a>}
        <a href="#/agents">All agents</a>
      </span>
    </header>
  );
}
