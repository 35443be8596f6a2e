import { useSignal } from '@preact/signals';
import type { Recording } from '../edge/recording.ts';
import { CheckboxChip } from '../ui/form.tsx';
import { formatCount, formatMs } from '../ui/format.ts';
import { rowsOf, type WireRow } from './rows.ts';
import { indent, shorten } from './shorten.ts';

/** Shows the events of a stream over time: deltas as the text that they are, or each by itself. */
export function EventsTable({ recording }: { recording: Recording }) {
  const isEach = useSignal(false);
  const { events, headersAt = 0, endedAt } = recording;
  const end = endedAt ?? events.at(-1)?.at ?? headersAt;
  const rows: readonly WireRow[] = isEach.value
    ? events.map(({ at, name, data }) => ({ name, data, count: 1, from: at, to: at, grows: undefined }))
    : rowsOf(recording);
  return (
    <>
      <CheckboxChip name="Show every delta" value={isEach} />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard. */}
      <section class="events" tabIndex={0} aria-label="Events">
        <table>
          <thead>
            <tr>
              <th scope="col">At</th>
              <th scope="col">Event</th>
              <th scope="col">
                <span class="apart">
                  When <span>{formatMs(end)}</span>
                </span>
              </th>
            </tr>
          </thead>
          <tbody>
            <tr>
              <td>{formatMs(0)}</td>
              <td>headers</td>
              <td>
                <When from={0} to={headersAt} end={end} />
              </td>
            </tr>
            {rows.map(({ name, data, count, from, to, grows }, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: events are only ever added at the end.
              <tr key={index}>
                <td>{formatMs(from)}</td>
                <td>
                  <code>{name}</code>
                  {count > 1 && <span class="quiet"> × {formatCount(count)}</span>}
                </td>
                <td>
                  <When from={from} to={to} end={end} />
                  {grows === undefined ? <EventData data={data} /> : <p class="typed">{data}</p>}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </section>
    </>
  );
}

/** Shows the data of an event in one line, which opens. */
function EventData({ data }: { data: string }) {
  const isOpen = useSignal(false);
  if (!data.startsWith('{')) return <code>{shorten(data)}</code>;
  return (
    <details onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary class="clipped">
        <code>{shorten(data)}</code>
      </summary>
      {isOpen.value && <pre class="typed">{shorten(indent(data))}</pre>}
    </details>
  );
}

/** Draws when something came: a bar from its beginning to its end. Its times stand beside it, or in its title. */
function When({ from, to, end }: { from: number; to: number; end: number }) {
  const part = (ms: number) => `${end === 0 ? 0 : (ms / end) * 100}%`;
  return (
    <div class="when" title={from === to ? formatMs(from) : `${formatMs(from)} to ${formatMs(to)}`}>
      <span style={{ marginLeft: part(from), width: part(to - from) }} />
    </div>
  );
}
