import type { HealthAnswer } from '../../edge/answers.ts';
import { type Column, List } from '../edge/list.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';
import { SpendKey } from './spend-key.tsx';

type Upstream = NonNullable<HealthAnswer['upstreams']>[number];
type ModelState = Upstream['models'][number];
interface UpstreamRow extends Omit<Upstream, 'models'> {
  model: ModelState | undefined;
}

const BREAKER_STATES: Record<ModelState['state'], string> = {
  closed: 'healthy',
  open: 'paused',
  half_open: 'being tried again',
};

const UPSTREAM_COLUMNS: readonly Column<UpstreamRow>[] = [
  { name: 'Upstream', cell: ({ name }) => name },
  { name: 'Kind', spare: true, cell: ({ kind }) => kind },
  { name: 'Running', cell: ({ running, max_concurrent: most }) => (most === null ? running : `${running} of ${most}`) },
  { name: 'Model', cell: ({ model }) => (model ? <SpendKey name={model.model || '(none)'} /> : '–') },
  { name: 'State', kind: 'text', cell: ({ model }) => (model ? describeBreaker(model) : 'not called yet') },
  { name: 'Failed in 30 s', cell: ({ model }) => (model ? `${model.failed} of ${model.tries}` : '–') },
];

/** Shows how each of several upstreams is. The trouble of a single one is told above the page. */
export function Upstreams() {
  return (
    <section class="stack" aria-labelledby="upstreams">
      <h2 id="upstreams">Upstreams</h2>
      <List<UpstreamRow, HealthAnswer>
        name="Upstreams"
        path="/health"
        query={{ upstreams: '' }}
        rowsIn={({ upstreams = [] }) =>
          upstreams.flatMap(({ models, ...one }) =>
            (models.length > 0 ? models : [undefined]).map((model) => ({ ...one, model })),
          )
        }
        about={({ upstreams = [] }) => <Paused upstreams={upstreams} />}
        columns={UPSTREAM_COLUMNS}
        row={{
          key: ({ name, model }) => `${name} ${model?.model}`,
          look: ({ model }) => (model && model.state !== 'closed' ? 'refused' : undefined),
        }}
        empty="This edge has one upstream."
      />
    </section>
  );
}

/** Says in words which upstreams are paused, and where their requests go. */
function Paused({ upstreams }: { upstreams: readonly Upstream[] }) {
  const paused = upstreams.flatMap(({ name, models }) =>
    models.filter(({ state }) => state !== 'closed').map((model) => ({ name, model })),
  );
  if (paused.length === 0) return null;
  return (
    <ul>
      {paused.map(({ name, model }) => (
        <li key={`${name} ${model.model}`}>
          {name} is {describeBreaker(model)}
          {model.model && ` for ${model.model}`}
          {model.elsewhere.length > 0 && `: ${model.elsewhere.map(wentTo).join(', ')}`}.
        </li>
      ))}
    </ul>
  );
}

function wentTo({ upstream, requests }: ModelState['elsewhere'][number], at: number): string {
  if (at > 0) return `${formatCount(requests)} to ${upstream}`;
  return `${formatCount(requests)} ${requests === 1 ? 'request' : 'requests'} went to ${upstream}`;
}

function describeBreaker({ state, due_at }: ModelState): string {
  return state === 'open' && due_at !== null
    ? `${BREAKER_STATES.open} until ${formatMoment(due_at)}`
    : BREAKER_STATES[state];
}
