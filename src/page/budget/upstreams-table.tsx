import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { HealthAnswer } from '../../edge/answers.ts';
import { readJson } from '../edge/client.ts';
import { pollInto } from '../edge/poll.ts';
import { PartFault } from '../edge/retry-fault.tsx';
import { formatMoment } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';
import { SpendKey } from './spend-key.tsx';

type UpstreamStates = NonNullable<HealthAnswer['upstreams']>;

const STATES_EVERY_MS = 2_000;
const SAID: Record<UpstreamStates[number]['models'][number]['state'], string> = {
  closed: 'healthy',
  open: 'paused',
  half_open: 'being tried again',
};

/** Shows how each upstream is, where there are several. */
export function UpstreamsTable() {
  const states = useSignal<UpstreamStates | undefined>(undefined);
  const fault = useSignal<string | undefined>(undefined);
  useEffect(() => {
    const read = async () => (await readJson<HealthAnswer>('/health', { query: { upstreams: '' } })).upstreams ?? [];
    // Where there is one upstream only, it asks no more.
    const readSeveral = async () => (states.peek()?.length === 0 ? [] : await read());
    return pollInto(states, readSeveral, STATES_EVERY_MS, fault);
  }, [states, fault]);
  if (!states.value?.length) return null;
  return (
    <section class="stack" aria-labelledby="upstreams">
      <h3 id="upstreams">Upstreams</h3>
      <PartFault name="How each upstream is" of={fault} />
      <Table label="States of upstreams" columns={['Upstream', 'Kind', 'Running', 'Model', 'State', 'Failed in 30 s']}>
        {states.value.flatMap(({ name, kind, running, max_concurrent, models }) =>
          (models.length > 0 ? models : [undefined]).map((one) => (
            <tr key={`${name} ${one?.model}`}>
              <th scope="row">{name}</th>
              <td>{kind}</td>
              <td>{max_concurrent === null ? running : `${running} of ${max_concurrent}`}</td>
              <td>{one ? <SpendKey name={one.model || '(none)'} /> : '–'}</td>
              <td>{one ? stateOf(one) : 'not called yet'}</td>
              <td>{one ? `${one.failed} of ${one.tries}` : '–'}</td>
            </tr>
          )),
        )}
      </Table>
    </section>
  );
}

function stateOf({ state, due_at }: UpstreamStates[number]['models'][number]): string {
  return state === 'open' && due_at !== null ? `${SAID.open} until ${formatMoment(due_at)}` : SAID[state];
}
