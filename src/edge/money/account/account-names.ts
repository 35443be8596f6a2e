import type { Bindings } from '../../kit/objects/bindings.ts';
import { EdgeObject } from '../../kit/objects/edge-object.ts';
import type { Page, PageOf } from '../../kit/objects/page.ts';
import type { VersionRow } from '../../named/versions/versions-answers.schema.ts';
import type { NameRow, NewVersion, PointedVersion, PutAnswer, VersionId } from '../contracts/account.ts';
import { AccountState, ALARM_GRAIN_MS } from './account-state.ts';

/** What is stored by name in an account: the methods of its object about names and their versions. */
export abstract class AccountNames extends EdgeObject {
  protected state: AccountState;

  constructor(ctx: DurableObjectState, env: Bindings) {
    super(ctx, env, ALARM_GRAIN_MS);
    this.state = new AccountState(ctx, this.around);
  }

  /** Stores a version, and makes its name point to it. */
  async putVersion(version: NewVersion): Promise<PutAnswer> {
    const now = this.state.advance();
    const outcome = this.state.versions.put(
      version,
      now,
      this.state.storage.roomForVersions(this.state.limits.limits, now),
    );
    return await this.#published(version, outcome);
  }

  /** Makes a name point to an earlier version. */
  async pointVersion(id: PointedVersion): Promise<PutAnswer> {
    return await this.#published(id, this.state.versions.point(id, this.state.advance()));
  }

  /** Removes a name. Its versions stay for those who hold them. */
  async removeName(kind: string, name: string): Promise<PutAnswer> {
    return await this.#published({ kind, name }, this.state.versions.remove(kind, name, this.state.advance()));
  }

  /** Takes a version back from everybody, holders too. */
  async withdrawVersion(id: VersionId): Promise<PutAnswer> {
    return await this.#published(id, this.state.versions.withdraw(id, this.state.advance()));
  }

  async #published({ kind, name }: Omit<VersionId, 'hash'>, outcome: PutAnswer['outcome']): Promise<PutAnswer> {
    if (outcome !== 'stored') return { outcome };
    const published = await this.state.publisher.publish(kind, name);
    return { outcome, published, pointer: this.state.versions.pointer(kind, name) };
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
  storedNames(kind: string, page: PageOf): NameRow[] {
    return this.state.versions.names(kind, page);
  }

  /** @returns a page of the versions of a name, newest first. */
  versionHistory(kind: string, name: string, page: PageOf): Page<VersionRow> | undefined {
    return this.state.versions.history(kind, name, page);
  }

  /** @returns every version of a name, in the form of the ledger: `name@hash`. */
  versionsOf(kind: string, name: string): string[] {
    return this.state.versions.versionsOf(kind, name);
  }

  /** Keeps a version for a holder, even after its name is removed. @returns false if there is no such version */
  retainVersion(id: VersionId, holder: string): boolean {
    return this.state.versions.hold(id, holder);
  }

  async releaseVersion(id: VersionId, holder: string): Promise<void> {
    this.state.versions.release(id, holder);
    await this.state.publisher.publish(id.kind, id.name);
  }
}
