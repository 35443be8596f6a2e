import type { JSX } from 'preact';
import type { ClassifyAnswer } from '../../client/index.ts';
import { nameOf } from '../edge/models.ts';
import { Empty } from '../ui/empty.tsx';
import { Facts } from '../ui/facts.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatShare } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { answer, busy, classifySample, formFault, labelsOf } from './form.ts';
import { SAMPLES } from './samples.ts';

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
            {labelsOf(found).length === 0 && <span>none of these</span>}
          </p>
          <Facts facts={factsOf(found)} />
          <p class="quiet">
            {found.cached
              ? 'This text was classified before. It came from the edge’s cache, and was free.'
              : `Classified by ${nameOf(found.model)}. The same text is free for the next hour.`}
          </p>
        </>
      ) : (
        !formFault.value && (busy.value ? <p class="quiet result-empty">Classifying…</p> : <NoResult />)
      )}
    </section>
  );
}

function NoResult() {
  const [sample] = SAMPLES;
  return (
    <Empty example="Try it with a ticket" onTry={() => sample && void classifySample(sample)}>
      The label appears here: for a ticket, a review, or whatever else has to be sorted.
    </Empty>
  );
}

function factsOf({ cost_usd, usage, confidence }: ClassifyAnswer) {
  const input = usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens;
  return [
    ['Cost', <Usd key="cost" value={cost_usd} />],
    ['Tokens', `${formatCount(input)} in, ${formatCount(usage.output_tokens)} out`],
    ...(confidence === null ? [] : [['Agreement of votes', formatShare(confidence)]]),
  ] as [string, string | JSX.Element][];
}
