import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import type { VersionRow } from '../../versions/versions-answers.schema.ts';
import { shortVersion } from '../edge/agents.ts';
import { useAction } from '../edge/async-action.ts';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { Select } from '../ui/form.tsx';
import { formatStamp } from '../ui/format.ts';
import { Diff } from './diff.tsx';
import { goBackTo, readVersion } from './list.ts';
import { membersOf } from './members.ts';

type Members = ReadonlyMap<string, string>;

/** Compares two versions of an agent, and makes the older one current again. */
export function Compare({ versions, onChanged }: { versions: readonly VersionRow[]; onChanged(): Promise<unknown> }) {
  const current = versions.find((row) => row.current) ?? versions[0];
  const before = useSignal(versions.find((row) => row !== current)?.version ?? '');
  const after = useSignal(current?.version ?? '');
  const read = useSignal<readonly [Members, Members] | undefined>(undefined);
  const done = useSignal('');
  const { busy, fault, run } = useAction();
  const [older, newer] = [before.value, after.value];
  useEffect(() => {
    let wanted = true;
    void run(async () => {
      const [left, right] = await Promise.all([readVersion(older), readVersion(newer)]);
      if (wanted) read.value = [membersOf(left), membersOf(right)];
    });
    return () => {
      wanted = false;
    };
  }, [older, newer, run, read]);
  const options = versions.map(
    (row) =>
      [
        row.version,
        `${shortVersion(row.version)} · ${formatStamp(row.created_at)}${row.current ? ' · current' : ''}`,
      ] as const,
  );
  const goBack = () =>
    run(async () => {
      await goBackTo(older);
      await onChanged();
      done.value = `Version ${shortVersion(older)} is current again.`;
    });
  return (
    <section class="stack" aria-labelledby="compare">
      <h2 id="compare">Compare versions</h2>
      <div class="fields wide">
        <label class="labelled">
          Before
          <Select value={older} options={options} onChoose={(version) => (before.value = version)} />
        </label>
        <label class="labelled">
          After
          <Select value={newer} options={options} onChoose={(version) => (after.value = version)} />
        </label>
      </div>
      {fault.value && <Fault text={fault.value} />}
      {read.value && <Diff before={read.value[0]} after={read.value[1]} />}
      <p role="status">{done.value}</p>
      {read.value && older !== current?.version && (
        <p class="row">
          <SmallButton
            name={`Go back to version ${shortVersion(older)}`}
            disabled={busy.value}
            onClick={() => void goBack()}
          />
          <span class="quiet">New conversations begin with it then. Every version is kept.</span>
        </p>
      )}
    </section>
  );
}
