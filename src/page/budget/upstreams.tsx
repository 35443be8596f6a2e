import type { HealthAnswer } from '../../edge/answers.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { Facts } from '../ui/facts.tsx';
import { formatCount, formatRowTime } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { CALLS_WITHOUT_MODEL, SpendKeyLabel } from './spend-key.tsx';

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
  { name: 'Upstream', kind: 'text', renderCell: ({ name }) => <Identifier id={name} /> },
  { name: 'Kind', spare: true, renderCell: ({ kind }) => kind },
  { name: 'Running', spare: true, renderCell: describeRunningRequests },
  { name: 'Model', kind: 'text', renderCell: ({ model }) => (model ? renderModel(model) : '–') },
  { name: 'State', kind: 'text', renderCell: ({ model }) => (model ? describeBreakerState(model) : 'not called yet') },
  { name: 'Failures (30 s)', renderCell: ({ model }) => (model ? `${model.failed} of ${model.tries}` : '–') },
];

/** Shows how each of several upstreams is. Problems of a single upstream are shown above the page. */
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
          details: (row) => (
            <Facts
              class="headers details"
              facts={[
                ['Kind', row.kind],
                ['Running', describeRunningRequests(row)],
              ]}
            />
          ),
        }}
        empty="This deployment has one upstream."
      />
    </section>
  );
}

function describeRunningRequests({ running, max_concurrent: most }: UpstreamModelRow): string {
  return most === null ? String(running) : `${running} of ${most}`;
}

function renderModel({ model }: UpstreamModelHealth) {
  return model === '' ? <abbr title={CALLS_WITHOUT_MODEL}>other calls</abbr> : <SpendKeyLabel name={model} />;
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
          {model.model === '' ? ' for other calls' : ` for ${model.model}`}
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
    ? `${BREAKER_STATES.open} until ${formatRowTime(due_at)}`
    : BREAKER_STATES[state];
}
