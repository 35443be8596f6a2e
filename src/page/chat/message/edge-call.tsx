import { useSignal } from '@preact/signals';
import type { ConversationTurn } from '../../../client/index.ts';
import { formatBytes, formatMs } from '../../ui/format.ts';
import { Icon } from '../../ui/icon.tsx';
import type { Part } from '../session/content.ts';
import { resultText } from '../session/steps.ts';
import { Subagent } from './subagent.tsx';

interface EdgeCallProps {
  /** The id of the conversation. */
  conversation: string;
  part: Part;
  result: Part | undefined;
  /** What the edge tells of it; not before its step has ended. */
  told: ConversationTurn['steps'][number]['calls'][number] | undefined;
  /** Whether the run goes on: what has no result is on its way. */
  isLive: boolean;
  /** Whether it is not made before somebody has approved it. */
  waits: boolean;
}

/** Shows a tool's call by the edge, which opens in place. */
export function EdgeCall({ conversation, part, result, told, isLive, waits }: EdgeCallProps) {
  const isOpen = useSignal(false);
  const failed = result?.is_error === true;
  const open = waits ? 'waiting for approval' : isLive ? 'running' : 'no result';
  const state = failed ? 'failed' : result ? 'done' : open;
  // They stand behind the state, and would move if they came before its last word.
  const figures = result || !isLive ? told : undefined;
  return (
    <details
      class="aside call edge-call"
      data-state={failed ? 'failed' : result ? 'done' : 'open'}
      onToggle={(event) => (isOpen.value = event.currentTarget.open)}
    >
      <summary>
        <Icon name="tool" />
        <code>{String(part.name)}</code>
        <span class="edge-call-state">{state}</span>
        <span class="edge-call-figures">
          {figures && figures.tries > 1 && <span>{figures.tries} tries</span>}
          {figures?.ms != null && <span>{formatMs(figures.ms)}</span>}
          {figures?.bytes ? <span>{formatBytes(figures.bytes)}</span> : null}
        </span>
      </summary>
      <dl>
        <dt class="quiet">Input</dt>
        <dd>
          <pre class="raw">{JSON.stringify(told?.input ?? part.input, undefined, 2)}</pre>
        </dd>
        {result && (
          <>
            <dt class="quiet">{failed ? 'Error' : 'Result'}</dt>
            <dd>
              <pre class="raw">{resultText(result)}</pre>
            </dd>
          </>
        )}
      </dl>
      {isOpen.value && <Subagent parent={conversation} call={String(part.id)} />}
    </details>
  );
}
