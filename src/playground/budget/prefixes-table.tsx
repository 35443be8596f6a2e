import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { PrefixDialog } from '../chat/composer/prefix-dialog.tsx';
import { prefixes, refreshPrefixes } from '../edge/account.ts';
import { useAction } from '../edge/async-action.ts';
import { edge } from '../edge/client.ts';
import { Removals } from '../edge/removals.ts';
import { UndoNote } from '../edge/undo-note.tsx';
import { SmallButton } from '../ui/button.tsx';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';
import { Table } from '../ui/table.tsx';

const removed = new Removals();

function removePrefix(name: string): void {
  const finish = async () => {
    await edge().fetch(`/prefixes/${encodeURIComponent(name)}`, { method: 'DELETE', keepalive: true });
    await refreshPrefixes();
  };
  removed.remove(name, { finish });
}

/** Shows the stored prefixes, and lets the user add and delete some. */
export function PrefixesTable() {
  const asks = useSignal(false);
  const { fault, run } = useAction();
  const complaint = fault.value ?? removed.fault.value;
  useEffect(() => {
    void run(refreshPrefixes);
  }, [run]);
  return (
    <div class="stack">
      <p class="row">
        <button type="button" class="button small" onClick={() => (asks.value = true)}>
          New prefix
        </button>
        <span class="quiet">Everybody can use the prefixes that an admin stores.</span>
      </p>
      {complaint && <Fault text={complaint} />}
      {prefixes.value.length > 0 && (
        <Table label="Stored prefixes" columns={['Prefix', 'Version', 'Bytes', 'Changed']} action="Delete">
          {prefixes.value.map(({ name, version, bytes, updated_at }) => (
            <tr key={name} data-removed={removed.waiting.value.has(name) || undefined}>
              <th scope="row">{name}</th>
              <td>
                <code title={version}>{version.split('@')[1]?.slice(0, 8)}</code>
              </td>
              <td>{formatCount(bytes)}</td>
              <td>{formatMoment(updated_at)}</td>
              <td>
                {removed.waiting.value.has(name) ? (
                  <UndoNote removals={removed} of={name} title={name} />
                ) : (
                  <SmallButton name="Delete" onClick={() => removePrefix(name)} />
                )}
              </td>
            </tr>
          ))}
        </Table>
      )}
      {asks.value && <PrefixDialog onClose={() => (asks.value = false)} onStored={() => (asks.value = false)} />}
    </div>
  );
}
