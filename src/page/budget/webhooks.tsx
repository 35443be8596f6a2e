import { signal, useSignal } from '@preact/signals';
import { encodePathSegment } from '../../client/transport.ts';
import type { EventReplayReport, EventRow, ServedRoutePath, WebhookSourceRow } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson, sendRequest } from '../edge/client.ts';
import { createTokenSignal } from '../edge/credential.ts';
import { identity } from '../edge/identity.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { refreshAllPolls } from '../edge/poll.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatCount, formatRowTime } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { budgetName } from '../ui/route.ts';
import { Alerts } from './alerts.tsx';
import { describeFailedAttempts } from './delivery-attempts.ts';
import { EventDetails } from './event-details.tsx';
import { focusTarget } from './figures/report.ts';
import { FocusHeading } from './focus-heading.tsx';
import { ALERTS_SOURCE, getWebhookSourceHref, SOURCES_HREF } from './links.tsx';

type WebhookEventFilter = 'all' | 'undelivered';
const EVENT_FILTERS: readonly (readonly [WebhookEventFilter, string])[] = [
  ['all', 'All'],
  ['undelivered', 'Undelivered'],
];

/** Which events of a source are listed. */
export const eventFilter = signal<WebhookEventFilter>('all');

/** How many events of each source were replayed since the page was opened. */
export const replayedEvents = createTokenSignal<Readonly<Record<string, number>>>({});

function addReplayedEvents(source: string, count: number): void {
  const before = replayedEvents.peek();
  replayedEvents.value = { ...before, [source]: (before[source] ?? 0) + count };
}

/** Shows what is delivered: the sources of webhooks and alerts, or what the URL names: the events of a source, or the alerts. */
export function Webhooks() {
  const source = budgetName.value;
  if (source === ALERTS_SOURCE) return <Alerts to={getWebhookSourceHref(ALERTS_SOURCE)} isOnly />;
  if (source !== undefined) return <SourceEvents key={source} source={source} />;
  return (
    <>
      <WebhookSources />
      <Alerts />
    </>
  );
}

function WebhookSources() {
  const { fault, notice, replayAll } = useReplayAllEvents();
  const columns: ListColumn<WebhookSourceRow>[] = [
    {
      name: 'Source',
      kind: 'text',
      renderCell: ({ source }) => <SourceLink source={source} kind="all" name={source} />,
    },
    { name: 'State', kind: 'text', renderCell: describeSourceState },
    {
      name: hasPlugin('agents') ? 'Classifier or agent' : 'Classifier',
      kind: 'text',
      spare: true,
      renderCell: ({ classifier, agent }) =>
        classifier ?? agent ?? <span class="quiet">built-in labels of the source</span>,
    },
    {
      name: 'Undelivered',
      kind: 'number',
      renderCell: ({ source, undelivered_events: count }) =>
        count > 0 && <SourceLink source={source} kind="undelivered" name={formatCount(count)} />,
    },
    {
      name: 'Replay all',
      kind: 'action',
      renderCell: ({ source, undelivered_events: count }) =>
        count > 0 &&
        identity.value.admin && (
          <SmallButton
            name="Replay all"
            label={`Replay all undelivered events from ${source}`}
            onClick={() => void replayAll(source)}
          />
        ),
    },
  ];
  return (
    <section class="stack stacked source-rows" aria-labelledby="sources">
      <FocusHeading id="sources" target={SOURCES_HREF}>
        Webhook sources
      </FocusHeading>
      {fault.value && <FaultMessage text={fault.value} />}
      <ReplayNotice text={notice.value} />
      <PolledList<WebhookSourceRow>
        name="Sources"
        path="/webhooks"
        columns={columns}
        row={{
          getKey: ({ source }) => source,
          look: ({ undelivered_events: count }) => (count > 0 ? 'refused' : undefined),
        }}
        empty="This deployment has no webhook sources."
      />
    </section>
  );
}

function describeSourceState({ open, secret }: WebhookSourceRow): string {
  if (open) return 'receiving';
  return `closed: ${secret ?? 'the secret of its entry in WEBHOOKS'} is not set`;
}

/** Links to the events of a source. */
function SourceLink({ source, kind, name }: { source: string; kind: WebhookEventFilter; name: string }) {
  const href = getWebhookSourceHref(source);
  return (
    <a
      href={href}
      aria-label={kind === 'all' ? undefined : `${name} undelivered events from ${source}`}
      onClick={() => {
        [eventFilter.value, focusTarget.value] = [kind, href];
      }}
    >
      <Identifier id={name} />
    </a>
  );
}

/** Replays all undelivered events of a source. `notice` contains what is known about that: not yet whether it helps. */
function useReplayAllEvents() {
  const { fault, run } = useAsyncAction();
  const notice = useSignal<string | undefined>(undefined);
  const replayAllEvents = (source: string) =>
    run(async () => {
      const path: ServedRoutePath = `/webhooks/${encodePathSegment(source)}/events/replay`;
      const { scheduled } = await readJson<EventReplayReport>(path, { method: 'POST' });
      notice.value = describeReplay(scheduled, source);
      announceToScreenReader(notice.value);
      addReplayedEvents(source, scheduled);
      refreshAllPolls();
    });
  return { fault, notice, replayAll: replayAllEvents };
}

/** @returns what a replay has done so far. An event is delivered only once its receiver has answered. */
function describeReplay(count: number, source: string): string {
  return `Replay scheduled: ${describeEventCount(count)} from ${source}. They are not delivered yet. Events that fail again are listed as undelivered.`;
}

function ReplayNotice({ text }: { text: string | undefined }) {
  if (text === undefined) return null;
  return (
    <p class="state" data-look="nearly">
      {text}
    </p>
  );
}

function describeEventCount(count: number): string {
  return `${formatCount(count)} ${count === 1 ? 'event' : 'events'}`;
}

function SourceEvents({ source }: { source: string }) {
  const { fault, run } = useAsyncAction();
  const { fault: allFault, notice, replayAll } = useReplayAllEvents();
  const kind = eventFilter.value;
  const path: ServedRoutePath = `/webhooks/${encodePathSegment(source)}/events`;
  const replayEvent = (id: string) =>
    run(async () => {
      await sendRequest(`${path}/${encodePathSegment(id)}/replay`, { method: 'POST' });
      addReplayedEvents(source, 1);
      notice.value = describeReplay(1, source);
      refreshAllPolls();
    });
  const columns: ListColumn<EventRow>[] = [
    {
      name: 'Event',
      kind: 'text',
      renderCell: ({ event_id }) => (
        <code>
          <Identifier id={event_id} />
        </code>
      ),
    },
    // A narrow window shows this column only in the opened row, so that the state and the button fit beside the name.
    { name: 'Received', spare: true, renderCell: ({ received_at }) => formatRowTime(received_at) },
    { name: 'State', kind: 'text', renderCell: (row) => <EventStateText row={row} /> },
    {
      name: hasPlugin('agents') ? 'Label or conversation' : 'Label',
      kind: 'text',
      spare: true,
      renderCell: ({ label, conversation }) => [label ?? conversation ?? []].flat().join(', '),
    },
    {
      name: 'Replay',
      kind: 'action',
      renderCell: (row) =>
        canReplayEvent(row) &&
        identity.value.admin && (
          <SmallButton name="Replay" label={`Replay ${row.event_id}`} onClick={() => void replayEvent(row.event_id)} />
        ),
    },
  ];
  return (
    <section class="stack stacked event-rows" aria-labelledby="events">
      <header class="apart view-head">
        <FocusHeading id="events" target={getWebhookSourceHref(source)}>
          Events from {source}
        </FocusHeading>
        <a href={SOURCES_HREF} onClick={() => (focusTarget.value = SOURCES_HREF)}>
          All sources
        </a>
      </header>
      <p class="quiet">
        An event that is sent twice is listed once. Sluice recognizes it by its id or, where the signature covers
        neither id nor time (GitHub), by its body.
      </p>
      <div class="row filters">
        <label class="inline">
          <span class="quiet">Status</span>
          <Select
            value={kind}
            options={EVENT_FILTERS}
            onChoose={(one) => (eventFilter.value = one as WebhookEventFilter)}
          />
        </label>
        {kind === 'undelivered' && identity.value.admin && (
          <SmallButton name="Replay all undelivered events" onClick={() => void replayAll(source)} />
        )}
      </div>
      {fault.value && <FaultMessage text={fault.value} />}
      {allFault.value && <FaultMessage text={allFault.value} />}
      <ReplayNotice text={notice.value} />
      <PolledList<EventRow>
        name="Events"
        path={path}
        query={kind === 'undelivered' ? { undelivered: 'true' } : {}}
        columns={columns}
        row={{ getKey: ({ event_id }) => event_id, details: (row) => <EventDetails row={row} /> }}
        empty={describeNoEvents(source, kind, replayedEvents.value[source] ?? 0)}
      />
    </section>
  );
}

/** @returns the text of an empty list. A list of undelivered events omits replayed events until they fail again. */
function describeNoEvents(source: string, kind: WebhookEventFilter, replayed: number): string {
  if (kind === 'all') return `No events from ${source} yet.`;
  if (replayed > 0)
    return `Replay scheduled: ${describeEventCount(replayed)}. Events that fail again return to this list.`;
  return `No undelivered events from ${source}.`;
}

/** @returns whether trying an event again can help: it was tried without success */
function canReplayEvent({ state, error, next_attempt_at: next }: EventRow): boolean {
  return state === 'parked' || state === 'failed' || (error !== null && next !== null && state !== 'waiting');
}

function EventStateText({ row }: { row: EventRow }) {
  const tries =
    row.state === 'failed' || row.next_attempt_at !== null || row.state === 'parked' ? describeFailedAttempts(row) : '';
  const isNamed = tries === '' || row.state === 'failed' || row.state === 'parked';
  const state = isNamed ? row.state : 'not delivered';
  if (tries === '') return <>{state}</>;
  return (
    <span class="state" data-look="refused">
      {state}: {tries}
    </span>
  );
}
