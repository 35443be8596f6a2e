import type { HealthAnswer } from '../../edge/answers.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { formatCount, formatDateAndTime } from '../ui/format.ts';
import { SpendKeyLabel } from './spend-key.tsx';

type UpstreamHealth = NonNullable<HealthAnswer['upstreams']>[number];
type UpstreamModelHealth = UpstreamHealth['models'][number];
interface UpstreamModelRow extends Omit<UpstreamHealth, 'models'> {
  model: UpstreamModelHealth | undefined;
}

const BREAKER_STATES: Record<UpstreamModelHealth['state'], string> = {
  closed: 'healthy',
  open: 'paused',
  half_open: 'being tried again',
};

const UPSTREAM_COLUMNS: readonly ListColumn<UpstreamModelRow>[] = [
  { name: 'Upstream', renderCell: ({ name }) => name },
  { name: 'Kind', spare: true, renderCell: ({ kind }) => kind },
  {
    name: 'Running',
    renderCell: ({ running, max_concurrent: most }) => (most === null ? running : `${running} of ${most}`),
  },
  { name: 'Model', renderCell: ({ model }) => (model ? <SpendKeyLabel name={model.model || '(none)'} /> : '–') },
  { name: 'State', kind: 'text', renderCell: ({ model }) => (model ? describeBreakerState(model) : 'not called yet') },
  { name: 'Failures (30 s)', renderCell: ({ model }) => (model ? `${model.failed} of ${model.tries}` : '–') },
];

/** Shows how each of several upstreams is. The trouble of a single one is told above the page. */
export function UpstreamHealthList() {
  return (
    <section class="stack" aria-labelledby="upstreams">
      <h2 id="upstreams">Upstreams</h2>
      <PolledList<UpstreamModelRow, HealthAnswer>
        name="Upstreams"
        path="/health"
        query={{ upstreams: '' }}
        rowsIn={({ upstreams = [] }) =>
          upstreams.flatMap(({ models, ...one }) =>
            (models.length > 0 ? models : [undefined]).map((model) => ({ ...one, model })),
          )
        }
        about={({ upstreams = [] }) => <PausedUpstreamsNote upstreams={upstreams} />}
        columns={UPSTREAM_COLUMNS}
        row={{
          getKey: ({ name, model }) => `${name} ${model?.model}`,
          look: ({ model }) => (model && model.state !== 'closed' ? 'refused' : undefined),
        }}
        empty="This deployment has one upstream."
      />
    </section>
  );
}

/** Says in words which upstreams are paused, and where their requests go. */
function PausedUpstreamsNote({ upstreams }: { upstreams: readonly UpstreamHealth[] }) {
  const paused = upstreams.flatMap(({ name, models }) =>
    models.filter(({ state }) => state !== 'closed').map((model) => ({ name, model })),
  );
  if (paused.length === 0) return null;
  return (
    <ul>
      {paused.map(({ name, model }) => (
        <li key={`${name} ${model.model}`}>
          {name} is {describeBreakerState(model)}
          {model.model && ` for ${model.model}`}
          {model.elsewhere.length > 0 && `: ${model.elsewhere.map(describeReroutedRequests).join(', ')}`}.
        </li>
      ))}
    </ul>
  );
}

function describeReroutedRequests(
  { upstream, requests }: UpstreamModelHealth['elsewhere'][number],
  at: number,
): string {
  if (at > 0) return `${formatCount(requests)} to ${upstream}`;
  return `${formatCount(requests)} ${requests === 1 ? 'request' : 'requests'} went to ${upstream}`;
}

function describeBreakerState({ state, due_at }: UpstreamModelHealth): string {
  return state === 'open' && due_at !== null
    ? `${BREAKER_STATES.open} until ${formatDateAndTime(due_at)}`
    : BREAKER_STATES[state];
}
