import { useSignal } from '@preact/signals';
import { useEffect } from 'preact/hooks';
import { PrefixDialog } from '../chat/composer/prefix-dialog.tsx';
import { prefixes, refreshPrefixes } from '../edge/account.ts';
import { edge, sentenceOf } from '../edge/client.ts';
import { Fault } from '../ui/fault.tsx';
import { formatCount, formatMoment } from '../ui/format.ts';

export function PrefixesTable() {
  const asks = useSignal(false);
  const fault = useSignal<string | undefined>(undefined);
  const attempt = (work: () => Promise<void>) => {
    fault.value = undefined;
    work().catch((thrown: unknown) => {
      fault.value = sentenceOf(thrown);
    });
  };
  useEffect(() => {
    refreshPrefixes().catch((thrown: unknown) => {
      fault.value = sentenceOf(thrown);
    });
  }, [fault]);
  return (
    <div class="stack">
      <p class="row">
        <button type="button" class="button small" onClick={() => (asks.value = true)}>
          New prefix
        </button>
        <span class="quiet">What an admin stores is for everybody.</span>
      </p>
      {fault.value && <Fault text={fault.value} />}
      {prefixes.value.length > 0 && (
        <div class="table-frame">
          <table class="table">
            <thead>
              <tr>
                <th scope="col">Prefix</th>
                <th scope="col">Version</th>
                <th scope="col">Bytes</th>
                <th scope="col">Changed</th>
                <th scope="col">
                  <span class="unseen">Delete</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {prefixes.value.map(({ name, version, bytes, updated_at }) => (
                <tr key={name}>
                  <th scope="row">{name}</th>
                  <td>
                    <code title={version}>{version.split('@')[1]?.slice(0, 8)}</code>
                  </td>
                  <td>{formatCount(bytes)}</td>
                  <td>{formatMoment(updated_at)}</td>
                  <td>
                    <button
                      type="button"
                      class="button small plain"
                      onClick={() =>
                        attempt(async () => {
                          await edge().prefixes.delete(name);
                          await refreshPrefixes();
                        })
                      }
                    >
                      Delete
                    </button>
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {asks.value && <PrefixDialog onClose={() => (asks.value = false)} onStored={() => (asks.value = false)} />}
    </div>
  );
}
