import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { LedgerRow } from '../../client/index.ts';
import { agent as chatAgent } from '../chat/session/options.ts';
import { nameIn, shortVersion } from '../edge/agents.ts';
import { useAction } from '../edge/async-action.ts';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatBytes, formatCount, formatStamp } from '../ui/format.ts';
import { go } from '../ui/route.ts';
import { Table } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { agentDrafts } from './agent-draft.ts';
import { AgentFacts } from './agent-facts.tsx';
import { agentRequests, readAgent, removeAgent, spent, waitsSince } from './list.ts';

const MOST_RUNS = 20;

/** Shows an agent: what it is made of, its versions with what each has cost, and its last runs. */
export function AgentView({ name }: { name: string }) {
  const { fault, run } = useAction();
  const read = useSignal<Awaited<ReturnType<typeof readAgent>> | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      read.value = await readAgent(name);
    });
  }, [name, run, read]);
  return (
    <>
      <header class="apart page-head">
        <h1>{name}</h1>
        <a href="#/agents">All agents</a>
      </header>
      <Actions name={name} />
      {fault.value && <Fault text={fault.value} />}
      {read.value && <AgentFacts content={read.value.content} />}
      {read.value && <Versions versions={read.value.versions} />}
      {read.value && <LastRuns name={name} />}
    </>
  );
}

function Actions({ name }: { name: string }) {
  const tryIt = () => {
    chatAgent.value = name;
    go('chat');
  };
  return (
    <p class="row">
      <SmallButton kind="first" name="Try" onClick={tryIt} />
      <SmallButton
        name={agentDrafts.value[name] ? 'Go on editing' : 'Edit'}
        onClick={() => go('agents', [name, 'edit'])}
      />
      <SmallButton name="Delete" onClick={() => removeAgent(name)} />
    </p>
  );
}

function Versions({ versions }: Pick<Awaited<ReturnType<typeof readAgent>>, 'versions'>) {
  const rows = versions.map((row) => ({ ...row, spent: spent.value.get(row.version) ?? { requests: 0, usd: 0 } }));
  return (
    <section class="stack">
      <h2>Versions</h2>
      <p class="quiet">Requests and cost of all time; they come up to a minute late.</p>
      <Table
        columns={['Version', 'Stored', { number: 'Size', spare: true }, { number: 'Requests' }, { number: 'Cost' }]}
        label="Versions"
      >
        {rows.map(({ version, current, created_at, bytes, spent: { requests, usd: cost } }) => (
          <tr key={version}>
            <th scope="row" title={version}>
              <code>{shortVersion(version)}</code> {current && <span class="tag">current</span>}
            </th>
            <td>{formatStamp(created_at)}</td>
            <td class="number spare">{formatBytes(bytes)}</td>
            <td class="number">{formatCount(requests)}</td>
            <td class="number">
              <Usd value={cost} />
            </td>
          </tr>
        ))}
      </Table>
    </section>
  );
}

function LastRuns({ name }: { name: string }) {
  const rows = agentRequests.value.filter(({ agent }) => agent !== null && nameIn(agent) === name).slice(0, MOST_RUNS);
  return (
    <section class="stack">
      <h2>Last requests</h2>
      {rows.length === 0 ? (
        <p class="quiet">No recent requests.</p>
      ) : (
        <Table columns={['Time', 'Conversation', { number: 'Cost' }, 'Outcome']} label="Last requests">
          {rows.map((row) => {
            const { request_id, created_at, conversation, status, cost_usd } = row;
            return (
              <tr key={request_id} data-running={status === 'held'}>
                <td title={request_id}>{formatStamp(created_at)}</td>
                <td class="text">
                  {conversation && <a href={`#/chat/${encodeURIComponent(conversation)}`}>{conversation}</a>}
                </td>
                <td class="number">{status !== 'held' && <Usd value={cost_usd} />}</td>
                <td class="text">{endOf(row)}</td>
              </tr>
            );
          })}
        </Table>
      )}
    </section>
  );
}

function endOf(row: LedgerRow): string {
  if (row.status === 'held') return 'running';
  return waitsSince(row) ? 'waiting for approval' : (row.error_type ?? row.stop_reason ?? row.status);
}
