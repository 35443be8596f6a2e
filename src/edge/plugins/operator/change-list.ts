import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import { parseSettingsOnce } from '../../config/settings.ts';
import type { ListPage } from '../../durable/page.ts';
import { TableRowsBase } from '../../durable/rows.ts';
import { createTotalsTriggers } from '../../durable/totals.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import type { ChangeKind } from '../../money/changes/change-kinds.ts';
import type { ChangedFields, ChangeInTransit } from '../../money/changes/change-outbox.ts';
import type { ChangeRow, ChangeSubject } from '../../money/changes/changes-answers.schema.ts';
import type { ChangesPageQuery } from '../../money/contracts/account.ts';
import { callAccount } from '../../money/contracts/call-account.ts';

/** For how long changes are listed, and how many of them. */
const KEPT_MS = 90 * DAY_MS;
const MAX_CHANGES = 100_000;
/** How many rows one alarm deletes at most of each table. */
const DELETED_AT_ONCE = 1_000;
/** Milliseconds until the alarm deletes more. */
const CONTINUE_MS = 1_000;

/** `erased_names` has the accounts that were erased: a change of before may still be on its way here. */
const CHANGE_TABLES = `
  create table if not exists changes (
    id text primary key,
    at integer not null,
    request_id text not null,
    kind text not null,
    actor text,
    actor_token text,
    account text,
    pool_group text,
    subject text not null,
    changes text not null
  ) strict, without rowid;
  create index if not exists changes_by_time on changes (at, id);
  create index if not exists changes_by_kind on changes (kind, at, id);
  create index if not exists changes_by_actor on changes (actor, at, id) where actor is not null;
  create index if not exists changes_by_account on changes (account, at, id) where account is not null;
  create index if not exists changes_by_group on changes (pool_group, at, id) where pool_group is not null;
  create table if not exists erased_names (account text primary key, until integer not null) strict, without rowid;
  create index if not exists erased_names_by_time on erased_names (until);
  ${createTotalsTriggers('changes')}`;

type ChangeSqlRow = Record<string, SqlStorageValue> & {
  id: string;
  at: number;
  request_id: string;
  kind: ChangeKind;
  actor: string | null;
  actor_token: string | null;
  subject: string;
  changes: string;
};

/** Keeps what admins have changed, in the object of the deployment. */
class ChangeList extends TableRowsBase {
  readonly #state: AccountState;
  constructor(state: AccountState) {
    super(state.ledger.getPluginTables('changes', CHANGE_TABLES));
    this.#state = state;
  }

  /** Adds changes to the list. A change that is in the list already does not change. */
  recordChanges(changes: readonly ChangeInTransit[]): void {
    const now = this.#state.now();
    // Set the alarm before storing the changes, because the alarm deletes them after their retention.
    this.#state.alarm.scheduleAt(now + KEPT_MS);
    this.tables.runInTransaction(() => {
      for (const change of changes) this.#insertChange(change);
    });
    this.#deleteSurplus();
  }

  #insertChange({ id, at, by, kind, subject, changes }: ChangeInTransit): void {
    const account = subject.type === 'account' ? subject.id : (subject.account ?? null);
    const isOwnerErased = this.#isErased(account, at);
    const isActorErased = this.#isErased(by.account, at);
    const row = {
      id,
      at,
      request_id: by.request_id,
      kind,
      actor: isActorErased ? null : by.account,
      actor_token: isActorErased ? null : by.token,
      account: isOwnerErased ? null : account,
      pool_group: findGroup(subject, changes),
      subject: JSON.stringify(isOwnerErased ? toErasedSubject(subject) : subject),
      changes: JSON.stringify(changes),
    };
    this.tables.insertRow('changes', row, 'insert or ignore');
  }

  #isErased(account: string | null, at: number): boolean {
    return account !== null && this.tables.hasRows('erased_names where account = ? and until >= ?', account, at);
  }

  /** @returns a page of the changes, newest first. */
  listChanges({ account, group, actor, kind, from, to, ...page }: ChangesPageQuery): ListPage<ChangeRow> {
    const filters = [
      ['account = ', account],
      ['pool_group = ', group],
      ['actor = ', actor],
      ['kind = ', kind],
      ['at >= ', from],
      ['at < ', to],
    ] as const;
    const used = filters.filter(([, value]) => value !== undefined);
    const conditions = used.map(([condition], index) => `${condition}?${index + 3}`);
    const rows = this.tables.selectPage<ChangeSqlRow>(
      {
        select: `* from changes where ${['true', ...conditions].join(' and ')}`,
        order: ['at', 'id'],
        edge: 'select at, id from changes where id = ?1',
      },
      page,
      ...used.map(([, value]) => value ?? null),
    );
    return { ...rows, data: rows.data.map(toChangeRow) };
  }

  /** Removes the name of an erased account, and its tokens, from the changes up to a time. */
  eraseAccountNames(account: string, until: number): void {
    this.#state.alarm.scheduleAt(this.#state.now() + KEPT_MS);
    this.tables.runInTransaction(() => {
      this.tables.insertRow('erased_names', { account, until }, 'insert or replace');
      this.tables.runWriteStatement(
        'update changes set actor = null, actor_token = null where actor = ? and at <= ?',
        account,
        until,
      );
      this.tables.runWriteStatement(
        `update changes set account = null, subject = json_set(
           iif(json_type(subject, '$.account') is null, subject, json_set(subject, '$.account', null)), '$.id', null)
         where account = ? and at <= ?`,
        account,
        until,
      );
    });
  }

  /** Deletes expired changes, and sets the alarm for the others. */
  deleteExpired(): void {
    if (this.tables.areTablesMissing) return;
    const until = this.#state.now() - KEPT_MS;
    const expired = (id: string, table: string, time: string) =>
      `delete from ${table} where ${id} in (select ${id} from ${table} where ${time} <= ? order by ${time} limit ${DELETED_AT_ONCE})`;
    this.tables.runWriteStatement(expired('id', 'changes', 'at'), until);
    this.tables.runWriteStatement(expired('account', 'erased_names', 'until'), until);
    const oldest = this.tables.queryNumber(
      'select min(at) from (select min(at) as at from changes union all select min(until) from erased_names)',
    );
    if (oldest !== undefined) this.#state.alarm.scheduleAt(Math.max(oldest + KEPT_MS, this.#state.now() + CONTINUE_MS));
  }

  #deleteSurplus(): void {
    const surplus = this.tables.readTotals('changes').changes.count - MAX_CHANGES;
    if (surplus <= 0) return;
    this.tables.runWriteStatement(
      'delete from changes where id in (select id from changes order by at, id limit ?)',
      surplus,
    );
  }
}

const lists = new WeakMap<AccountState, ChangeList>();

/** @returns the list of changes in the object of the deployment */
export function getChangeList(state: AccountState): ChangeList {
  return getOrCreate(lists, state, () => new ChangeList(state));
}

/** Sends changes to the object that lists them. */
export async function sendToChangeList(env: Bindings, changes: readonly ChangeInTransit[]): Promise<void> {
  await callAccount(createTarget(env), (object) => object.recordChanges(JSON.stringify(changes)));
}

/** Removes the name of an erased account from all changes. */
export async function eraseNamesInChangeList(env: Bindings, account: string, until: number): Promise<void> {
  await callAccount(createTarget(env), (object) => object.eraseChangeNames(account, until));
}

function createTarget(env: Bindings) {
  return { identity: { account: DEPLOYMENT }, accounts: env, settings: parseSettingsOnce(env) };
}

/** @returns the group that a change concerns */
function findGroup({ type, id }: ChangeSubject, { group }: ChangedFields): string | null {
  if (type === 'group') return id;
  const name = group?.to ?? group?.from;
  return typeof name === 'string' ? name : null;
}

function toErasedSubject({ type, account }: ChangeSubject): ChangeSubject {
  return account === undefined ? { type, id: null } : { type, id: null, account: null };
}

function toChangeRow({ id, at, request_id, kind, actor, actor_token, subject, changes }: ChangeSqlRow): ChangeRow {
  return {
    type: 'change',
    id,
    created_at: new Date(at).toISOString(),
    request_id,
    kind,
    actor: { account: actor, token: actor_token },
    subject: JSON.parse(subject) as ChangeSubject,
    changes: JSON.parse(changes) as ChangedFields,
  };
}
