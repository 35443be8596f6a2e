import { formatCount, formatUsd } from '../../ui/format.ts';
import { counted } from './draft.ts';

/** Shows the tokens and the cost of the prompt, with history and prefix, before it is sent. */
export function DraftCount() {
  const count = counted.value;
  if (!count) return <p class="draft-count quiet" />;
  const { input_tokens, cost_usd, fits, context_window } = count;
  return (
    <p class="draft-count quiet" data-fits={fits !== false}>
      {fits === false
        ? `${formatCount(input_tokens)} tokens: the model takes ${formatCount(context_window ?? 0)}`
        : `${formatCount(input_tokens)} tokens${cost_usd ? ` · ${formatUsd(cost_usd.input)}` : ''} to ask`}
    </p>
  );
}
