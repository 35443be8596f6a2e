import { useSignal } from '@preact/signals';
import { useAsyncAction } from '../edge/async-action.ts';
import { token } from '../edge/credential.ts';
import { askExampleQuestion } from '../edge/example-question.ts';
import { callGrowthCount, lastCalls, type RecordedCall } from '../edge/last-calls.ts';
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

/** Matches the id of a request or a turn, in which a line must not break. */
const ID_VALUE = /^[a-z]+_\w+$/;

/** Shows the last calls as they went over the wire. */
export function Wire() {
  const chosen = useSignal<number | undefined>(undefined);
  // Read this signal to render again with each piece: the call objects stay the same while they grow.
  void callGrowthCount.value;
  const all = lastCalls.value;
  const call = all.find(({ number }) => number === chosen.value) ?? all[0];
  if (!call) return <NoCalls />;
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
              options={all.map(({ number, method, path, startedAt, status }) => [
                number,
                `${formatTimeOfDay(startedAt)} ${method} ${path} ${status ?? ''}`,
              ])}
              onChoose={(number) => (chosen.value = Number(number))}
            />
          </label>
        </div>
      </header>
      <Facts
        facts={[
          ['Status', call.status ?? call.fault ?? 'running'],
          ['Headers after', call.headersAt === undefined ? '…' : formatMilliseconds(call.headersAt)],
          ['Ended after', call.endedAt === undefined ? '…' : formatMilliseconds(call.endedAt)],
          ['Events', call.events.length],
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
      <EmptyState example="Ask a short question" busy={busy.value} onTry={() => void run(askExampleQuestion)}>
        Requests that this page sends, for example from <a href="#/chat">Chat</a> or Classify, appear here with each
        event and its time.
      </EmptyState>
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
  const { events, text, answerHeaders, fault } = call;
  return (
    <>
      <details class="aside">
        <summary>{answerHeaders.length} headers</summary>
        <Facts
          class="headers"
          facts={answerHeaders.map(([name, value]) => [
            name,
            ID_VALUE.test(value) ? <Identifier key={name} id={value} /> : value,
          ])}
        />
      </details>
      {fault && <p class="quiet">{fault}</p>}
      {text !== '' && <Code code={shortenBase64Images(indentIfJson(text))} language="json" copied={() => text} />}
      {events.length > 0 && <EventsTable call={call} />}
    </>
  );
}
