import { useSignal } from '@preact/signals';
import { useAction } from '../edge/async-action.ts';
import { token } from '../edge/client.ts';
import { askExample } from '../edge/example-question.ts';
import { callGrowthCount, lastCalls, type WireCall } from '../edge/last-calls.ts';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Code } from '../ui/code.tsx';
import { EmptyState } from '../ui/empty-state.tsx';
import { Facts } from '../ui/facts.tsx';
import { Fault } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatClock, formatMs } from '../ui/format.ts';
import { toCurlCommand } from './curl.ts';
import { EventsTable } from './events-table.tsx';
import { indentIfJson, shortenImages } from './shorten.ts';

/** Shows the last calls as they went over the wire. */
export function Wire() {
  const chosen = useSignal<number | undefined>(undefined);
  // Reading this signal renders again: calls grow in place.
  void callGrowthCount.value;
  const all = lastCalls.value;
  const call = all.find(({ number }) => number === chosen.value) ?? all[0];
  if (!call) return <NoCalls />;
  return (
    <div class="page wire">
      <header class="apart page-head">
        <h1>Wire</h1>
        <div class="inline">
          <SmallButton
            name="Copy as curl"
            onClick={() => {
              navigator.clipboard.writeText(toCurlCommand(call, location.origin, token.value !== undefined)).then(
                () => announce('Copied as curl.'),
                () => announce('Your browser did not allow copying.'),
              );
            }}
          />
          <label class="inline">
            <span class="quiet">Call</span>
            <Select
              value={call.number}
              options={all.map(({ number, method, path, startedAt, status }) => [
                number,
                `${formatClock(startedAt)} ${method} ${path} ${status ?? ''}`,
              ])}
              onChoose={(number) => (chosen.value = Number(number))}
            />
          </label>
        </div>
      </header>
      <Facts
        facts={[
          ['Status', call.status ?? call.fault ?? 'running'],
          ['Headers after', call.headersAt === undefined ? '…' : formatMs(call.headersAt)],
          ['Ended after', call.endedAt === undefined ? '…' : formatMs(call.endedAt)],
          ['Events', call.events.length],
        ]}
      />
      <div class="wire-columns">
        <section aria-label="Request">
          <h2>Request</h2>
          <RawRequest call={call} />
        </section>
        <section aria-label="Answer">
          <h2>Answer</h2>
          <AnswerView call={call} />
        </section>
      </div>
    </div>
  );
}

function NoCalls() {
  const { isBusy: busy, fault, run } = useAction();
  return (
    <div class="page">
      <h1>Wire</h1>
      <EmptyState example="Ask a short question" busy={busy.value} onTry={() => void run(askExample)}>
        What this page asks, in <a href="#/chat">Chat</a> or in Classify, is shown here as it went over the wire: the
        request, and each event with its time.
      </EmptyState>
      {fault.value && <Fault text={fault.value} />}
    </div>
  );
}

function RawRequest({ call: { method, path, body } }: { call: WireCall }) {
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
        <Code code={shortenImages(indentIfJson(body))} language="json" copied={() => body} />
      )}
    </>
  );
}

function AnswerView({ call }: { call: WireCall }) {
  const { events, text, answerHeaders, fault } = call;
  return (
    <>
      <details class="aside">
        <summary>{answerHeaders.length} headers</summary>
        <Facts class="headers" facts={answerHeaders} />
      </details>
      {fault && <p class="quiet">{fault}</p>}
      {text !== '' && <Code code={shortenImages(indentIfJson(text))} language="json" copied={() => text} />}
      {events.length > 0 && <EventsTable call={call} />}
    </>
  );
}
