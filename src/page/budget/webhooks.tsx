import { signal } from '@preact/signals';
import { encodePathSegment } from '../../client/transport.ts';
import type { EventRow, Replayed, ServedPath, SourceRow } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { getClient, readJson } from '../edge/client.ts';
import { type Column, List } from '../edge/list.tsx';
import { pollNow } from '../edge/poll.ts';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';
import { budgetName } from '../ui/route.ts';
import { Alerts } from './alerts.tsx';
import { describeAttempts } from './delivery-attempts.ts';
import { EventDetails } from './event-details.tsx';
import { focusTarget } from './figures/report.ts';
import { FocusHeading } from './focus-heading.tsx';
import { ALERTS_SOURCE, SOURCES_HREF, sourceHref } from './links.tsx';

type EventFilter = 'all' | 'undelivered';
const EVENT_FILTERS: readonly (readonly [EventFilter, string])[] = [
  ['all', 'All'],
  ['undelivered', 'Undelivered'],
];

/** Which events of a source are listed. */
export const eventFilter = signal<EventFilter>('all');

/** Shows what is delivered: the sources of webhooks and alerts, or the events of the source that the URL names. */
export function Webhooks() {
  const source = budgetName.value;
  if (source !== undefined && source !== ALERTS_SOURCE) return <SourceEvents key={source} source={source} />;
  return (
    <>
      <WebhookSources />
      <Alerts to={sourceHref(ALERTS_SOURCE)} />
    </>
  );
}

function WebhookSources() {
  const { fault, replayAll } = useReplayAll();
  const columns: Column<SourceRow>[] = [
    { name: 'Source', kind: 'text', cell: ({ source }) => <SourceLink source={source} kind="all" name={source} /> },
    { name: 'State', kind: 'text', cell: ({ open }) => (open ? 'open' : 'closed: its secret is not set') },
    {
      name: 'Classifier or agent',
      kind: 'text',
      spare: true,
      cell: ({ classifier, agent }) => classifier ?? agent ?? '',
    },
    {
      name: 'Undelivered',
      kind: 'number',
      cell: ({ source, undelivered_events: count }) =>
        count > 0 && <SourceLink source={source} kind="undelivered" name={formatCount(count)} />,
    },
    {
      name: 'Replay all',
      kind: 'action',
      cell: ({ source, undelivered_events: count }) =>
        count > 0 && (
          <SmallButton
            name="Replay all"
            label={`Replay all undelivered events from ${source}`}
            onClick={() => void replayAll(source)}
          />
        ),
    },
  ];
  return (
    <section class="stack" aria-labelledby="sources">
      <FocusHeading id="sources" target={SOURCES_HREF}>
        Sources of webhooks
      </FocusHeading>
      {fault.value && <Fault text={fault.value} />}
      <List<SourceRow>
        name="Sources"
        path="/webhooks"
        columns={columns}
        row={{
          key: ({ source }) => source,
          look: ({ undelivered_events: count }) => (count > 0 ? 'refused' : undefined),
        }}
        empty="This edge has no sources of webhooks."
      />
    </section>
  );
}

/** Leads to the events of a source. */
function SourceLink({ source, kind, name }: { source: string; kind: EventFilter; name: string }) {
  const href = sourceHref(source);
  return (
    <a
      href={href}
      aria-label={kind === 'all' ? undefined : `${name} undelivered events from ${source}`}
      onClick={() => {
        [eventFilter.value, focusTarget.value] = [kind, href];
      }}
    >
      {name}
    </a>
  );
}

/** Replays all undelivered events of a source. */
function useReplayAll() {
  const { fault, run } = useAction();
  const replayAll = (source: string) =>
    run(async () => {
      const path: ServedPath = `/webhooks/${encodePathSegment(source)}/events/replay`;
      const { scheduled } = await readJson<Replayed>(path, { method: 'POST' });
      announce(`${formatCount(scheduled)} ${scheduled === 1 ? 'event is' : 'events are'} tried again.`);
      pollNow();
    });
  return { fault, replayAll };
}

function SourceEvents({ source }: { source: string }) {
  const { fault, run } = useAction();
  const { fault: allFault, replayAll } = useReplayAll();
  const kind = eventFilter.value;
  const path: ServedPath = `/webhooks/${encodePathSegment(source)}/events`;
  const replay = (id: string) =>
    run(async () => {
      await getClient().fetch(`${path}/${encodePathSegment(id)}/replay`, { method: 'POST' });
      pollNow();
    });
  const columns: Column<EventRow>[] = [
    { name: 'Event', kind: 'text', cell: ({ event_id }) => <code>{event_id}</code> },
    { name: 'Received', cell: ({ received_at }) => formatMoment(received_at) },
    { name: 'State', kind: 'text', cell: (row) => <EventState row={row} /> },
    {
      name: 'Label or conversation',
      kind: 'text',
      spare: true,
      cell: ({ label, conversation }) => [label ?? conversation ?? []].flat().join(', '),
    },
    {
      name: 'Replay',
      kind: 'action',
      cell: (row) =>
        canReplay(row) && (
          <SmallButton name="Replay" label={`Replay ${row.event_id}`} onClick={() => void replay(row.event_id)} />
        ),
    },
  ];
  return (
    <>
      <header class="apart view-head">
        <FocusHeading id="events" target={sourceHref(source)}>
          Events from {source}
        </FocusHeading>
        <a href={SOURCES_HREF} onClick={() => (focusTarget.value = SOURCES_HREF)}>
          All sources
        </a>
      </header>
      <p class="quiet">
        What is sent twice is listed once: by its id or, where a signature covers neither id nor time, as GitHub’s, by
        its body.
      </p>
      <div class="row filters">
        <label class="inline">
          <span class="quiet">Which</span>
          <Select value={kind} options={EVENT_FILTERS} onChoose={(one) => (eventFilter.value = one as EventFilter)} />
        </label>
        {kind === 'undelivered' && (
          <SmallButton name="Replay all undelivered events" onClick={() => void replayAll(source)} />
        )}
      </div>
      {fault.value && <Fault text={fault.value} />}
      {allFault.value && <Fault text={allFault.value} />}
      <List<EventRow>
        name="Events"
        path={path}
        query={kind === 'undelivered' ? { undelivered: 'true' } : {}}
        columns={columns}
        row={{ key: ({ event_id }) => event_id, details: (row) => <EventDetails row={row} /> }}
        empty={kind === 'undelivered' ? `No undelivered events from ${source}.` : `No events from ${source} yet.`}
      />
    </>
  );
}

/** @returns whether trying an event again can help: it was tried without success */
function canReplay({ state, error, next_attempt_at: next }: EventRow): boolean {
  return state === 'parked' || state === 'failed' || (error !== null && next !== null && state !== 'waiting');
}

function EventState({ row }: { row: EventRow }) {
  const tries =
    row.state === 'failed' || row.next_attempt_at !== null || row.state === 'parked' ? describeAttempts(row) : '';
  const isNamed = tries === '' || row.state === 'failed' || row.state === 'parked';
  const state = isNamed ? row.state : 'not delivered';
  if (tries === '') return <>{state}</>;
  return (
    <span class="state" data-look="refused">
      {state}: {tries}
    </span>
  );
}
