import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { agents } from '../edge/agents.ts';
import { useAction } from '../edge/async-action.ts';
import { modelsFault } from '../edge/client.ts';
import { currentModel } from '../edge/models.ts';
import { RetryFault } from '../edge/retry-fault.tsx';
import { UndoNote } from '../edge/undo-note.tsx';
import { EmptyState } from '../ui/empty-state.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatStamp } from '../ui/format.ts';
import { agentName, isEditingAgent, NEW_AGENT, navigate } from '../ui/route.ts';
import { Table, UsdCell } from '../ui/table.tsx';
import { type AgentDraft, agentDrafts, createEmptyDraft, createExampleDraft, toAgentDraft } from './agent-draft.ts';
import { AgentForm } from './agent-form.tsx';
import { AgentView } from './agent-view.tsx';
import { createExampleTools } from './example-tools.ts';
import {
  agentRemovals,
  agentsFault,
  canSeeAllSpending,
  formatLastRun,
  isAgentWaiting,
  pollAgents,
  readVersion,
  sumAgentSpend,
} from './stored-agents.ts';

const EXAMPLE_AGENT = 'porter';

/** Lists the stored agents, or shows the one that the URL names. */
export function Agents() {
  useEffect(pollAgents, []);
  return (
    <div class="page">
      {agentsFault.value && <RetryFault text={agentsFault.value} />}
      {agentRemovals.fault.value && <Fault text={agentRemovals.fault.value} />}
      <NamedAgent />
    </div>
  );
}

function NamedAgent() {
  const name = agentName.value;
  if (name === undefined) return <AgentList />;
  if (name === NEW_AGENT) return <NewAgent />;
  return isEditingAgent.value ? <EditAgent key={name} name={name} /> : <AgentView key={name} name={name} />;
}

function AgentList() {
  const rows = agents.value;
  return (
    <>
      <header class="stack">
        <div class="apart page-head">
          <h1>Agents</h1>
          <a class="button small" href={`#/agents/${NEW_AGENT}`}>
            {agentDrafts.value[NEW_AGENT] ? 'Go on with the new agent' : 'New agent'}
          </a>
        </div>
        <p class="lead-more">
          A model with its instructions, tools and limits, stored by version. A request chooses one in its field{' '}
          <code>agent</code>.
        </p>
      </header>
      {rows?.length === 0 && (
        <EmptyState example="Fill in an example" onTry={fillExample}>
          No agents yet. An agent answers in its own way, may use only its own tools, and never exceeds its limits,
          whoever asks it.
        </EmptyState>
      )}
      {rows !== undefined && rows.length > 0 && (
        <Table
          columns={[
            'Agent',
            { spare: 'Description' },
            { number: 'Requests' },
            { number: 'Cost' },
            canSeeAllSpending() ? 'Last run' : 'Your last run',
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
                  {isAgentWaiting(name) && <span class="tag waits">waiting for approval</span>}
                  {agentDrafts.value[name] && <span class="tag waits">changed, not stored</span>}
                </th>
                <td class="text spare">{description ?? ''}</td>
                <td class="number">{formatCount(requests)}</td>
                <UsdCell value={cost} />
                <td>{formatLastRun(name)}</td>
                <td class="spare">{formatStamp(updated_at)}</td>
              </tr>
            );
          })}
        </Table>
      )}
    </>
  );
}

/** Fills the form of a new agent with an example. What stands there already is kept. */
function fillExample(): void {
  if (currentModel.value && !agentDrafts.value[NEW_AGENT]) {
    createExampleDraft(EXAMPLE_AGENT, currentModel.value.id, createExampleTools(EXAMPLE_AGENT));
  }
  navigate('agents', NEW_AGENT);
}

function NewAgent() {
  return (
    <>
      <FormHead title="New agent" backHref="#/agents" backName="All agents" draftName={NEW_AGENT} />
      {!currentModel.value && modelsFault.value && <Fault text={modelsFault.value} />}
      {currentModel.value && <AgentForm agentName={NEW_AGENT} stored={createEmptyDraft(currentModel.value.id)} />}
    </>
  );
}

function EditAgent({ name }: { name: string }) {
  const { fault, run } = useAction();
  const stored = useSignal<AgentDraft | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      stored.value = toAgentDraft(await readVersion(name));
    });
  }, [name, run, stored]);
  return (
    <>
      <FormHead
        title={`Edit ${name}`}
        backHref={`#/agents/${encodeURIComponent(name)}`}
        backName={name}
        draftName={name}
      />
      {fault.value && <Fault text={fault.value} />}
      {stored.value && <AgentForm agentName={name} stored={stored.value} />}
    </>
  );
}

interface FormHeadProps {
  title: string;
  backHref: string;
  backName: string;
  draftName: string;
}

function FormHead({ title, backHref: back, backName, draftName: of }: FormHeadProps) {
  return (
    <header class="apart page-head">
      <h1>
        {title} {agentDrafts.value[of] && <span class="tag waits">not stored yet</span>}
      </h1>
      <a href={back}>{backName}</a>
    </header>
  );
}
