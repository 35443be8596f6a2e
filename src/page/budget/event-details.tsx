import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { encodePathSegment } from '../../client/transport.ts';
import type { EventReport, EventRow } from '../../edge/answers.ts';
import { useAsyncAction } from '../edge/async-action.ts';
import { readJson } from '../edge/client.ts';
import { identity } from '../edge/identity.ts';
import { Facts } from '../ui/facts.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { formatExactTime, formatMilliseconds } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { Table } from '../ui/table.tsx';
import { AccountLink } from './links.tsx';

/** Shows what became of an event: its subject, its text, the object that follows its schema, and each attempt. */
export function EventDetails({ row }: { row: EventRow }) {
  const { fault, run } = useAsyncAction();
  const report = useSignal<EventReport | undefined>(undefined);
  const { source, event_id: id } = row;
  // Read the report again when the list shows another state or another attempt.
  // biome-ignore lint/correctness/useExhaustiveDependencies: the report has changed when one of these has.
  useEffect(() => {
    void run(async () => {
      report.value = await readJson<EventReport>(
        `/webhooks/${encodePathSegment(source)}/events/${encodePathSegment(id)}`,
      );
    });
  }, [source, id, row.state, row.attempts]);
  const event = report.value;
  return (
    <div class="stack">
      {fault.value && <FaultMessage text={fault.value} />}
      {event && (
        <>
          <Facts
            class="headers details"
            facts={[
              [
                'Event',
                <code key="id">
                  <Identifier id={id} />
                </code>,
              ],
              ...(event.subject === null
                ? []
                : ([['Subject', <EventSubject key="subject" text={event.subject} />]] as const)),
              ...(event.label === null ? [] : ([['Label', [event.label].flat().join(', ')]] as const)),
              ['Account', <AccountLink key="account" account={event.account} />],
              ['Received', formatExactTime(event.received_at)],
              ...(event.conversation === null
                ? []
                : ([['Conversation', <Identifier key="conversation" id={event.conversation} />]] as const)),
            ]}
          />
          <div>
            <h3>Text</h3>
            <p class="typed">{event.text ?? describeMissingText()}</p>
          </div>
          {event.result && 'output' in event.result && event.result.output && (
            <pre class="raw">{JSON.stringify(event.result.output, undefined, 2)}</pre>
          )}
          <EventAttemptsTable event={event} />
        </>
      )}
    </div>
  );
}

function describeMissingText(): string {
  return identity.value.admin ? 'The text was too long to be stored.' : 'Your token cannot read the text.';
}

/** Shows by what the sender finds the text. */
function EventSubject({ text }: { text: string }) {
  if (!text.startsWith('https://')) return <>{text}</>;
  return (
    <a href={text} target="_blank" rel="noreferrer">
      {text}
    </a>
  );
}

/** @returns the message of an attempt's error, after its status if the message does not contain it */
function describeAttemptError({ status, message }: NonNullable<EventReport['attempts'][number]['error']>): string {
  return status === undefined || message.includes(String(status)) ? message : `${status} · ${message}`;
}

function EventAttemptsTable({ event: { attempts } }: { event: EventReport }) {
  if (attempts.length === 0) return <p class="quiet">No attempts yet.</p>;
  return (
    <Table label="Attempts" columns={['Time', { number: 'Duration', spare: true }, 'Result']}>
      {attempts.map(({ at, ms, error }) => (
        <tr key={at}>
          <td>{formatExactTime(at)}</td>
          <td class="number spare">{formatMilliseconds(ms)}</td>
          <td class="text">{error === null ? 'done' : describeAttemptError(error)}</td>
        </tr>
      ))}
    </Table>
  );
}
