import { useSignal } from '@preact/signals';
import { useAction } from '../edge/async-action.ts';
import { token } from '../edge/client.ts';
import { askExample } from '../edge/example-question.ts';
import { type Recording, recorded, recordings } from '../edge/recording.ts';
import { announce } from '../ui/announcer.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Code } from '../ui/code.tsx';
import { Empty } from '../ui/empty.tsx';
import { Facts } from '../ui/facts.tsx';
import { Fault } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatClock, formatMs } from '../ui/format.ts';
import { Tabs } from '../ui/tabs.tsx';
import { EventsTable } from './events-table.tsx';
import { indent, shorten } from './shorten.ts';
import { snippetsOf } from './snippets.ts';

/** Shows the last calls as they went over the wire. */
export function Wire() {
  const chosen = useSignal<number | undefined>(undefined);
  // Reading this signal renders again: recordings grow in place.
  void recorded.value;
  const all = recordings.value;
  const recording = all.find(({ number }) => number === chosen.value) ?? all[0];
  if (!recording) return <NothingRecorded />;
  const snippets = snippetsOf(recording, location.origin, token.value !== undefined);
  return (
    <div class="page wire">
      <header class="apart page-head">
        <h1>Wire</h1>
        <div class="inline">
          <SmallButton
            name="Copy as curl"
            onClick={() => {
              const curl = snippets.find(({ name }) => name === 'curl')?.code ?? '';
              navigator.clipboard.writeText(curl).then(
                () => announce('Copied as curl.'),
                () => announce('Your browser did not allow copying. Copy it from the tab curl.'),
              );
            }}
          />
          <label class="inline">
            <span class="quiet">Call</span>
            <Select
              value={recording.number}
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
          ['Status', recording.status ?? recording.fault ?? 'running'],
          ['Headers after', recording.headersAt === undefined ? '…' : formatMs(recording.headersAt)],
          ['Ended after', recording.endedAt === undefined ? '…' : formatMs(recording.endedAt)],
          ['Events', recording.events.length],
        ]}
      />
      <div class="wire-columns">
        <section aria-label="Request">
          <h2>Request</h2>
          <Tabs
            label="Request as"
            tabs={[
              { name: 'Raw', content: () => <RawRequest recording={recording} /> },
              ...snippets.map(({ name, language, code }) => ({
                name,
                content: () => <Code code={shorten(code)} language={language} copied={() => code} />,
              })),
            ]}
          />
        </section>
        <section aria-label="Answer">
          <h2>Answer</h2>
          <AnswerView recording={recording} />
        </section>
      </div>
    </div>
  );
}

function NothingRecorded() {
  const { busy, fault, run } = useAction();
  return (
    <div class="page">
      <h1>Wire</h1>
      <Empty example="Ask a short question" busy={busy.value} onTry={() => void run(askExample)}>
        What this page asks, in <a href="#/chat">Chat</a> or in Classify, is shown here as it went over the wire: the
        request, each event with its time, and the same call as code.
      </Empty>
      {fault.value && <Fault text={fault.value} />}
    </div>
  );
}

function RawRequest({ recording: { method, path, body } }: { recording: Recording }) {
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
        <Code code={shorten(indent(body))} language="json" copied={() => body} />
      )}
    </>
  );
}

function AnswerView({ recording }: { recording: Recording }) {
  const { events, text, answerHeaders, fault } = recording;
  return (
    <>
      <details class="aside">
        <summary>{answerHeaders.length} headers</summary>
        <Facts class="headers" facts={answerHeaders} />
      </details>
      {fault && <p class="quiet">{fault}</p>}
      {text !== '' && <Code code={shorten(indent(text))} language="json" copied={() => text} />}
      {events.length > 0 && <EventsTable recording={recording} />}
    </>
  );
}
