import type { Usage } from '@anthropic-ai/sdk/resources/messages';
import { useEffect } from 'preact/hooks';
import type { ConversationTurn } from '../../../client/index.ts';
import { getModelDisplayName } from '../../edge/models.ts';
import { formatMilliseconds } from '../../ui/format.ts';
import { Usd } from '../../ui/usd.tsx';
import type { ContentPart } from '../session/content.ts';
import type { Session } from '../session/session.ts';
import { isEdgeToolCall, type RunStep } from '../session/steps.ts';
import type { ThinkingSpan } from '../session/thinking-times.ts';
import { EdgeToolCall } from './edge-call.tsx';
import { MessageBlock } from './message-part.tsx';
import { TokenCounts } from './token-counts.tsx';

interface RunTimelineProps {
  steps: readonly RunStep[];
  /** How many steps it had before it paused. */
  stepsAbove: number;
  /** The model that is shown above the answer. A step names its own model only if it differs. */
  model: string | undefined;
  /** The id of the run's turn, once it is known. */
  turn: string | undefined;
  session: Session;
  results: ReadonlyMap<string, ContentPart>;
  /** Returns when Claude thought a block. */
  getThinkingSpan(part: ContentPart): ThinkingSpan | undefined;
  isLive: boolean;
}

/** Shows a run: each step with its figures, what was said in it, and its calls. */
export function RunTimeline({
  steps,
  stepsAbove: above,
  model,
  turn,
  session,
  results,
  getThinkingSpan: thoughtOf,
  isLive,
}: RunTimelineProps) {
  const over = steps.filter(({ isOver }) => isOver).length;
  // `stage` changes whenever a step ends, so that the effect below reads the report again.
  const stage = isLive ? `step ${steps.length}, ${over} over` : 'ended';
  useEffect(() => {
    if (stage === '' || turn === undefined) return;
    session.readRunReport(turn).catch((thrown: unknown) => session.showFailure(thrown));
  }, [stage, turn, session]);
  const account = turn === undefined ? undefined : session.runReports.value.get(turn);
  // Skip failed steps: they were sent again and have no parts in the message.
  const ended = account?.steps.filter(({ status }) => status !== 'failed') ?? [];
  return (
    <ol class="stack run">
      {steps.map(({ parts }, index) => {
        const isLast = isLive && index === steps.length - 1;
        return (
          // biome-ignore lint/suspicious/noArrayIndexKey: steps are only appended, so an index stays the same.
          <li key={index} class="stack run-step" data-live={isLast}>
            <StepFigures number={above + index + 1} report={ended[index]} model={model} />
            {parts.map((part, at) =>
              isEdgeToolCall(part) ? (
                <EdgeToolCall
                  key={String(part.id)}
                  conversation={session.id}
                  part={part}
                  result={results.get(String(part.id))}
                  report={ended[index]?.calls.find(({ id }) => id === part.id)}
                  isLive={isLive}
                  isWaiting={session.approvals.value.some(({ tool_use_id }) => tool_use_id === part.id)}
                />
              ) : (
                <MessageBlock
                  // biome-ignore lint/suspicious/noArrayIndexKey: parts are only appended, so an index stays the same.
                  key={at}
                  part={part}
                  result={results.get(String(part.id))}
                  thought={thoughtOf(part)}
                  growing={isLast && at === parts.length - 1}
                />
              ),
            )}
          </li>
        );
      })}
    </ol>
  );
}

interface StepFiguresProps {
  number: number;
  report: ConversationTurn['steps'][number] | undefined;
  model: string | undefined;
}

/** The line is rendered from the start, so that nothing moves when the figures arrive. */
function StepFigures({ number, report, model }: StepFiguresProps) {
  const isOver = report !== undefined && report.status !== 'running';
  const name = report && getModelDisplayName(report.model);
  return (
    <p class="figures run-figures">
      <span class="run-number">Step {number}</span>
      {name !== undefined && (model === undefined || name !== getModelDisplayName(model)) && <span>{name}</span>}
      {isOver && (
        <>
          <TokenCounts usage={(report.usage ?? {}) as Partial<Usage>} />
          {report.ttft_ms !== null && (
            <span title="Time to the first byte">first byte after {formatMilliseconds(report.ttft_ms)}</span>
          )}
          <span class="cost">
            <Usd value={report.cost_usd} />
          </span>
        </>
      )}
    </p>
  );
}
