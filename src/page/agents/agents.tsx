import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { agents } from '../edge/agents.ts';
import { useAction } from '../edge/async-action.ts';
import { modelsFault } from '../edge/client.ts';
import { model } from '../edge/models.ts';
import { RetryFault } from '../edge/retry-fault.tsx';
import { UndoNote } from '../edge/undo-note.tsx';
import { Empty } from '../ui/empty.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatStamp } from '../ui/format.ts';
import { agentName, editsAgent, go, NEW_AGENT } from '../ui/route.ts';
import { Table, UsdCell } from '../ui/table.tsx';
import { type AgentDraft, agentDrafts, draftExample, draftOf, emptyDraft } from './agent-draft.ts';
import { AgentForm } from './agent-form.tsx';
import { AgentView } from './agent-view.tsx';
import { exampleTools } from './example-tools.ts';
import { agentsFault, isWaiting, keepAgents, lastRun, readVersion, removedAgents, seesAll, spentBy } from './list.ts';

const EXAMPLE_AGENT = 'porter';

/** Lists the stored agents, or shows the one that the URL names. */
export function Agents() {
  useEffect(keepAgents, []);
  return (
    <div class="page">
      {agentsFault.value && <RetryFault text={agentsFault.value} />}
      {removedAgents.fault.value && <Fault text={removedAgents.fault.value} />}
      <NamedAgent />
    </div>
  );
}

function NamedAgent() {
  const name = agentName.value;
  if (name === undefined) return <AgentList />;
  if (name === NEW_AGENT) return <NewAgent />;
  return editsAgent.value ? <EditAgent key={name} name={name} /> : <AgentView key={name} name={name} />;
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
        <Empty example="Fill in an example" onTry={fillExample}>
          No agents yet. An agent answers in its own way, may use only its own tools, and never exceeds its limits,
          whoever asks it.
        </Empty>
      )}
      {rows !== undefined && rows.length > 0 && (
        <Table
          columns={[
            'Agent',
            { spare: 'Description' },
            { number: 'Requests' },
            { number: 'Cost' },
            seesAll() ? 'Last run' : 'Your last run',
            { spare: 'Stored' },
          ]}
          label="Agents"
        >
          {rows.map(({ name, description, owner, updated_at }) => {
            const { requests, usd: cost } = spentBy(name);
            const isRemoved = removedAgents.waiting.value.has(name);
            return (
              <tr key={`${owner} ${name}`} data-look={isRemoved ? 'removed' : undefined}>
                <th scope="row" class="text">
                  {isRemoved ? (
                    <>
                      {name} <UndoNote removals={removedAgents} of={name} title={name} />
                    </>
                  ) : (
                    <a href={`#/agents/${encodeURIComponent(name)}`}>{name}</a>
                  )}
                  {isWaiting(name) && <span class="tag waits">waiting for approval</span>}
                  {agentDrafts.value[name] && <span class="tag waits">changed, not stored</span>}
                </th>
                <td class="text spare">{description ?? ''}</td>
                <td class="number">{formatCount(requests)}</td>
                <UsdCell value={cost} />
                <td>{lastRun(name)}</td>
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
  if (model.value && !agentDrafts.value[NEW_AGENT]) {
    draftExample(EXAMPLE_AGENT, model.value.id, exampleTools(EXAMPLE_AGENT));
  }
  go('agents', NEW_AGENT);
}

function NewAgent() {
  return (
    <>
      <FormHead title="New agent" back="#/agents" backName="All agents" of={NEW_AGENT} />
      {!model.value && modelsFault.value && <Fault text={modelsFault.value} />}
      {model.value && <AgentForm of={NEW_AGENT} stored={emptyDraft(model.value.id)} />}
    </>
  );
}

function EditAgent({ name }: { name: string }) {
  const { fault, run } = useAction();
  const stored = useSignal<AgentDraft | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      stored.value = draftOf(await readVersion(name));
    });
  }, [name, run, stored]);
  return (
    <>
      <FormHead title={`Edit ${name}`} back={`#/agents/${encodeURIComponent(name)}`} backName={name} of={name} />
      {fault.value && <Fault text={fault.value} />}
      {stored.value && <AgentForm of={name} stored={stored.value} />}
    </>
  );
}

interface FormHeadProps {
  title: string;
  back: string;
  backName: string;
  of: string;
}

function FormHead({ title, back, backName, of }: FormHeadProps) {
  return (
    <header class="apart page-head">
      <h1>
        {title} {agentDrafts.value[of] && <span class="tag waits">not stored yet</span>}
      </h1>
      <a href={back}>{backName}</a>
    </header>
  );
}
