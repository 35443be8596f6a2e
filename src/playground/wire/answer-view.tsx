import type { Recording } from '../edge/recording.ts';
import { Code } from '../ui/code.tsx';
import { Facts } from '../ui/facts.tsx';
import { EventsTable } from './events-table.tsx';
import { indent, shorten } from './shorten.ts';

export function AnswerView({ recording }: { recording: Recording }) {
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
