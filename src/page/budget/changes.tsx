import type { ChangeRow } from '../../edge/answers.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { formatDateAndTime } from '../ui/format.ts';
import { getLimitTitle } from './figures/limit-names.ts';

/** The account or group whose changes are listed. */
type ChangedObject = { account: string } | { group: string };

const createChangeColumns = (of: ChangedObject): readonly ListColumn<ChangeRow>[] => [
  { name: 'Time', kind: 'text', renderCell: ({ created_at }) => formatDateAndTime(created_at) },
  { name: 'Change', kind: 'text', renderCell: (row) => describeChange(row, of) },
  { name: 'By', kind: 'text', renderCell: ({ actor }) => actor.account ?? '(erased)' },
  { name: 'Request', kind: 'text', spare: true, renderCell: ({ request_id }) => <code>{request_id}</code> },
];

/** Lists what admins have changed about an account or a group. */
export function Changes({ of }: { of: ChangedObject }) {
  if (!hasPlugin('operator')) return null;
  return (
    <section class="stack" aria-labelledby="changes">
      <h3 id="changes">Changes by admins</h3>
      <PolledList<ChangeRow>
        name="Changes"
        path="/changes"
        query={of}
        columns={createChangeColumns(of)}
        row={{ getKey: ({ id }) => id }}
        empty="No changes in the last 90 days."
      />
    </section>
  );
}

/** @returns the change in words, with the name of what was changed unless the list is about it */
function describeChange({ kind, subject, changes }: ChangeRow, of: ChangedObject): string {
  const isListed = 'account' in of ? subject.type === 'account' : subject.type === 'group';
  const name = isListed || subject.id === null ? '' : ` ${subject.id}`;
  const fields = Object.entries(changes).map(
    ([field, { from, to }]) => `${getLimitTitle(field)}: ${formatValue(from)} → ${formatValue(to)}`,
  );
  return [`${kind}${name}`, ...fields].join(', ');
}

function formatValue(value: unknown): string {
  if (value === null) return 'none';
  return typeof value === 'string' ? value : JSON.stringify(value);
}
