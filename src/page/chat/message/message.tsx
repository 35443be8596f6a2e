import type { Usage } from '@anthropic-ai/sdk/resources/messages';
import { type Signal, useSignal } from '@preact/signals';
import { memo } from 'preact/compat';
import type { ConversationMessage } from '../../../client/index.ts';
import { getModelDisplayName } from '../../edge/models.ts';
import { useEverySecond } from '../../ui/every-second.ts';
import { formatCount, formatExactTime } from '../../ui/format.ts';
import { Markdown } from '../../ui/markdown/markdown.tsx';
import { Usd } from '../../ui/usd.tsx';
import { type ContentPart, joinTextParts } from '../session/content.ts';
import { findToolResults, getToolResults, type TranscriptEntry } from '../session/entries.ts';
import type { Session } from '../session/session.ts';
import { splitIntoRunSteps } from '../session/steps.ts';
import { describeMaxTokensCutOff } from './cut-off.ts';
import { MessageActions } from './message-actions.tsx';
import { MessageBlock } from './message-part.tsx';
import { NoTextNote, PauseNote } from './pause-note.tsx';
import { RunTimeline } from './run-timeline.tsx';
import { TokenCounts } from './token-counts.tsx';

const ENDING_NOTES: Record<string, string> = {
  stopped: 'Stopped. The text so far is kept.',
  interrupted: 'Interrupted. The text so far is kept.',
  unanswered: 'Interrupted before the response began. Ask again, or send another message.',
  refused: 'Claude declined to answer. Your next message is sent without this turn.',
  model_context_window_exceeded: 'Cut off, because the conversation fills the model’s context window.',
};

type ModelChoiceReason = Pick<NonNullable<ConversationMessage['chosen_by']>, 'label' | 'classifier'> & { why: string };

/** Shows a message. One of the history is rendered again only if its row, or a signal that it reads, has changed. */
export const Message = memo(MessageView, (before, next) => {
  const [old, entry] = [before.entry, next.entry];
  return entry.row !== undefined && entry.row === old.row && entry.key === old.key && next.session === before.session;
});

function MessageView({ entry, session }: { entry: TranscriptEntry; session: Session }) {
  const { role, row, stream, silence, isRefused = false } = entry;
  const isSummaryOpen = useSignal(false);
  // Read this signal to render again with each piece: the message object stays the same while it grows.
  if (stream) void session.growthCount.value;
  // Copy the blocks, which the client changes while they grow: a component skips a render if its props are the same objects. The
  // page displays blocks of kinds that the SDK's type does not have.
  const parts: readonly ContentPart[] = stream
    ? ((stream.message?.content ?? []) as unknown as ContentPart[]).map((part) => ({ ...part }))
    : entry.parts;
  const shown = parts.filter(({ type }) => type !== 'tool_result');
  const shownResults = getToolResults(session);
  const results = stream ? new Map([...shownResults, ...findToolResults([{ parts }])]) : shownResults;
  const isUnanswered = row?.status === 'interrupted' && row.content.length === 0;
  const why = isUnanswered ? 'unanswered' : (row?.status ?? '');
  const isCut = row?.stop_reason === 'max_tokens' && ENDING_NOTES[why] === undefined;
  const byItself = isCut
    ? describeMaxTokensCutOff(row.lowered_by, !!session.report.value?.agent)
    : ENDING_NOTES[row?.stop_reason ?? ''];
  const ending = isRefused
    ? ENDING_NOTES.refused
    : row && role === 'assistant'
      ? (ENDING_NOTES[why] ?? byItself)
      : undefined;
  const { stepsAbove = 0 } = entry;
  // After a pause, text belongs to the run's next step, even if the step has no tool call.
  const isNextStep = stepsAbove > 0 && shown.length > 0;
  const steps =
    role === 'assistant'
      ? (splitIntoRunSteps(parts) ?? (isNextStep ? [{ parts: shown, isOver: true }] : undefined))
      : undefined;
  const turn = row?.turn ?? stream?.turn;
  const answerer = stream?.message?.model ?? row?.model ?? entry.report?.steps.at(-1)?.model ?? entry.modelAbove;
  const model = answerer ?? session.report.value?.model ?? undefined;
  const getThinkingSpan = (part: ContentPart) => session.thoughts.findThinkingSpan(turn, parts.indexOf(part));
  if (!stream && shown.length === 0 && !isUnanswered && !silence && !isRefused) return null;
  return (
    <article class={`message ${role}`} data-live={stream !== undefined} aria-label={role === 'user' ? 'You' : 'Answer'}>
      {role === 'assistant' && (
        <header class="message-head">
          {/* Show the model only above the first of several answers. Screen readers read it for each answer. */}
          <span class={model !== undefined && model === entry.modelAbove ? 'unseen' : 'message-name'}>
            {getModelDisplayName(model ?? 'Answer')}
          </span>
          <MessageFigures entry={entry} session={session} />
        </header>
      )}
      <div class="message-body">
        {steps && (
          <RunTimeline
            steps={steps}
            stepsAbove={stepsAbove}
            model={model}
            turn={turn}
            session={session}
            results={results}
            getThinkingSpan={getThinkingSpan}
            isLive={stream !== undefined}
          />
        )}
        {(steps ? [] : shown).map((part, index) => (
          <MessageBlock
            // biome-ignore lint/suspicious/noArrayIndexKey: parts are only appended, so an index stays the same.
            key={index}
            part={part}
            result={results.get(String(part.id))}
            thought={getThinkingSpan(part)}
            plain={role === 'user'}
            growing={stream !== undefined && index === shown.length - 1}
          />
        ))}
        {stream && shown.length === 0 && (
          <p class="waiting">{session.hasArrived.value ? 'Waiting for the first word' : 'Sending'}</p>
        )}
        {silence && <NoTextNote silence={silence} session={session} />}
        {ending && <p class="quiet aside-note">{ending}</p>}
        {row?.stop_reason === 'pause_turn' && (
          <PauseNote reason={row.paused ?? undefined} session={session} isLast={session.rows.value.at(-1) === row} />
        )}
      </div>
      <footer class="message-foot">
        {stream && session.hasArrived.value && session.reconnectsAt.value !== undefined && (
          <ReconnectingNote at={session.reconnectsAt.value} />
        )}
        {entry.unsent && <p class="unsent">{entry.unsent}</p>}
        {role === 'assistant' && turn !== undefined && session.truncatedTurns.value.has(turn) && (
          <p class="quiet clipped">Generated without the oldest turns of the conversation</p>
        )}
        {row && <MessageActions row={row} session={session} getText={() => joinTextParts(shown)} />}
        {row && <SummaryLine id={row.id} session={session} isOpen={isSummaryOpen} />}
      </footer>
      {row && <SummaryText id={row.id} session={session} isOpen={isSummaryOpen} />}
    </article>
  );
}

/** Shows that the connection broke, and when the next attempt is made. @param at in milliseconds since 1970 */
function ReconnectingNote({ at: retryAt }: { at: number }) {
  useEverySecond();
  const seconds = Math.ceil((retryAt - Date.now()) / 1_000);
  return (
    <p class="reconnecting" role="status">
      Connection lost. {seconds > 0 ? `Reconnecting in ${seconds} s…` : 'Reconnecting…'}
    </p>
  );
}

interface SummaryProps {
  /** The id of the message after which it is shown, if there is one. */
  id: string;
  session: Session;
  isOpen: Signal<boolean>;
}

/**
 * Shows the line up to which messages were summarized. It is in the footer of a message, so that nothing moves when it appears.
 */
function SummaryLine({ id, session, isOpen }: SummaryProps) {
  const summary = session.summaries.value.get(id);
  if (!summary) return null;
  return (
    <button
      type="button"
      class="summary-line"
      aria-expanded={isOpen.value}
      aria-controls={isOpen.value ? `summary-${id}` : undefined}
      onClick={() => (isOpen.value = !isOpen.value)}
    >
      <span class="clipped">
        <Usd before="Summarized up to here · " value={summary.cost_usd} />
      </span>
    </button>
  );
}

/** Shows the text of a summary whose line is open. */
function SummaryText({ id, session, isOpen }: SummaryProps) {
  const summary = session.summaries.value.get(id);
  if (!summary || !isOpen.value) return null;
  const { content, model, created_at, isReplaced } = summary;
  return (
    <section class="summary-text" id={`summary-${id}`} aria-label="Summary of the messages above">
      <p class="quiet">
        {`By ${getModelDisplayName(model)}, ${formatExactTime(created_at)}. `}
        {isReplaced
          ? 'A newer summary is now sent instead of this one.'
          : 'This summary is sent instead of the messages above, which remain in the conversation.'}
      </p>
      {content === '' ? <p class="quiet">The text of this summary is not available.</p> : <Markdown text={content} />}
    </section>
  );
}

/** @returns how the model was chosen, from the header of a response */
function parseModelChoiceReason(header: string): ModelChoiceReason {
  const parsePart = (name: string) => new RegExp(`; ${name}=([^;]+)`).exec(header)?.[1];
  const label = parsePart('label');
  const [why = '', classifier = null] = [parsePart('why'), parsePart('classifier')];
  return { why, label: label === undefined ? null : decodeURIComponent(label), classifier };
}

/** Explains shortly why the agent has chosen this model. */
function ModelChoiceNote({ reason: { why, label, classifier } }: { reason: ModelChoiceReason }) {
  const noLabel = why === 'failed' ? 'no label' : 'as asked';
  return <span title={[why, classifier].filter(Boolean).join(', ')}>{`model: ${label ?? noLabel}`}</span>;
}

/**
 * Shows the tokens of an answer; of one without a message, whose actions show no cost, also its cost. The line is rendered from
 * the start, so that nothing moves when the numbers arrive.
 */
function MessageFigures({ entry: { row, stream, report }, session }: { entry: TranscriptEntry; session: Session }) {
  if (stream) void session.growthCount.value;
  const usage = row?.usage ?? stream?.message?.usage ?? report?.steps.at(-1)?.usage;
  const lowered = stream?.headers?.get('sluice-max-tokens');
  const header = stream?.headers?.get('sluice-model-chosen');
  const reason = row?.chosen_by ?? (header ? parseModelChoiceReason(header) : undefined);
  if (!usage) return <span class="figures" />;
  return (
    <span class="figures">
      <TokenCounts usage={usage as Partial<Usage>} isGrowing={stream !== undefined} />
      {report && <Usd value={report.cost_usd} />}
      {reason && <ModelChoiceNote reason={reason} />}
      {lowered && <span>output limited to {formatCount(Number(lowered))} tokens by the budget</span>}
    </span>
  );
}
