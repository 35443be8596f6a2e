import type { Signal } from '@preact/signals';
import { nameOf } from '../../edge/models.ts';
import { formatStamp } from '../../ui/format.ts';
import { Markdown } from '../../ui/markdown.tsx';
import { Usd } from '../../ui/usd.tsx';
import type { Session } from '../session/session.ts';

interface SummaryProps {
  /** The id of the message behind which it stands, where one does. */
  id: string;
  session: Session;
  isOpen: Signal<boolean>;
}

/** Shows the line up to which messages were summarized. It stands in the foot of a message, so that nothing moves when it comes. */
export function SummaryLine({ id, session, isOpen }: SummaryProps) {
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
export function SummaryText({ id, session, isOpen }: SummaryProps) {
  const summary = session.summaries.value.get(id);
  if (!summary || !isOpen.value) return null;
  const { content, model, created_at, isReplaced } = summary;
  return (
    <section class="summary-text" id={`summary-${id}`} aria-label="Summary of the messages above">
      <p class="quiet">
        {`By ${nameOf(model)}, ${formatStamp(created_at)}. `}
        {isReplaced
          ? 'A newer summary goes up in its place now.'
          : 'It goes up in the place of the messages above, which stay here.'}
      </p>
      {content === '' ? <p class="quiet">Its words are not known here.</p> : <Markdown text={content} />}
    </section>
  );
}
