import { nameOf } from '../../edge/models.ts';
import { type Part, textOf } from '../session/content.ts';
import { type Entry, entriesOf, resultsOf } from '../session/entries.ts';
import type { Session } from '../session/session.ts';
import { stepsIn } from '../session/steps.ts';
import { Figures } from './figures.tsx';
import { MessageActions } from './message-actions.tsx';
import { MessagePart } from './message-part.tsx';
import { PauseNote } from './pause-note.tsx';
import { RunTimeline } from './run-timeline.tsx';

const ENDINGS: Record<string, string> = {
  stopped: 'Stopped. What was said is kept.',
  interrupted: 'Interrupted. What was said is kept.',
  refused: 'Claude declined to answer. This turn is not sent again.',
  max_tokens: 'Ended by max_tokens: raise it, or ask to go on.',
  model_context_window_exceeded: 'Ended by the context window.',
};

export function Message({ entry, session }: { entry: Entry; session: Session }) {
  const { role, row, stream } = entry;
  // Reading this signal renders again: the message stays the same object while it grows.
  if (stream) void session.grown.value;
  const parts: readonly Part[] = stream ? ((stream.message?.content ?? []) as unknown as Part[]) : entry.parts;
  const shown = parts.filter(({ type }) => type !== 'tool_result');
  const results = resultsOf([...entriesOf(session), ...(stream ? [{ parts }] : [])]);
  const ending = row && role === 'assistant' ? (ENDINGS[row.status] ?? ENDINGS[row.stop_reason ?? '']) : undefined;
  const steps = role === 'assistant' ? stepsIn(parts) : undefined;
  const turn = row?.turn ?? stream?.turn;
  if (!stream && shown.length === 0) return null;
  return (
    <article class={`message ${role}`} aria-label={role === 'user' ? 'You' : 'Answer'}>
      {role === 'assistant' && (
        <header class="message-head">
          <span class="message-name">
            {nameOf(stream?.message?.model ?? row?.model ?? session.report.value?.model ?? 'Answer')}
          </span>
          <Figures row={row} stream={stream} />
        </header>
      )}
      <div class="message-body">
        {steps && (
          <RunTimeline steps={steps} turn={turn} session={session} results={results} isLive={stream !== undefined} />
        )}
        {(steps ? [] : shown).map((part, index) => (
          <MessagePart
            // biome-ignore lint/suspicious/noArrayIndexKey: parts are only ever added at the end.
            key={index}
            part={part}
            result={results.get(String(part.id))}
            plain={role === 'user'}
            growing={stream !== undefined && index === shown.length - 1}
          />
        ))}
        {stream && shown.length === 0 && (
          <p class="waiting">
            {session.connected.value ? 'Waiting for the first word' : 'The connection was lost: resuming'}
          </p>
        )}
        {ending && <p class="quiet aside-note">{ending}</p>}
        {row?.stop_reason === 'pause_turn' && (
          <PauseNote reason={row.paused ?? undefined} session={session} isLast={session.rows.value.at(-1) === row} />
        )}
      </div>
      <footer class="message-actions">
        {row && <MessageActions row={row} session={session} text={() => textOf(shown)} />}
      </footer>
    </article>
  );
}
