import { useEffect } from 'preact/hooks';
import { agents } from '../edge/agents.ts';
import { RetryFault } from '../edge/retry-fault.tsx';
import { formatCount, formatStamp } from '../ui/format.ts';
import { agentName } from '../ui/route.ts';
import { Table } from '../ui/table.tsx';
import { Usd } from '../ui/usd.tsx';
import { AgentView } from './agent-view.tsx';
import { agentRequests, agentsFault, isWaiting, keepAgents, nameIn, spentBy } from './list.ts';

/** Lists the stored agents, or shows the one that the URL names. */
export function Agents() {
  useEffect(keepAgents, []);
  const name = agentName.value;
  return (
    <div class="page">
      {agentsFault.value && <RetryFault text={agentsFault.value} />}
      {name === undefined ? <AgentList /> : <AgentView key={name} name={name} />}
    </div>
  );
}

function AgentList() {
  const rows = agents.value;
  return (
    <>
      <header class="stack">
        <h1>Agents</h1>
        <p class="lead-more">
          A model with its instructions, tools and limits, stored by version. A request picks one by its member{' '}
          <code>agent</code>.
        </p>
      </header>
      {rows?.length === 0 && (
        <p class="quiet">
          No agents yet. Store one with <code>PUT /agents/:name</code>: <a href="/docs">the reference</a> has an
          example.
        </p>
      )}
      {rows !== undefined && rows.length > 0 && (
        <Table
          columns={[
            'Agent',
            { spare: 'Description' },
            { number: 'Requests' },
            { number: 'Cost' },
            'Last run',
            { spare: 'Stored' },
          ]}
          label="Agents"
        >
          {rows.map(({ name, description, owner, updated_at }) => {
            const { requests, usd: cost } = spentBy(name);
            const last = agentRequests.value.find(({ agent }) => agent !== null && nameIn(agent) === name);
            return (
              <tr key={`${owner} ${name}`}>
                <th scope="row" class="text">
                  <a href={`#/agents/${encodeURIComponent(name)}`}>{name}</a>
                  {isWaiting(name) && <span class="tag waits">waiting for approval</span>}
                </th>
                <td class="text spare">{description ?? ''}</td>
                <td class="number">{formatCount(requests)}</td>
                <td class="number">
                  <Usd value={cost} />
                </td>
                <td>{last ? formatStamp(last.created_at) : ''}</td>
                <td class="spare">{formatStamp(updated_at)}</td>
              </tr>
            );
          })}
        </Table>
      )}
    </>
  );
}
