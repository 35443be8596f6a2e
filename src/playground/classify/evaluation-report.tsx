import type { Evaluation } from '../../client/index.ts';
import { nameOf } from '../edge/models.ts';
import { Facts } from '../ui/facts.tsx';
import { formatShare } from '../ui/format.ts';
import { Usd } from '../ui/usd.tsx';
import { ConfusionMatrix } from './confusion-matrix.tsx';

type Report = Evaluation['candidates'][number];

export function EvaluationReport({ report }: { report: Report }) {
  const { accuracy, macro_f1, cost_per_thousand_usd, confusion, mistakes, skipped } = report;
  return (
    <div class="stack report">
      <h3>
        {report.version.split('@')[0]} by {nameOf(report.model)}
      </h3>
      <Facts
        facts={[
          ['Accuracy', accuracy === null ? 'unknown' : formatShare(accuracy)],
          ['Macro F1', macro_f1 === null ? 'unknown' : macro_f1.toFixed(2)],
          [
            'Cost per thousand',
            cost_per_thousand_usd === null ? 'unknown' : <Usd key="cost" value={cost_per_thousand_usd} />,
          ],
        ]}
      />
      {confusion && <ConfusionMatrix rows={confusion} />}
      {mistakes.length > 0 && (
        <details class="aside">
          <summary>
            {mistakes.length} {mistakes.length === 1 ? 'mistake' : 'mistakes'}
          </summary>
          <ul class="stack mistakes">
            {mistakes.map(({ id, input, expected, given }) => (
              <li key={id}>
                <span>{input}</span>
                <span class="quiet">
                  Expected {expected.join(', ') || 'none'}, got {given?.join(', ') || 'nothing valid'}
                </span>
              </li>
            ))}
          </ul>
        </details>
      )}
      {skipped.length > 0 && (
        <p class="quiet">
          {skipped.length} skipped: {skipped[0]?.error.message}
        </p>
      )}
    </div>
  );
}
