import { nameOf } from '../edge/models.ts';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatShare, formatUsd } from '../ui/format.ts';
import { answer, busy, formFault, labelsOf } from './form.ts';

export function Result() {
  const found = answer.value;
  return (
    <section class="result" aria-label="Result" aria-busy={busy.value}>
      {formFault.value && <Fault text={formFault.value} />}
      {found ? (
        <>
          <p class="result-labels">
            {labelsOf(found).map((label) => (
              <strong key={label}>{label}</strong>
            ))}
            {labelsOf(found).length === 0 && <span>none of them</span>}
          </p>
          <dl class="facts">
            <div>
              <dt>Cost</dt>
              <dd>{formatUsd(found.cost_usd)}</dd>
            </div>
            <div>
              <dt>Tokens</dt>
              <dd>
                {formatCount(
                  found.usage.input_tokens +
                    found.usage.cache_read_input_tokens +
                    found.usage.cache_creation_input_tokens,
                )}{' '}
                in, {formatCount(found.usage.output_tokens)} out
              </dd>
            </div>
            {found.confidence !== null && (
              <div>
                <dt>Votes that agree</dt>
                <dd>{formatShare(found.confidence)}</dd>
              </div>
            )}
          </dl>
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
