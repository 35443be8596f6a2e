import { useSignal } from '@preact/signals';
import { useAsyncAction } from '../edge/async-action.ts';
import { token } from '../edge/credential.ts';
import { askExampleQuestion } from '../edge/example-question.ts';
import { hasUnrestrictedScope } from '../edge/identity.ts';
import { lastCalls, type RecordedCall } from '../edge/last-calls.ts';
import { announceToScreenReader } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Code } from '../ui/code.tsx';
import { EmptyState } from '../ui/empty-state.tsx';
import { Facts } from '../ui/facts.tsx';
import { FaultMessage } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatMilliseconds, formatTimeOfDay } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { createCurlCommand } from './curl.ts';
import { EventsTable } from './events-table.tsx';
import { indentIfJson, shortenBase64Images } from './shorten.ts';

const NO_CALLS = 'Requests that this page sends from Chat or Classify appear here with each event and its time.';
/** Matches the id of a request or a turn, in which a line must not break. */
const ID_VALUE = /^[a-z]+_\w+$/;

/** Shows the last calls as they went over the wire. */
export function Wire() {
  const chosen = useSignal<number | undefined>(undefined);
  const all = lastCalls.value;
  const call = all.find(({ number }) => number === chosen.value) ?? all[0];
  if (!call) return <NoCalls />;
  const { status, headersAt, endedAt, fault } = call.response.value;
  return (
    <div class="page wire">
      <header class="apart page-head">
        <h1>Inspector</h1>
        <div class="inline">
          <SmallButton
            name="Copy as curl"
            onClick={() => {
              navigator.clipboard.writeText(createCurlCommand(call, location.origin, token.value !== undefined)).then(
                () => announceToScreenReader('Copied as curl.'),
                () => announceToScreenReader('Your browser did not allow copying.'),
              );
            }}
          />
          <label class="inline">
            <span class="quiet call-label">Call</span>
            <Select
              value={call.number}
              options={all.map(({ number, method, path, startedAt, response }) => [
                number,
                `${formatTimeOfDay(startedAt)} ${method} ${path} ${response.value.status ?? ''}`,
              ])}
              onChoose={(number) => (chosen.value = Number(number))}
            />
          </label>
        </div>
      </header>
      <Facts
        facts={[
          ['Status', status ?? fault ?? 'running'],
          ['Headers after', headersAt === undefined ? '…' : formatMilliseconds(headersAt)],
          ['Ended after', endedAt === undefined ? '…' : formatMilliseconds(endedAt)],
          ['Events', call.log.events.length],
        ]}
      />
      <div class="wire-columns">
        <section aria-label="Request">
          <h2>Request</h2>
          <RawRequest call={call} />
        </section>
        <section aria-label="Response">
          <h2>Response</h2>
          <RawResponseView call={call} />
        </section>
      </div>
    </div>
  );
}

function NoCalls() {
  const { isBusy: busy, fault, run } = useAsyncAction();
  return (
    <div class="page">
      <h1>Inspector</h1>
      {/* POST /messages */}
      {hasUnrestrictedScope('messages') ? (
        <EmptyState example="Ask a short question" busy={busy.value} onTry={() => void run(askExampleQuestion)}>
          {NO_CALLS}
        </EmptyState>
      ) : (
        <p class="quiet">{NO_CALLS}</p>
      )}
      {fault.value && <FaultMessage text={fault.value} />}
    </div>
  );
}

function RawRequest({ call: { method, path, body } }: { call: RecordedCall }) {
  return (
    <>
      <p class="request-line">
        <code>
          {method} {path}
        </code>
      </p>
      {body === undefined ? (
        <p class="quiet">No body.</p>
      ) : (
        <Code code={shortenBase64Images(indentIfJson(body))} language="json" copied={() => body} />
      )}
    </>
  );
}

function RawResponseView({ call }: { call: RecordedCall }) {
  const { headers, fault } = call.response.value;
  const text = call.text.value;
  return (
    <>
      <details class="aside">
        <summary>{headers.length} headers</summary>
        <Facts
          class="headers"
          facts={headers.map(([name, value]) => [
            name,
            ID_VALUE.test(value) ? <Identifier key={name} id={value} /> : value,
          ])}
        />
      </details>
      {fault && <p class="quiet">{fault}</p>}
      {text !== '' && <Code code={shortenBase64Images(indentIfJson(text))} language="json" copied={() => text} />}
      {call.log.events.length > 0 && <EventsTable call={call} />}
    </>
  );
}
