import type { ContentBlockDeltaEvent } from '@anthropic-ai/sdk/resources/messages';
import { useSignal } from '@preact/signals';
import { parseJsonObject } from '../../client/errors.ts';
import type { RecordedCall, RecordedEvent } from '../edge/last-calls.ts';
import { CheckboxChip } from '../ui/form.tsx';
import { formatCount, formatMilliseconds } from '../ui/format.ts';
import { indentIfJson, shortenBase64Images } from './shorten.ts';

interface StreamEventRow {
  name: string;
  /** The data of an event, or the joined text of deltas. */
  data: string;
  /** How many events it is made of. */
  count: number;
  /** When the first and the last of them came, in milliseconds since the request. */
  firstAt: number;
  lastAt: number;
  /** The part of the message to which its deltas are added; undefined for other events. */
  deltaTarget: string | undefined;
}

type ContentDelta = ContentBlockDeltaEvent['delta'];

const rowsCache = new WeakMap<RecordedCall, { rows: StreamEventRow[]; read: number }>();

/** Shows the events of a stream over time: deltas as the text that they are, or each by itself. */
export function EventsTable({ call }: { call: RecordedCall }) {
  const isEach = useSignal(false);
  const { events } = call.log;
  const { headersAt = 0, endedAt } = call.response.value;
  const end = endedAt ?? events.at(-1)?.at ?? headersAt;
  const rows: readonly StreamEventRow[] = isEach.value
    ? events.map(({ at, name, data }) => ({ name, data, count: 1, firstAt: at, lastAt: at, deltaTarget: undefined }))
    : getStreamEventRows(call);
  return (
    <>
      <CheckboxChip name="One row for each delta" value={isEach} />
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: a scrollable area needs the focus, so that the keyboard can scroll it. */}
      <section class="events" tabIndex={0} aria-label="Events">
        <table>
          <thead>
            <tr>
              <th scope="col">Time</th>
              <th scope="col">Event</th>
              <th scope="col">
                <span class="apart">
                  Data <span>{formatMilliseconds(end)}</span>
                </span>
              </th>
            </tr>
          </thead>
          <tbody>
            <tr>
              <td>{formatMilliseconds(headersAt)}</td>
              <td>headers</td>
              <td>
                <EventTimeBar from={0} to={headersAt} end={end} />
              </td>
            </tr>
            {rows.map(({ name, data, count, firstAt: from, lastAt: to, deltaTarget: grows }, index) => (
              // biome-ignore lint/suspicious/noArrayIndexKey: events are only appended, so an index stays the same.
              <tr key={index}>
                <td>{formatMilliseconds(from)}</td>
                <td>
                  <code>{name}</code>
                  {count > 1 && <span class="quiet"> × {formatCount(count)}</span>}
                </td>
                <td>
                  <EventTimeBar from={from} to={to} end={end} />
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
  if (!data.startsWith('{')) return <code>{shortenBase64Images(data)}</code>;
  return (
    <details onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary class="clipped">
        <code>{shortenBase64Images(data)}</code>
      </summary>
      {isOpen.value && <pre class="typed">{shortenBase64Images(indentIfJson(data))}</pre>}
    </details>
  );
}

/** Draws when something came: a bar from its beginning to its end. Its times stand beside it, or in its title. */
function EventTimeBar({ from, to, end }: { from: number; to: number; end: number }) {
  const toPercentage = (ms: number) => `${end === 0 ? 0 : (ms / end) * 100}%`;
  return (
    <div
      class="when"
      title={from === to ? formatMilliseconds(from) : `${formatMilliseconds(from)} to ${formatMilliseconds(to)}`}
    >
      <span style={{ marginLeft: toPercentage(from), width: toPercentage(to - from) }} />
    </div>
  );
}

/** @returns the rows of a call; of one that has grown only what is new is read */
function getStreamEventRows(call: RecordedCall): readonly StreamEventRow[] {
  const before = rowsCache.get(call) ?? { rows: [], read: 0 };
  rowsCache.set(call, before);
  const { events } = call.log;
  for (const event of events.slice(before.read)) addEventToRows(before.rows, event);
  before.read = events.length;
  return before.rows;
}

function addEventToRows(rows: StreamEventRow[], { at, name, data }: RecordedEvent): void {
  const event = name === 'content_block_delta' ? parseJsonObject<ContentBlockDeltaEvent>(data) : undefined;
  const piece = event && getDeltaText(event.delta);
  if (!event || piece === undefined) {
    rows.push({ name, data, count: 1, firstAt: at, lastAt: at, deltaTarget: undefined });
    return;
  }
  const grows = `${event.index} ${event.delta.type}`;
  const last = rows.at(-1);
  if (last?.deltaTarget !== grows) {
    rows.push({ name: event.delta.type, data: piece, count: 1, firstAt: at, lastAt: at, deltaTarget: grows });
    return;
  }
  last.data += piece;
  last.count += 1;
  last.lastAt = at;
}

/** @returns the text that a delta adds; undefined for one that is not joined */
function getDeltaText(delta: ContentDelta): string | undefined {
  switch (delta.type) {
    case 'text_delta':
      return delta.text;
    case 'thinking_delta':
      return delta.thinking;
    case 'input_json_delta':
      return delta.partial_json;
    default:
      return undefined;
  }
}
