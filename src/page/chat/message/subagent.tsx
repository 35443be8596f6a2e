import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { ConversationMessage, ConversationRow } from '../../../client/index.ts';
import { useAction } from '../../edge/async-action.ts';
import { edge } from '../../edge/client.ts';
import { Fault } from '../../ui/fault.tsx';
import { Usd } from '../../ui/usd.tsx';
import { partsOf } from '../session/content.ts';
import { MessagePart } from './message-part.tsx';

interface SubagentProps {
  /** The id of the conversation whose run has made the call. */
  parent: string;
  /** The id of the call. */
  call: string;
}

const MOST_SUBAGENTS = 1_000;

/** Shows what a subagent has said, and what it cost. For the call of another tool it shows nothing. */
export function Subagent({ parent, call }: SubagentProps) {
  const { fault, run } = useAction();
  const read = useSignal<{ row: ConversationRow; said: ConversationMessage[] } | undefined>(undefined);
  useEffect(() => {
    void run(async () => {
      const { data } = await edge().conversations.list({ parent, limit: MOST_SUBAGENTS });
      const row = data.find(({ tool_use_id }) => tool_use_id === call);
      if (!row) return;
      const messages = await edge().conversations.messages(row.id, { view: 'shown' });
      read.value = { row, said: messages.data.filter(({ role }) => role === 'assistant') };
    });
  }, [parent, call, run, read]);
  if (fault.value) return <Fault text={fault.value} />;
  if (!read.value) return null;
  const { row, said } = read.value;
  const parts = said.flatMap(({ content }) => partsOf(content)).filter(({ type }) => type !== 'mcp_tool_result');
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
        // biome-ignore lint/suspicious/noArrayIndexKey: what it has said does not change its place.
        <MessagePart key={index} part={part} />
      ))}
    </section>
  );
}
