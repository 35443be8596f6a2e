import { inPath } from '../../client/transport.ts';
import type { EventRow, ServedPath, SHIPPED_SOURCES } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { edge } from '../edge/client.ts';
import { type Column, List } from '../edge/list.tsx';
import { pollNow } from '../edge/poll.ts';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatMoment } from '../ui/format.ts';
import { budgetName, go } from '../ui/route.ts';
import { Alerts } from './alerts.tsx';
import { LedHeading } from './led-heading.tsx';
import { ALERTS, addressOf } from './links.tsx';
import { sayTries } from './tries.ts';

type ShippedSource = (typeof SHIPPED_SOURCES)[number];
/** Compared with the Worker's list, of which the page has the type alone. */
const SOURCES = Object.keys({ github: 1, stripe: 1, slack: 1, standard: 1 } satisfies Record<ShippedSource, 1>);

/** Shows what is delivered: the events of webhooks, each with its state, and alerts. */
export function Webhooks() {
  const source = budgetName.value ?? SOURCES[0] ?? '';
  const choices = SOURCES.includes(source) || source === ALERTS ? SOURCES : [...SOURCES, source];
  return (
    <>
      <label class="inline">
        <span class="quiet">From</span>
        <Select
          value={source}
          options={[...choices, [ALERTS, 'alerts of this edge'] as const]}
          onChoose={(name) => go('budget', ['webhooks', name])}
        />
      </label>
      {source === ALERTS ? <Alerts to={addressOf(ALERTS)} /> : <Events key={source} source={source} />}
    </>
  );
}

function Events({ source }: { source: string }) {
  const { fault, run } = useAction();
  const path: ServedPath = `/webhooks/${inPath(source)}/events`;
  const replay = (id: string) =>
    run(async () => {
      await edge().fetch(`${path}/${inPath(id)}/replay`, { method: 'POST' });
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
      cell: ({ event_id: id, state }) =>
        ['parked', 'failed'].includes(state) && <SmallButton name="Replay" onClick={() => void replay(id)} />,
    },
  ];
  return (
    <>
      <LedHeading id="events" to={addressOf(source)}>
        Events from {source}
      </LedHeading>
      <p class="quiet">
        What is sent twice is listed once: by its id or, where a signature covers neither id nor time, as GitHub’s, by
        its body.
      </p>
      {fault.value && <Fault text={fault.value} />}
      <List<EventRow>
        name="Events"
        path={path}
        columns={columns}
        row={{ key: ({ event_id }) => event_id }}
        empty={`No events from ${source} yet.`}
      />
    </>
  );
}

function EventState({ row }: { row: EventRow }) {
  const tries = row.state === 'failed' || row.next_attempt_at !== null || row.state === 'parked' ? sayTries(row) : '';
  const state =
    row.state === 'parked' ? 'given up' : tries !== '' && row.state !== 'failed' ? 'not delivered' : row.state;
  if (tries === '') return <>{state}</>;
  return (
    <span class="state" data-look="refused">
      {state}: {tries}
    </span>
  );
}
