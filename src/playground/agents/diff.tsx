import { sentenceCase } from '../ui/format.ts';
import { type DiffRow, diffLines } from './diff-lines.ts';

/** So many equal lines stand before and behind what differs. */
const CONTEXT_LINES = 2;

interface DiffProps {
  /** Texts by their names. */
  before: ReadonlyMap<string, string>;
  after: ReadonlyMap<string, string>;
}

/** Shows where texts of the same names differ, line by line: the old lines left, the new ones right. */
export function Diff({ before, after }: DiffProps) {
  const members = [...new Set([...before.keys(), ...after.keys()])];
  const changed = members.filter((member) => before.get(member) !== after.get(member));
  if (changed.length === 0) return <p class="quiet">These two are equal.</p>;
  return (
    <>
      {changed.map((member) => (
        <section key={member} class="diff" aria-label={member}>
          <h3>{sentenceCase(member)}</h3>
          <div class="diff-rows">
            {shownOf(diffLines(before.get(member) ?? '', after.get(member) ?? '')).map((shown) =>
              'row' in shown ? (
                <DiffLine key={shown.at} row={shown.row} />
              ) : (
                <p key={shown.at} class="quiet diff-left-out">
                  {shown.leftOut} equal {shown.leftOut === 1 ? 'line' : 'lines'}
                </p>
              ),
            )}
          </div>
        </section>
      ))}
    </>
  );
}

/** A row that is shown, or how many equal rows are left out before it. */
type ShownRow = { at: number } & ({ row: DiffRow } | { leftOut: number });

/** @returns the rows that differ, with some equal ones around them */
function shownOf(rows: readonly DiffRow[]): ShownRow[] {
  const near = new Uint8Array(rows.length);
  for (const [at, row] of rows.entries()) {
    if (!isUnchanged(row)) near.fill(1, Math.max(0, at - CONTEXT_LINES), at + CONTEXT_LINES + 1);
  }
  const shown: ShownRow[] = [];
  for (const [at, row] of rows.entries()) {
    const last = shown.at(-1);
    if (near[at]) shown.push({ at, row });
    else if (last && 'leftOut' in last) last.leftOut += 1;
    else shown.push({ at, leftOut: 1 });
  }
  return shown;
}

function DiffLine({ row }: { row: DiffRow }) {
  const { left, right } = row;
  if (isUnchanged(row)) {
    return (
      <>
        <span>{left}</span>
        <span aria-hidden="true">{right}</span>
      </>
    );
  }
  return (
    <>
      {left === undefined ? <span /> : <del>{left}</del>}
      {right === undefined ? <span /> : <ins>{right}</ins>}
    </>
  );
}

function isUnchanged({ left, right }: DiffRow): boolean {
  return left === right;
}
