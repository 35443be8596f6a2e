import type { Recording } from '../edge/recording.ts';
import { Code } from '../ui/code.tsx';
import { Facts } from '../ui/facts.tsx';
import { formatMs } from '../ui/format.ts';
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
      {events.length > 0 && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls has to be reached by the keyboard.
        <section class="events" tabIndex={0} aria-label="Events">
          <table>
            <thead>
              <tr>
                <th scope="col">At</th>
                <th scope="col">Event</th>
                <th scope="col">Data</th>
              </tr>
            </thead>
            <tbody>
              {events.map(({ at, name, data }, index) => (
                // biome-ignore lint/suspicious/noArrayIndexKey: events are only ever added at the end.
                <tr key={index}>
                  <td>{formatMs(at)}</td>
                  <td>
                    <code>{name}</code>
                  </td>
                  <td>
                    <code>{shorten(data)}</code>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </>
  );
}
