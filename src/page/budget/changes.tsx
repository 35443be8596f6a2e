import type { ChangeRow } from '../../edge/answers.ts';
import { shortenVersionHash } from '../edge/agents.ts';
import { type ListColumn, PolledList } from '../edge/list.tsx';
import { hasPlugin } from '../edge/plugins.ts';
import { formatExactUsd, formatRowTime } from '../ui/format.ts';
import { Identifier } from '../ui/identifier.tsx';
import { formatLimitValue, getLimitTitle, isLimitName } from './figures/limit-names.ts';

/** The account or group whose changes are listed. */
type ChangedObject = { account: string } | { group: string };

const CHANGE_TITLES: Record<ChangeRow['kind'], string> = {
  'limits.updated': 'Limits changed',
  'credit.added': 'Credit given',
  'account.blocked': 'Account blocked',
  'account.unblocked': 'Account unblocked',
  'account.erased': 'Account erased',
  'account.restored': 'Account restored',
  'group.member_added': 'Added to a group',
  'group.member_removed': 'Removed from a group',
  'token.minted': 'Token created',
  'token.revoked': 'Token revoked',
  'agent.stored': 'Agent stored',
  'agent.deleted': 'Agent deleted',
  'agent.withdrawn': 'Agent version withdrawn',
  'classifier.stored': 'Classifier stored',
  'classifier.deleted': 'Classifier deleted',
  'classifier.withdrawn': 'Classifier version withdrawn',
  'prefix.stored': 'Prefix stored',
  'prefix.deleted': 'Prefix deleted',
  'prefix.withdrawn': 'Prefix version withdrawn',
  'event.replayed': 'Events replayed',
};

/** The titles of the changed fields that are not limits. Empty for ids that only the API needs. */
const FIELD_TITLES: Readonly<Record<string, string>> = {
  reason: 'Reason',
  message: 'Message for the user',
  credit: '',
  usd: 'Amount',
  expires_at: 'Expires',
  revoked_at: 'Revoked',
  all_revoked_at: 'All tokens revoked',
  scopes: 'Scopes',
  group: 'Group',
  limits: 'Limits',
  version: 'Version',
  pinned: 'Pinned versions',
  withdrawn: 'Withdrawn version',
  state: 'State',
  events: 'Number of events',
};

const createChangeColumns = (of: ChangedObject): readonly ListColumn<ChangeRow>[] => [
  { name: 'Time', kind: 'text', renderCell: ({ created_at }) => formatRowTime(created_at) },
  { name: 'Change', kind: 'text', renderCell: (row) => <ChangeText row={row} of={of} /> },
  { name: 'By', kind: 'text', renderCell: ({ actor }) => <Identifier id={actor.account ?? '(erased)'} /> },
  {
    name: 'Request',
    kind: 'text',
    spare: true,
    renderCell: ({ request_id }) => (
      <code>
        <Identifier id={request_id} />
      </code>
    ),
  },
];

/** Lists what admins have changed about an account or a group. */
export function Changes({ of }: { of: ChangedObject }) {
  if (!hasPlugin('operator')) return null;
  return (
    <section class="stack stacked change-rows" aria-labelledby="changes">
      <h3 id="changes">Changes by admins, last 90 days</h3>
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

/** Shows a change, with the name of what was changed unless the list is about it. Each changed field has its own line. */
function ChangeText({ row: { kind, subject, changes }, of }: { row: ChangeRow; of: ChangedObject }) {
  const isListed = 'account' in of ? subject.type === 'account' : subject.type === 'group';
  const name = isListed ? null : subject.id;
  return (
    <>
      {CHANGE_TITLES[kind]}
      {name !== null && (
        <>
          : <Identifier id={name} />
        </>
      )}
      {Object.entries(changes)
        .filter(([field]) => FIELD_TITLES[field] !== '')
        .map(([field, { from, to }]) => (
          <p key={field}>
            {FIELD_TITLES[field] ?? getLimitTitle(field)}: {describeFieldChange(field, from, to)}
          </p>
        ))}
    </>
  );
}

/** @returns the values before and after. Only a limit that did not exist before is worth a “none”. */
function describeFieldChange(field: string, from: unknown, to: unknown): string {
  const values = isLimitName(field) ? [from, to] : [from, to].filter((value) => value !== null);
  return values.map((value) => formatFieldValue(field, value)).join(' → ');
}

function formatFieldValue(field: string, value: unknown): string {
  if (value === null) return 'none';
  if (isLimitName(field)) return formatLimitValue(field, value);
  if (field === 'limits') return formatAllLimits(Object(value));
  if (field === 'usd') return formatExactUsd(Number(value));
  if (Array.isArray(value)) return value.map((one) => formatFieldValue(field, one)).join(', ');
  if (field === 'version' || field === 'pinned' || field === 'withdrawn') return shortenVersionHash(`@${value}`);
  if (field.endsWith('_at')) return formatRowTime(String(value));
  return String(value);
}

function formatAllLimits(limits: Readonly<Record<string, unknown>>): string {
  const all = Object.entries(limits).map(([name, value]) => `${getLimitTitle(name)} ${formatFieldValue(name, value)}`);
  return all.length === 0 ? 'none' : all.join(', ');
}
