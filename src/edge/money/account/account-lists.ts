/** Lists what an account owns, so that no other account can read or delete it by its id. */

import { DEPLOYMENT } from '../../auth/identity/identity.ts';
import type { ConversationRow } from '../../conversations/object/conversations-answers.schema.ts';
import { EdgeDurableObject } from '../../durable/edge-object.ts';
import type { ConversationPageSelection, ListPage, PageSelection } from '../../durable/page.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { VersionRow } from '../../registry/versions/versions-answers.schema.ts';
import type { ChangeOrigin } from '../changes/change-origin.ts';
import { compareFields } from '../changes/change-outbox.ts';
import type { ChangeRow, VersionedKind } from '../changes/changes-answers.schema.ts';
import type {
  AccountObject,
  ChangesPageQuery,
  NewVersion,
  VersionChangeOutcome,
  VersionedNameRow,
  VersionId,
  VersionPointer,
  VersionToPointTo,
} from '../contracts/account.ts';
import type {
  FileDescription,
  FileRow,
  OwnedResource,
  UploadDecision,
  UploadReport,
  UploadRequest,
} from '../contracts/ownership.ts';
import type { ConversationReport } from '../contracts/settlement.ts';
import { findConversationsOfRequests } from '../ledger/queries.ts';
import type { MessageBatch } from '../lists/batches-answers.schema.ts';
import { AccountState, ALARM_GRAIN_MS } from './account-state.ts';
import { callAccountPluginMethod } from './hooks.ts';
import { recordUploadEnd } from './maintain-files.ts';

/**
 * The methods of an account's object about its lists: names and their versions, conversations, batches, inboxes, and resources
 * at upstreams. Methods that need a plugin call that plugin's part.
 */
export abstract class AccountListsBase extends EdgeDurableObject {
  protected state: AccountState;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env, ALARM_GRAIN_MS);
    this.state = new AccountState(ctx, this.services);
  }

  /** Stores a version, and makes its name point to it. @param by absent if the owner stores it, not an admin */
  async putVersion(version: NewVersion, by?: ChangeOrigin): Promise<VersionChangeOutcome> {
    const now = this.state.advanceBudgetToNow();
    const bytes = this.state.storage.computeBytesLeftForVersions(this.state.limits.effectiveLimits, now);
    return await this.#changeName(version, by, 'stored', () =>
      this.state.versions.storeAndPointTo(version, now, bytes),
    );
  }

  /** Makes a name point to an earlier version. @param by as for `putVersion` */
  async pointVersion(id: VersionToPointTo, by?: ChangeOrigin): Promise<VersionChangeOutcome> {
    const now = this.state.advanceBudgetToNow();
    return await this.#changeName(id, by, 'stored', () => this.state.versions.point(id, now));
  }

  /** Removes a name. Its versions stay for those who hold them. @param by as for `putVersion` */
  async removeName(kind: string, name: string, by?: ChangeOrigin): Promise<VersionChangeOutcome> {
    const now = this.state.advanceBudgetToNow();
    return await this.#changeName({ kind, name }, by, 'deleted', () => this.state.versions.remove(kind, name, now));
  }

  /** Takes a version back from everybody, holders too. @param by as for `putVersion` */
  async withdrawVersion(id: VersionId, by?: ChangeOrigin): Promise<VersionChangeOutcome> {
    const now = this.state.advanceBudgetToNow();
    return await this.#changeName(id, by, 'withdrawn', () => this.state.versions.withdrawVersion(id, now));
  }

  /** Changes what is stored under a name, records which admin has done so, and publishes the name. */
  async #changeName(
    ownedName: Omit<VersionId, 'hash'>,
    by: ChangeOrigin | undefined,
    action: 'stored' | 'deleted' | 'withdrawn',
    change: () => VersionChangeOutcome['outcome'],
  ): Promise<VersionChangeOutcome> {
    const { versions, changes, accountId = DEPLOYMENT } = this.state;
    const { kind, name } = ownedName;
    const before = by && versions.readNamePointer(kind, name);
    const outcome = change();
    if (before && outcome === 'stored') {
      const fields = compareFields(toPointerFields(before), toPointerFields(versions.readNamePointer(kind, name)));
      const subject = { type: kind as VersionedKind, id: name, account: accountId === DEPLOYMENT ? null : accountId };
      if (Object.keys(fields).length > 0)
        changes.recordChanges(by, [{ kind: `${subject.type}.${action}`, subject, changes: fields }]);
    }
    return await this.#publishNameToKv(ownedName, outcome);
  }

  async #publishNameToKv(
    { kind, name }: Omit<VersionId, 'hash'>,
    outcome: VersionChangeOutcome['outcome'],
  ): Promise<VersionChangeOutcome> {
    if (outcome !== 'stored') return { outcome };
    const published = await this.state.publisher.publishNameToKv(kind, name);
    return { outcome, published, pointer: this.state.versions.readNamePointer(kind, name) };
  }

  /**
   * Stores a version of a backup.
   *
   * @param at when it was stored where the backup was made; milliseconds since 1970
   * @param isCurrent whether its name points to it, if there is no such name here
   * @param by the admin who restores it
   */
  async restoreVersion(
    version: NewVersion,
    at: number,
    isCurrent: boolean,
    by?: ChangeOrigin,
  ): Promise<VersionChangeOutcome> {
    const { state } = this;
    const now = state.advanceBudgetToNow();
    if (at <= state.erasedUntil) return { outcome: 'erased' };
    const bytes = state.storage.computeBytesLeftForVersions(state.limits.effectiveLimits, now);
    return await this.#changeName(version, by, 'stored', () =>
      state.versions.restore(version, Math.min(at, now), bytes, isCurrent),
    );
  }

  /** @returns when a version was stored; milliseconds since 1970 */
  findVersionStoredAt(id: VersionId): number | undefined {
    return this.state.versions.findVersionStoredAt(id);
  }

  /** @returns the bytes of a version, which KV may not have yet. @param isAny whether it need not be current or pinned */
  readVersion(id: VersionId, isAny: boolean): Uint8Array | undefined {
    return this.state.versions.readVersionBytes(id, isAny);
  }

  /** @returns one name that is stored here, and the version that it points to. */
  findVersionedName(kind: string, name: string): VersionedNameRow | undefined {
    return this.state.versions.findVersionedName(kind, name);
  }

  /** @returns names in their order, one more than the limit if there are more. */
  listVersionedNames(kind: string, page: PageSelection): VersionedNameRow[] {
    return this.state.versions.listVersionedNames(kind, page);
  }

  /** @returns a page of the versions of a name, newest first. */
  listVersions(kind: string, name: string, page: PageSelection): ListPage<VersionRow> | undefined {
    return this.state.versions.listVersions(kind, name, page);
  }

  /** Keeps a version for a holder, even after its name is removed. @returns false if there is no such version */
  retainVersion(id: VersionId, holder: string): boolean {
    return this.state.versions.retainVersion(id, holder);
  }

  async releaseVersion(id: VersionId, holder: string): Promise<void> {
    this.state.versions.releaseVersion(id, holder);
    await this.state.publisher.publishNameToKv(id.kind, id.name);
  }

  /**
   * Records a change of a conversation that no settlement has reported.
   *
   * @returns whether the conversation must be erased, because the account was erased after it began
   */
  noteConversation(report: ConversationReport): { erased: boolean } {
    this.state.advanceBudgetToNow();
    const erased = report.createdAt <= this.state.erasedUntil;
    this.state.storage.dropExpectedBytes(report.id);
    if (!erased) this.state.conversations.storeReport(report, 0);
    else if (report.gone) this.state.conversations.deleteRow(report.id);
    return { erased };
  }

  /**
   * @returns a page of the account's conversations, newest first. Subagents' conversations are listed only for a named
   * parent.
   */
  listConversations(page: ConversationPageSelection): ListPage<ConversationRow> {
    const { ledger, budget, conversations } = this.state;
    return conversations.listConversations(page, findConversationsOfRequests(ledger, budget.holds.keys()));
  }

  /** Releases the storage that was reserved for a conversation that was not created, or did not grow. */
  releaseExpectedStorage(conversation: string): void {
    this.state.storage.dropExpectedBytes(conversation);
  }

  /**
   * Records an inbox of webhooks that this account pays for.
   *
   * @returns the time up to which the inbox must erase what came, because the account was erased; 0 for never
   */
  noteInbox(source: string): { erasedUntil: number } {
    return callAccountPluginMethod('noteInbox', this.state, source);
  }

  /** Decides on a batch, and sets aside the most that its items can cost. With JSON texts, like `admitJson`. */
  admitBatchJson(order: string): ReturnType<AccountObject['admitBatchJson']> {
    return callAccountPluginMethod('admitBatchJson', this.state, order);
  }

  /** Replaces the holds of a batch by what it cost. A repeated call changes nothing. */
  settleBatchJson(settlement: string): void {
    callAccountPluginMethod('settleBatchJson', this.state, settlement);
  }

  /** Records the state of a batch; null if it was deleted. */
  noteBatch(id: string, report: MessageBatch | null): void {
    callAccountPluginMethod('noteBatch', this.state, id, report);
  }

  /** @returns a page of the account's batches, newest first. */
  batches(page: PageSelection): ListPage<MessageBatch> {
    return callAccountPluginMethod('batches', this.state, page);
  }

  /** @returns the given ids that belong to the account, each with the upstream where it is. */
  ownership(ids: readonly string[]): OwnedResource[] {
    return this.state.ownership.findOwnedResources(ids);
  }

  /** @returns the given ids of files that the account has deleted, or that have expired */
  findDeletedFiles(ids: readonly string[]): string[] {
    return this.state.ownership.findDeletedFiles(ids);
  }

  /** Records the files, containers and threads that an answer has made. */
  recordCreatedResources(resources: readonly OwnedResource[]): void {
    const { ownership: list, alarm } = this.state;
    list.recordCreatedResources(resources, this.state.advanceBudgetToNow());
    if (list.findNextDueTime !== undefined) alarm.scheduleAt(list.findNextDueTime);
  }

  /** Sets bytes aside for a file. Repeating it for the same request changes nothing. */
  beginUpload(upload: UploadRequest): UploadDecision {
    return callAccountPluginMethod('beginUpload', this.state, upload);
  }

  endUpload(report: UploadReport): void {
    this.state.advanceBudgetToNow();
    recordUploadEnd(this.state, report);
  }

  /** @returns a page of the account's files, newest first. */
  files(page: PageSelection): ListPage<FileRow> {
    return callAccountPluginMethod('files', this.state, page);
  }

  /** Records what the upstream says about a file that a tool has made. */
  describeFile(file: FileDescription): void {
    callAccountPluginMethod('describeFile', this.state, file);
  }

  /** Records that a file, container or thread is no longer there. */
  recordFileDeletion(id: string): void {
    this.state.ownership.markDeleted(id);
  }

  /** Lists changes that admins have made to any account. Call this only on the deployment's object. @param changes as JSON */
  recordChanges(changes: string): void {
    callAccountPluginMethod('recordChanges', this.state, changes);
  }

  /** @returns a page of all changes, newest first. Call this only on the deployment's object */
  listChanges(query: ChangesPageQuery): ListPage<ChangeRow> {
    return callAccountPluginMethod('listChanges', this.state, query);
  }

  /** Removes the name of an erased account from all changes. Call this only on the deployment's object. */
  eraseChangeNames(account: string, until: number): void {
    callAccountPluginMethod('eraseChangeNames', this.state, account, until);
  }
}

function toPointerFields({ hash, pinned, withdrawn }: VersionPointer): object {
  return { version: hash || null, pinned: pinned.length > 0 ? pinned : null, withdrawn: withdrawn.at(-1) ?? null };
}
