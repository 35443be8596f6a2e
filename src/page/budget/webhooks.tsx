import { useSignal } from '@preact/signals';
import { useCallback, useEffect } from 'preact/hooks';
import type { Page } from '../../client/index.ts';
import { inPath } from '../../client/transport.ts';
import type { EventRow, ServedPath, SHIPPED_SOURCES } from '../../edge/answers.ts';
import { useAction } from '../edge/async-action.ts';
import { edge, readJson } from '../edge/client.ts';
import { poll } from '../edge/poll.ts';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatMoment } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';

type ShippedSource = (typeof SHIPPED_SOURCES)[number];
/** Compared with the Worker's list, of which the page has the type alone. */
const SOURCES = Object.keys({ github: 1, stripe: 1, slack: 1, standard: 1 } satisfies Record<ShippedSource, 1>);
const ENDED = ['parked', 'failed'];
const MOST_EVENTS = 50;
const EVENTS_EVERY_MS = 2_000;

/** Shows the events of webhooks and their states. */
export function Webhooks() {
  const source = useSignal(SOURCES[0] ?? '');
  const rows = useSignal<EventRow[] | undefined>(undefined);
  const { fault, run } = useAction();
  const path: ServedPath = `/webhooks/${inPath(source.value)}/events`;
  const attempt = useCallback(
    async (work?: () => Promise<unknown>) => {
      const done = await run(async () => {
        await work?.();
        rows.value = (await readJson<Page<EventRow>>(path, { query: { limit: MOST_EVENTS } })).data;
      });
      if (!done) rows.value = undefined;
    },
    [path, run, rows],
  );
  useEffect(() => {
    fault.value = undefined;
    return poll(async () => {
      // After a failure it asks no more, until the user does something.
      if (fault.peek() === undefined) await attempt();
    }, EVENTS_EVERY_MS);
  }, [attempt, fault]);
  return (
    <div class="stack">
      <label class="inline">
        <span class="quiet">Source</span>
        <Select value={source.value} options={SOURCES} onChoose={(name) => (source.value = name)} />
      </label>
      {fault.value && <Fault text={fault.value} />}
      {rows.value?.length === 0 && <p class="quiet">No events from {source.value} yet.</p>}
      {rows.value && rows.value.length > 0 && (
        <Table
          label="Events received"
          columns={['Event', 'Received', 'State', 'Label or conversation', 'Attempts']}
          action="Replay"
        >
          {rows.value.map(({ event_id, received_at, state, label, conversation, attempts }) => (
            <tr key={event_id}>
              <th scope="row">
                <code>{event_id}</code>
              </th>
              <td>{formatMoment(received_at)}</td>
              <td>{state}</td>
              <td>{[label ?? conversation ?? []].flat().join(', ')}</td>
              <td>{attempts}</td>
              <td>
                {ENDED.includes(state) && (
                  <SmallButton
                    name="Replay"
                    onClick={() =>
                      void attempt(() =>
                        edge().fetch(`${path}/${encodeURIComponent(event_id)}/replay`, { method: 'POST' }),
                      )
                    }
                  />
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
    </div>
  );
}
