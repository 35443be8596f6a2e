import type { Evaluation } from '../../client/index.ts';
import { TableFrame } from '../ui/table.tsx';

type Rows = NonNullable<Evaluation['candidates'][number]['confusion']>;

const NONE = 'none';

/** Shows how often each label was given for each expected one. Darker is more often; the diagonal is right. */
export function ConfusionMatrix({ rows }: { rows: Rows }) {
  const columns = [...new Set(rows.flatMap(({ given }) => given.map(({ label }) => label)))];
  const unanswered = rows.some((row) => row.unanswered > 0);
  return (
    <TableFrame label="Given and expected labels">
      <table class="matrix">
        <caption>
          <span>Given</span>
        </caption>
        <thead>
          <tr>
            <th scope="col" class="corner">
              Expected
            </th>
            {columns.map((label) => (
              <th key={label} scope="col">
                {label ?? NONE}
              </th>
            ))}
            {unanswered && <th scope="col">no answer</th>}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ expected, given, unanswered: missing }) => {
            const total = given.reduce((sum, { count }) => sum + count, missing);
            const field = (key: string, count: number, right: boolean) => (
              <td key={key} data-right={right} style={{ '--share': total === 0 ? 0 : count / total }}>
                {count}
              </td>
            );
            return (
              <tr key={expected}>
                <th scope="row">{expected ?? NONE}</th>
                {columns.map((label) => {
                  const count = given.find((entry) => entry.label === label)?.count ?? 0;
                  return field(label ?? NONE, count, label === expected);
                })}
                {unanswered && field('no answer', missing, false)}
              </tr>
            );
          })}
        </tbody>
      </table>
    </TableFrame>
  );
}
