/** The kinds of changes by admins. */
export const CHANGE_KINDS = [
  'limits.updated',
  'credit.added',
  'account.blocked',
  'account.unblocked',
  'account.erased',
  'account.restored',
  'group.member_added',
  'group.member_removed',
  'token.minted',
  'token.revoked',
  'agent.stored',
  'agent.deleted',
  'agent.withdrawn',
  'classifier.stored',
  'classifier.deleted',
  'classifier.withdrawn',
  'prefix.stored',
  'prefix.deleted',
  'prefix.withdrawn',
  'event.replayed',
] as const;

export type ChangeKind = (typeof CHANGE_KINDS)[number];
