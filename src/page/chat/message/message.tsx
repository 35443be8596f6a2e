import { useSignal } from '@preact/signals';
import { memo } from 'preact/compat';
import { nameOf } from '../../edge/models.ts';
import { useEverySecond } from '../../ui/every-second.ts';
import { type Part, textOf } from '../session/content.ts';
import { type Entry, resultsIn, resultsOf } from '../session/entries.ts';
import type { Session } from '../session/session.ts';
import { stepsIn } from '../session/steps.ts';
import { Figures } from './figures.tsx';
import { MessageActions } from './message-actions.tsx';
import { MessagePart } from './message-part.tsx';
import { NoText, PauseNote } from './pause-note.tsx';
import { RunTimeline } from './run-timeline.tsx';
import { SummaryLine, SummaryText } from './summary.tsx';

const ENDINGS: Record<string, string> = {
  stopped: 'Stopped. The text so far is kept.',
  interrupted: 'Interrupted. The text so far is kept.',
  unanswered: 'Interrupted before anything was said. Ask again, or go on.',
  refused: 'Claude declined to answer. What you ask next leaves this turn out.',
  max_tokens: 'Cut off at your longest answer. Raise it under Options, or ask Claude to continue.',
  model_context_window_exceeded: 'Cut off: the conversation fills the model’s context window.',
};

interface MessageProps {
  entry: Entry;
  session: Session;
}

/** Shows a message. One of the history is rendered again only if its row, or a signal that it reads, has changed. */
export const Message = memo(MessageView, (before, next) => {
  const [old, entry] = [before.entry, next.entry];
  return entry.row !== undefined && entry.row === old.row && entry.key === old.key && next.session === before.session;
});

function MessageView({ entry, session }: MessageProps) {
  const { role, row, stream, silence } = entry;
  const isSummaryOpen = useSignal(false);
  // Reading this signal renders again: the message stays the same object while it grows.
  if (stream) void session.grown.value;
  const parts: readonly Part[] = stream ? ((stream.message?.content ?? []) as unknown as Part[]) : entry.parts;
  const shown = parts.filter(({ type }) => type !== 'tool_result');
  const known = resultsIn(session);
  const results = stream ? new Map([...known, ...resultsOf([{ parts }])]) : known;
  const isUnanswered = row?.status === 'interrupted' && row.content.length === 0;
  const why = isUnanswered ? 'unanswered' : (row?.status ?? '');
  const ending = row && role === 'assistant' ? (ENDINGS[why] ?? ENDINGS[row.stop_reason ?? '']) : undefined;
  const steps = role === 'assistant' ? stepsIn(parts) : undefined;
  const turn = row?.turn ?? stream?.turn;
  const answerer = stream?.message?.model ?? row?.model ?? silence?.step.model ?? entry.modelAbove;
  const model = answerer ?? session.report.value?.model ?? undefined;
  const thoughtOf = (part: Part) => session.thoughts.find(turn, parts.indexOf(part));
  if (!stream && shown.length === 0 && !isUnanswered && !silence) return null;
  return (
    <article class={`message ${role}`} data-live={stream !== undefined} aria-label={role === 'user' ? 'You' : 'Answer'}>
      {role === 'assistant' && (
        <header class="message-head">
          {/* Said once above answers that belong together. Who cannot see that they do hears it again. */}
          <span class={model !== undefined && model === entry.modelAbove ? 'unseen' : 'message-name'}>
            {nameOf(model ?? 'Answer')}
          </span>
          <Figures row={row} stream={stream} />
        </header>
      )}
      <div class="message-body">
        {steps && (
          <RunTimeline
            steps={steps}
            model={model}
            turn={turn}
            session={session}
            results={results}
            thoughtOf={thoughtOf}
            isLive={stream !== undefined}
          />
        )}
        {(steps ? [] : shown).map((part, index) => (
          <MessagePart
            // biome-ignore lint/suspicious/noArrayIndexKey: parts are only ever added at the end.
            key={index}
            part={part}
            result={results.get(String(part.id))}
            thought={thoughtOf(part)}
            plain={role === 'user'}
            growing={stream !== undefined && index === shown.length - 1}
          />
        ))}
        {stream && shown.length === 0 && (
          <p class="waiting">{session.arrived.value ? 'Waiting for the first word' : 'Sending'}</p>
        )}
        {silence && <NoText of={silence} session={session} />}
        {ending && <p class="quiet aside-note">{ending}</p>}
        {row?.stop_reason === 'pause_turn' && (
          <PauseNote reason={row.paused ?? undefined} session={session} isLast={session.rows.value.at(-1) === row} />
        )}
      </div>
      <footer class="message-foot">
        {stream && session.arrived.value && session.reconnectsAt.value !== undefined && (
          <Reconnecting at={session.reconnectsAt.value} />
        )}
        {entry.unsent && <p class="unsent">{entry.unsent}</p>}
        {role === 'assistant' && turn !== undefined && session.truncated.has(turn) && (
          <p class="quiet clipped">Sent without its oldest turns</p>
        )}
        {row && <MessageActions row={row} session={session} text={() => textOf(shown)} />}
        {row && <SummaryLine id={row.id} session={session} isOpen={isSummaryOpen} />}
      </footer>
      {row && <SummaryText id={row.id} session={session} isOpen={isSummaryOpen} />}
    </article>
  );
}

/** Says that the connection broke, and when it is tried again. @param at in milliseconds since 1970 */
function Reconnecting({ at }: { at: number }) {
  useEverySecond();
  const seconds = Math.ceil((at - Date.now()) / 1_000);
  return (
    <p class="reconnecting" role="status">
      Connection lost. {seconds > 0 ? `Reconnecting in ${seconds} s…` : 'Reconnecting…'}
    </p>
  );
}
