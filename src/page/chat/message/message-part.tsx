import { useEverySecond } from '../../ui/every-second.ts';
import { formatMilliseconds } from '../../ui/format.ts';
import { Icon } from '../../ui/icon.tsx';
import { Markdown } from '../../ui/markdown/markdown.tsx';
import { createImageUrl } from '../composer/attachments.ts';
import type { ContentPart } from '../session/content.ts';
import type { ThinkingSpan } from '../session/thinking-times.ts';

/** Thinking that took less time than this is called brief: its duration is mostly that of the network. */
const BRIEF_MS = 500;

interface MessageBlockProps {
  part: ContentPart;
  result?: ContentPart | undefined;
  /** When Claude thought it; undefined where this page has not seen that. */
  thought?: ThinkingSpan | undefined;
  /** Whether the text is shown as it was typed, without Markdown. */
  plain?: boolean;
  growing?: boolean;
}

function RunningThinkingTimer({ from: startedAt }: { from: number | undefined }) {
  useEverySecond();
  if (startedAt === undefined) return <>Thinking…</>;
  return <>Thinking… {Math.floor((performance.now() - startedAt) / 1_000)} s</>;
}

function describeThinkingTime(thought: ThinkingSpan | undefined): string {
  if (thought?.endedAt === undefined) return 'Thought';
  const ms = thought.endedAt - thought.startedAt;
  return ms < BRIEF_MS ? 'Thought briefly' : `Thought for ${formatMilliseconds(ms)}`;
}

interface Citation {
  cited_text?: unknown;
  document_title?: unknown;
  title?: unknown;
  source?: unknown;
  url?: unknown;
}

/** Shows what a text quotes, and from where. */
function Citations({ of: citations }: { of: unknown }) {
  if (!Array.isArray(citations) || citations.length === 0) return null;
  return (
    <>
      {(citations as Citation[]).map((citation) => (
        <blockquote key={JSON.stringify(citation)} class="quiet">
          {String(citation.cited_text ?? '')}
          <footer>{describeCitationSource(citation)}</footer>
        </blockquote>
      ))}
    </>
  );
}

function describeCitationSource({ document_title, title, source, url }: Citation): string {
  return String(document_title ?? title ?? source ?? url ?? 'A document without a title');
}

export function MessageBlock({ part, result, thought, plain = false, growing = false }: MessageBlockProps) {
  switch (part.type) {
    case 'text':
      return (
        <>
          {plain ? (
            <p class="typed" dir="auto">
              {String(part.text)}
            </p>
          ) : (
            <Markdown text={String(part.text)} />
          )}
          <Citations of={part.citations} />
        </>
      );
    case 'thinking':
      return (
        <details class="aside">
          <summary>
            {growing ? <RunningThinkingTimer from={thought?.startedAt} /> : describeThinkingTime(thought)}
          </summary>
          <p class="typed" dir="auto">
            {String(part.thinking) || 'Claude did not share this thinking.'}
          </p>
        </details>
      );
    case 'redacted_thinking':
      return <p class="quiet aside-note">This thinking is encrypted. Only Claude can read it.</p>;
    case 'image': {
      const address = createImageUrl(part);
      return address ? (
        <img class="picture" src={address} alt="Sent with the message" />
      ) : (
        <p class="quiet aside-note">This image is stored elsewhere.</p>
      );
    }
    case 'document':
      return (
        <p class="file">
          <Icon name="file" />
          {String(part.title ?? 'Document')}
        </p>
      );
    case 'tool_use':
    case 'server_tool_use':
      return (
        <details class="aside call">
          <summary>
            <Icon name="tool" />
            <code>{String(part.name)}</code>
            <span>{result || part.type === 'server_tool_use' ? 'called' : growing ? 'calling…' : 'no result yet'}</span>
          </summary>
          <dl>
            <dt class="quiet">Input</dt>
            <dd>
              <code>{JSON.stringify(part.input)}</code>
            </dd>
            {result && (
              <>
                <dt class="quiet">{result.is_error ? 'Error' : 'Result'}</dt>
                <dd>
                  <code>{typeof result.content === 'string' ? result.content : JSON.stringify(result.content)}</code>
                </dd>
              </>
            )}
          </dl>
        </details>
      );
    default:
      return (
        <details class="aside">
          <summary>
            <code>{part.type}</code>
          </summary>
          <pre class="raw">{JSON.stringify(part, undefined, 2)}</pre>
        </details>
      );
  }
}
