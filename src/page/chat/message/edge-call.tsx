import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { ConversationMessage, ConversationRow, ConversationTurn } from '../../../client/index.ts';
import { useAsyncAction } from '../../edge/async-action.ts';
import { getClient } from '../../edge/client.ts';
import { isRestricted } from '../../edge/identity.ts';
import { FaultMessage } from '../../ui/fault.tsx';
import { formatBytes, formatMilliseconds } from '../../ui/format.ts';
import { Icon } from '../../ui/icon.tsx';
import { Usd } from '../../ui/usd.tsx';
import { type ContentPart, toContentParts } from '../session/content.ts';
import { formatToolResult } from '../session/steps.ts';
import { MessageBlock } from './message-part.tsx';

interface EdgeToolCallProps {
  conversation: string;
  part: ContentPart;
  result: ContentPart | undefined;
  /** The edge's report about the call. Undefined until its step has ended. */
  report: ConversationTurn['steps'][number]['calls'][number] | undefined;
  /** Whether the run continues, so that a call without a result is still running. */
  isLive: boolean;
  /** Whether the call waits for an approval. */
  isWaiting: boolean;
}

const MAX_SUBAGENTS = 1_000;

/** Shows a tool's call by the edge, which opens in place. */
export function EdgeToolCall({ conversation, part, result, report, isLive, isWaiting: waits }: EdgeToolCallProps) {
  const isOpen = useSignal(false);
  const failed = result?.is_error === true;
  const open = waits ? 'waiting for approval' : isLive ? 'running' : 'no result';
  const state = failed ? 'failed' : result ? 'done' : open;
  // Show duration and cost only after the final state: they follow the state in the same line and would move when it changes.
  const figures = result || !isLive ? report : undefined;
  return (
    <details
      class="aside call edge-call"
      data-state={failed ? 'failed' : result ? 'done' : waits ? 'waiting' : 'open'}
      onToggle={(event) => (isOpen.value = event.currentTarget.open)}
    >
      <summary>
        <Icon name="tool" />
        <code>{String(part.name)}</code>
        <span class="edge-call-state">{state}</span>
        <span class="edge-call-figures">
          {figures && figures.tries > 1 && <span>{figures.tries} tries</span>}
          {figures?.ms != null && <span>{formatMilliseconds(figures.ms)}</span>}
          {figures?.bytes ? <span>{formatBytes(figures.bytes)}</span> : null}
        </span>
      </summary>
      <dl>
        <dt class="quiet">Input</dt>
        <dd>
          <pre class="raw">{JSON.stringify(report?.input ?? part.input, undefined, 2)}</pre>
        </dd>
        {result && (
          <>
            <dt class="quiet">{failed ? 'Error' : 'Result'}</dt>
            <dd>
              <pre class="raw">{formatToolResult(result)}</pre>
            </dd>
          </>
        )}
      </dl>
      {isOpen.value && !isRestricted() && <SubagentConversation parent={conversation} call={String(part.id)} />}
    </details>
  );
}

interface SubagentConversationProps {
  /** The id of the conversation whose run has made the call. */
  parent: string;
  call: string;
}

/** Shows the answer of a subagent and its cost. For a call to another tool it shows nothing. */
function SubagentConversation({ parent, call }: SubagentConversationProps) {
  const { fault, run } = useAsyncAction();
  const read = useSignal<{ row: ConversationRow; messages: ConversationMessage[] } | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      const { data } = await getClient().conversations.list({ parent, limit: MAX_SUBAGENTS });
      const row = data.find(({ tool_use_id }) => tool_use_id === call);
      if (!row) return;
      const messages = await getClient().conversations.messages(row.id, { view: 'shown' });
      read.value = { row, messages: messages.data.filter(({ role }) => role === 'assistant') };
    });
  }, [parent, call, run, read]);
  if (fault.value) return <FaultMessage text={fault.value} />;
  if (!read.value) return null;
  const { row, messages } = read.value;
  const parts = messages
    .flatMap(({ content }) => toContentParts(content))
    .filter(({ type }) => type !== 'mcp_tool_result');
  return (
    <section class="stack subagent" aria-label="Subagent">
      <p class="figures run-figures">
        <span class="run-number">Subagent</span>
        <span>{row.state === 'running' ? 'answering…' : 'done'}</span>
        <span class="cost">
          <Usd value={row.cost_usd} />
        </span>
        <a href={`#/chat/${encodeURIComponent(row.id)}`}>Open</a>
      </p>
      {parts.map((part, index) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the parts of a stored message do not move.
        <MessageBlock key={index} part={part} />
      ))}
    </section>
  );
}
