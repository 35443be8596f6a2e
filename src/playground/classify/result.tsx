import type { ClassifyAnswer } from '../../client/index.ts';
import { nameOf } from '../edge/models.ts';
import { Facts } from '../ui/facts.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatShare, formatUsd } from '../ui/format.ts';
import { answer, busy, formFault, labelsOf } from './form.ts';

export function Result() {
  const found = answer.value;
  return (
    <section class="panel result" aria-label="Result" aria-busy={busy.value}>
      {formFault.value && <Fault text={formFault.value} />}
      {found ? (
        <>
          <p class="result-labels">
            {labelsOf(found).map((label) => (
              <strong key={label}>{label}</strong>
            ))}
            {labelsOf(found).length === 0 && <span>none of them</span>}
          </p>
          <Facts facts={factsOf(found)} />
          <p class="quiet">
            {found.cached
              ? 'The same text was classified before: served from the edge’s cache, and free.'
              : `By ${nameOf(found.model)}. Asked again, the same text is free for an hour.`}
          </p>
        </>
      ) : (
        !formFault.value && (
          <p class="quiet result-empty">{busy.value ? 'Classifying…' : 'The label will stand here.'}</p>
        )
      )}
    </section>
  );
}

function factsOf({ cost_usd, usage, confidence }: ClassifyAnswer) {
  const input = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  return [
    ['Cost', formatUsd(cost_usd)],
    ['Tokens', `${formatCount(input)} in, ${formatCount(usage.output_tokens)} out`],
    ...(confidence === null ? [] : [['Votes that agree', formatShare(confidence)]]),
  ] as [string, string][];
}
