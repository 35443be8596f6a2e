import type { ConversationRow } from '../../conversations/object/conversations-answers.schema.ts';
import type { ConversationPageSelection, Page, PageSelection } from '../../durable/page.ts';
import type { VersionRow } from '../../registry/versions/versions-answers.schema.ts';
import type {
  CreditRow,
  LedgerRequest,
  LedgerRow,
  ListedRequest,
  QuotaReport,
  TokenRow,
  UsageReport,
} from '../account/usage-answers.schema.ts';
import type { Limits, LimitsPatch, TokenLimits } from '../budget/limits.schema.ts';
import type { MessageBatch } from '../lists/batches-answers.schema.ts';
import type { CredentialUse, StoredHold } from './admission.ts';
import type {
  FileDescription,
  FileRow,
  OwnedResource,
  UploadDecision,
  UploadReport,
  UploadRequest,
} from './ownership.ts';
import type { ConversationReport } from './settlement.ts';

declare module '../../kit/plugins/bindings.ts' {
  interface Bindings {
    ACCOUNT: DurableObjectNamespace<AccountObject>;
  }
}

/** The methods of an account's object. The object says what each one does. */
export interface AccountObject extends Rpc.DurableObjectBranded {
  admitJson(request: string): string | Promise<string>;
  checkCallerJson(request: string): string;
  settleJson(settlement: string): string;
  renew(requestId: string, stage?: string, holdMs?: number): boolean;
  storedHold(requestId: string): StoredHold | undefined;
  quota(defaults?: Limits, jti?: string): QuotaReport;
  setLimits(limits: Limits | null): void;
  getGroup(): string | null;
  setGroup(group: string | null): void;
  reportTo(pool: string): Promise<void>;
  patchLimits(patch: LimitsPatch): void;
  giveCredit(credit: NewCredit): CreditAnswer;
  credits(page: PageSelection, defaults?: Limits): Page<CreditRow>;
  markListed(): void;
  isListed(): boolean;
  releaseStorage(conversation: string): void;
  erase(until?: number): Promise<Erasure>;
  erasedUntil(): number;
  backupJson(id: string): string;
  restoreJson(backup: string, digest: string, merges: boolean): RestoreOutcome;

  usage(query: UsageQuery): UsageReport;
  requests(page: PageSelection, filter?: RequestsFilter): Page<ListedRequest>;
  request(id: string): LedgerRequest | undefined;
  requestAtUpstream(upstreamId: string, only?: 'failed'): LedgerRequest | undefined;
  isKnown(): boolean;
  exportRows(cursor?: string, limit?: number): { rows: LedgerRow[]; next: string | null };

  conversations(page: ConversationPageSelection): Page<ConversationRow>;
  noteConversation(report: ConversationReport): { erased: boolean };
  noteInbox(source: string): { erasedUntil: number };

  admitBatchJson(order: string): string | Promise<string>;
  settleBatchJson(settlement: string): void;
  noteBatch(id: string, report: MessageBatch | null): void;
  batches(page: PageSelection): Page<MessageBatch>;
  ownership(ids: readonly string[]): OwnedResource[];
  noteCreated(resources: readonly OwnedResource[]): void;
  beginUpload(upload: UploadRequest): UploadDecision;
  endUpload(report: UploadReport): void;
  files(page: PageSelection): Page<FileRow>;
  describeFile(file: FileDescription): void;
  noteFileGone(id: string): void;

  tokens(page?: PageSelection): Page<TokenRow>;
  rememberToken(minted: MintedToken): boolean;
  revokeToken(jti: string): void;
  revokeAll(): void;
  isRevoked(token: CredentialUse | undefined, countedRead?: string): boolean | string;

  putVersion(version: NewVersion): Promise<PutAnswer>;
  pointVersion(id: PointedVersion): Promise<PutAnswer>;
  removeName(kind: string, name: string): Promise<PutAnswer>;
  withdrawVersion(id: VersionId): Promise<PutAnswer>;
  restoreVersion(version: NewVersion, at: number, isCurrent: boolean): Promise<PutAnswer>;
  storedAt(id: VersionId): number | undefined;
  readVersion(id: VersionId, isAny: boolean): Uint8Array | undefined;
  storedName(kind: string, name: string): NameRow | undefined;
  storedNames(kind: string, page: PageSelection): NameRow[];
  versionHistory(kind: string, name: string, page: PageSelection): Page<VersionRow> | undefined;
  retainVersion(id: VersionId, holder: string): boolean;
  releaseVersion(id: VersionId, holder: string): Promise<void>;
}

/**
 * What came of the restore of an account. `used`: it has spent something here, or was given something; `held`: a request of it
 * is running; `erased`: it was erased after the backup was made.
 */
export type RestoreOutcome = 'restored' | 'unchanged' | 'used' | 'held' | 'erased';

export interface Erasure {
  done: boolean;
  /** How many rows, conversations, files and inboxes still must be erased. */
  remaining: number;
}

/** A credential that was just minted. */
export interface MintedToken extends CredentialUse {
  jti: string;
  scopes: string[];
  label?: string | undefined;
  limits?: TokenLimits | undefined;
}

export interface NewCredit {
  id: string;
  /** The header `idempotency-key`: the same credit is given once. */
  key?: string | undefined;
  /** US dollars, at most nine decimals. */
  usd: number;
  /** Milliseconds since 1970; null for credit that does not expire. */
  expiresAt: number | null;
  note?: string | undefined;
}

/** `other`: the key was used for another credit. `full`: more than sums stay exact with. */
export type CreditAnswer = { outcome: 'given'; id: string } | { outcome: 'other' | 'full' };

/** Days, `YYYY-MM-DD`, or times in ISO 8601; the second exclusive. */
export interface Days {
  from?: string | undefined;
  to?: string | undefined;
}

/** How a request went wrong: a limit has refused it, or it failed later. */
export type ListedOutcome = 'refused' | 'failed';

/** How many requests limits have refused on a day. */
export interface DailyRefusals {
  /** Days since 1970. */
  day: number;
  count: number;
}

export interface RequestsFilter extends Days {
  outcome?: ListedOutcome | undefined;
  token?: string | undefined;
}

export interface UsageQuery extends Days {
  group_by: string;
  /** Only of the requests with this value: of `group_by`, which is `conversation`. */
  key?: string | undefined;
}

/** What identifies a version within its owner's object. */
export interface VersionId {
  kind: string;
  name: string;
  hash: string;
}

/** What is known of a name. */
export interface NamePointer {
  /** Its current version; empty where there is none. */
  hash: string;
  /** The versions that everybody who sees the name may ask for too. */
  pinned: readonly string[];
  /** The versions that nobody may use any more, not even who holds them. */
  withdrawn: readonly string[];
}

/** A version to which a name points from now on. */
export interface PointedVersion extends VersionId {
  /** The hashes that everybody may ask for too; absent if they stay as they are. */
  pinned?: readonly string[] | undefined;
}

/** A version as it is put. */
export interface NewVersion extends PointedVersion {
  bytes: Uint8Array;
  description: string | null;
}

/**
 * `published` is false if KV does not have it yet. Then it is written again later. `current`: a name points to what was to be
 * withdrawn. `withdrawn`: what was to be restored was taken back here.
 */
export type PutAnswer =
  | { outcome: 'stored'; published: boolean; pointer: NamePointer }
  | { outcome: 'full' | 'unknown' | 'current' | 'withdrawn' | 'erased' };

/** A name and the version that it points to. */
export interface NameRow {
  name: string;
  hash: string;
  description: string | null;
  bytes: number;
  created_at: string;
  updated_at: string;
}
