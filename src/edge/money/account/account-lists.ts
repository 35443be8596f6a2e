import type { ConversationRow } from '../../conversations/object/conversations-answers.schema.ts';
import { EdgeObject } from '../../durable/edge-object.ts';
import type { ConversationPageSelection, Page, PageSelection } from '../../durable/page.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import type { VersionRow } from '../../registry/versions/versions-answers.schema.ts';
import type { AccountObject, NameRow, NewVersion, PointedVersion, PutAnswer, VersionId } from '../contracts/account.ts';
import type {
  FileDescription,
  FileRow,
  OwnedResource,
  UploadDecision,
  UploadReport,
  UploadRequest,
} from '../contracts/ownership.ts';
import type { ConversationReport } from '../contracts/settlement.ts';
import { conversationsOf } from '../ledger/queries.ts';
import type { MessageBatch } from '../lists/batches-answers.schema.ts';
import { AccountState, ALARM_GRAIN_MS } from './account-state.ts';
import { answerByPlugin } from './hooks.ts';
import { endUpload } from './maintain-files.ts';

/**
 * What an account has lists of: the methods of its object about names and their versions, conversations, batches, inboxes, and what
 * it has made at upstreams. What only a plugin can do is answered by its part.
 */
export abstract class AccountLists extends EdgeObject {
  protected state: AccountState;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env, ALARM_GRAIN_MS);
    this.state = new AccountState(ctx, this.services);
  }

  /** Stores a version, and makes its name point to it. */
  async putVersion(version: NewVersion): Promise<PutAnswer> {
    const now = this.state.advance();
    const outcome = this.state.versions.put(
      version,
      now,
      this.state.storage.leftForVersions(this.state.limits.limits, now),
    );
    return await this.#publish(version, outcome);
  }

  /** Makes a name point to an earlier version. */
  async pointVersion(id: PointedVersion): Promise<PutAnswer> {
    return await this.#publish(id, this.state.versions.point(id, this.state.advance()));
  }

  /** Removes a name. Its versions stay for those who hold them. */
  async removeName(kind: string, name: string): Promise<PutAnswer> {
    return await this.#publish({ kind, name }, this.state.versions.remove(kind, name, this.state.advance()));
  }

  /** Takes a version back from everybody, holders too. */
  async withdrawVersion(id: VersionId): Promise<PutAnswer> {
    return await this.#publish(id, this.state.versions.withdraw(id, this.state.advance()));
  }

  async #publish({ kind, name }: Omit<VersionId, 'hash'>, outcome: PutAnswer['outcome']): Promise<PutAnswer> {
    if (outcome !== 'stored') return { outcome };
    const published = await this.state.publisher.publish(kind, name);
    return { outcome, published, pointer: this.state.versions.pointer(kind, name) };
  }

  /**
   * Stores a version of a backup.
   *
   * @param at when it was stored where the backup was made; milliseconds since 1970
   * @param isCurrent whether its name points to it, if there is no such name here
   */
  async restoreVersion(version: NewVersion, at: number, isCurrent: boolean): Promise<PutAnswer> {
    const { state } = this;
    const now = state.advance();
    if (at <= state.erasedUntil) return { outcome: 'erased' };
    const bytes = state.storage.leftForVersions(state.limits.limits, now);
    return await this.#publish(version, state.versions.restore(version, Math.min(at, now), bytes, isCurrent));
  }

  /** @returns when a version was stored; milliseconds since 1970 */
  storedAt(id: VersionId): number | undefined {
    return this.state.versions.storedAt(id);
  }

  /** @returns the bytes of a version, which KV may not have yet. @param isAny whether it need not be current or pinned */
  readVersion(id: VersionId, isAny: boolean): Uint8Array | undefined {
    return this.state.versions.read(id, isAny);
  }

  /** @returns one name that is stored here, and the version that it points to. */
  storedName(kind: string, name: string): NameRow | undefined {
    return this.state.versions.name(kind, name);
  }

  /** @returns names in their order, one more than the limit if there are more. */
  storedNames(kind: string, page: PageSelection): NameRow[] {
    return this.state.versions.names(kind, page);
  }

  /** @returns a page of the versions of a name, newest first. */
  versionHistory(kind: string, name: string, page: PageSelection): Page<VersionRow> | undefined {
    return this.state.versions.history(kind, name, page);
  }

  /** Keeps a version for a holder, even after its name is removed. @returns false if there is no such version */
  retainVersion(id: VersionId, holder: string): boolean {
    return this.state.versions.hold(id, holder);
  }

  async releaseVersion(id: VersionId, holder: string): Promise<void> {
    this.state.versions.release(id, holder);
    await this.state.publisher.publish(id.kind, id.name);
  }

  /**
   * Notes a change of a conversation that no settlement has reported.
   *
   * @returns whether the conversation must be erased, because the account was erased after it began
   */
  noteConversation(report: ConversationReport): { erased: boolean } {
    this.state.advance();
    const erased = report.createdAt <= this.state.erasedUntil;
    this.state.storage.noteArrival(report.id);
    if (!erased) this.state.conversations.note(report, 0);
    else if (report.gone) this.state.conversations.forget(report.id);
    return { erased };
  }

  /**
   * @returns a page of the account's conversations, newest first. Subagents' conversations are listed only for a named
   * parent.
   */
  conversations(page: ConversationPageSelection): Page<ConversationRow> {
    const { ledger, budget, conversations } = this.state;
    return conversations.page(page, conversationsOf(ledger, budget.holds.keys()));
  }

  /** Releases the storage that was reserved for a conversation that was not created, or did not grow. */
  releaseStorage(conversation: string): void {
    this.state.storage.noteArrival(conversation);
  }

  /**
   * Notes an inbox of webhooks that this account pays for.
   *
   * @returns the time up to which the inbox must erase what came, because the account was erased; 0 for never
   */
  noteInbox(source: string): { erasedUntil: number } {
    return answerByPlugin('noteInbox', this.state, source);
  }

  /** Decides on a batch, and sets aside the most that its items can cost. With JSON texts, like `admitJson`. */
  admitBatchJson(order: string): ReturnType<AccountObject['admitBatchJson']> {
    return answerByPlugin('admitBatchJson', this.state, order);
  }

  /** Replaces the holds of a batch by what it cost. A repeated call changes nothing. */
  settleBatchJson(settlement: string): void {
    answerByPlugin('settleBatchJson', this.state, settlement);
  }

  /** Notes the state of a batch; null if it was deleted. */
  noteBatch(id: string, report: MessageBatch | null): void {
    answerByPlugin('noteBatch', this.state, id, report);
  }

  /** @returns a page of the account's batches, newest first. */
  batches(page: PageSelection): Page<MessageBatch> {
    return answerByPlugin('batches', this.state, page);
  }

  /** @returns the given ids that belong to the account, each with the upstream where it is. */
  ownership(ids: readonly string[]): OwnedResource[] {
    return this.state.ownership.find(ids);
  }

  /** Notes the files, containers and threads that an answer has made. */
  noteCreated(resources: readonly OwnedResource[]): void {
    const { ownership: list, alarm } = this.state;
    list.note(resources, this.state.advance());
    if (list.dueAt !== undefined) alarm.schedule(list.dueAt);
  }

  /** Sets bytes aside for a file. Repeating it for the same request changes nothing. */
  beginUpload(upload: UploadRequest): UploadDecision {
    return answerByPlugin('beginUpload', this.state, upload);
  }

  endUpload(report: UploadReport): void {
    this.state.advance();
    endUpload(this.state, report);
  }

  /** @returns a page of the account's files, newest first. */
  files(page: PageSelection): Page<FileRow> {
    return answerByPlugin('files', this.state, page);
  }

  /** Notes what the upstream says about a file that a tool has made. */
  describeFile(file: FileDescription): void {
    answerByPlugin('describeFile', this.state, file);
  }

  /** Notes that a file, container or thread is no longer there. */
  noteFileGone(id: string): void {
    this.state.ownership.noteGone(id);
  }
}
