/** The methods of an account’s object, by which other code calls it. */

import type { ConversationRow } from '../../conversations/object/conversations-answers.schema.ts';
import type { ConversationPageSelection, ListPage, PageSelection } from '../../durable/page.ts';
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
import type { AccountBlock, Limits, LimitsPatch, TokenLimits } from '../budget/limits.schema.ts';
import type { ChangeOrigin } from '../changes/change-origin.ts';
import type { ChangeRow } from '../changes/changes-answers.schema.ts';
import type { MessageBatch } from '../lists/batches-answers.schema.ts';
import type { CredentialClaims, RecoverableHold } from './admission.ts';
import type { LimitConflict } from './limit-conflict.ts';
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

/** The methods of an account's object, by subject. The object documents each one. */
export interface AccountObject
  extends Rpc.DurableObjectBranded,
    AdmissionMethods,
    BudgetMethods,
    UsageMethods,
    AccountDataMethods,
    ConversationListMethods,
    BatchMethods,
    OwnedResourceMethods,
    TokenMethods,
    VersionMethods,
    ChangeMethods {}

/** Decides whether requests may be sent, holds their maximum cost, and books what they cost. */
interface AdmissionMethods {
  admitJson(request: string): string | Promise<string>;
  checkCallerJson(request: string): string;
  settleJson(settlement: string): string;
  renewHold(requestId: string, stage?: string, holdMs?: number): HoldRenewal;
  getStoredHold(requestId: string): RecoverableHold | undefined;
}

/** Whether a request has a hold; for a blocked account, whose requests must end, the message for the user. */
export type HoldRenewal = boolean | { blocked: string };

/** Limits, credit, and the pools that an account shares. */
interface BudgetMethods {
  getQuotaReport(defaults?: Limits, jti?: string): QuotaReport;
  setLimits(limits: Limits | null, by?: ChangeOrigin): string[];
  patchLimits(patch: LimitsPatch, by?: ChangeOrigin): { changed: string[] } | { conflict: LimitConflict };
  setBlock(block: AccountBlock | null, by?: ChangeOrigin): void;
  getGroup(): string | null;
  setGroup(group: string | null, by?: ChangeOrigin): void;
  reportSpendingToPool(pool: string): Promise<void>;
  giveCredit(credit: NewCredit, by?: ChangeOrigin): GiveCreditOutcome;
  listCredits(page: PageSelection, defaults?: Limits): ListPage<CreditRow>;
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
export type GiveCreditOutcome = { outcome: 'given'; id: string } | { outcome: 'other' | 'full' };

/** The methods about the usage of an account's requests. */
interface UsageMethods {
  getUsageReport(query: UsageQuery): UsageReport;
  listRequests(page: PageSelection, filter?: RequestsFilter): ListPage<ListedRequest>;
  findRequest(id: string): LedgerRequest | undefined;
  findRequestByUpstreamId(upstreamId: string, only?: 'failed'): LedgerRequest | undefined;
  exportLedgerRows(cursor?: string, limit?: number): { rows: LedgerRow[]; next: string | null };
}

/** Days, `YYYY-MM-DD`, or times in ISO 8601; the second exclusive. */
export interface DateRange {
  from?: string | undefined;
  to?: string | undefined;
}

/** How a request went wrong: a limit has rejected it, or it failed later. */
export type RequestFailureKind = 'refused' | 'failed';

/** How many requests limits have rejected on a day. */
export interface DailyRejectionCount {
  /** Days since 1970. */
  day: number;
  count: number;
  /** The same by the limit's owner and the reason, with a space between them, such as `account spend`. */
  by: Record<string, number>;
  /** How many of them the limits of each group have refused, by the group's name. */
  groups: Record<string, number>;
}

export interface RequestsFilter extends DateRange {
  outcome?: RequestFailureKind | undefined;
  token?: string | undefined;
}

export interface UsageQuery extends DateRange {
  group_by: string;
  /** Only of the requests with this value: of `group_by`, which is `conversation`. */
  key?: string | undefined;
}

/** The account as a whole: the list of accounts, erasure, backup and restore. */
interface AccountDataMethods {
  markInAccountList(): void;
  isInAccountList(): boolean;
  hasStoredData(): boolean;
  erase(until?: number, by?: ChangeOrigin): Promise<ErasureProgress>;
  getErasedUntil(): number;
  backupJson(id: string): string;
  restoreJson(backup: string, digest: string, merges: boolean, by?: ChangeOrigin): RestoreOutcome;
}

export interface ErasureProgress {
  done: boolean;
  /** How many rows, conversations, files and inboxes still must be erased. */
  remaining: number;
}

/**
 * The outcome of restoring an account. `used`: it has spent or received something here; `held`: one of its requests is running;
 * `erased`: it was erased after the backup was made.
 */
export type RestoreOutcome = 'restored' | 'unchanged' | 'used' | 'held' | 'erased';

/** Conversations and inboxes, as their objects report them. */
interface ConversationListMethods {
  listConversations(page: ConversationPageSelection): ListPage<ConversationRow>;
  noteConversation(report: ConversationReport): { erased: boolean };
  releaseExpectedStorage(conversation: string): void;
  noteInbox(source: string): { erasedUntil: number };
}

/** Batches: admission, settlement, and the list. */
interface BatchMethods {
  admitBatchJson(order: string): string | Promise<string>;
  settleBatchJson(settlement: string): void;
  noteBatch(id: string, report: MessageBatch | null): void;
  batches(page: PageSelection): ListPage<MessageBatch>;
}

/** Files, containers and other resources at the upstreams that belong to the account. */
interface OwnedResourceMethods {
  ownership(ids: readonly string[]): OwnedResource[];
  findDeletedFiles(ids: readonly string[]): string[];
  recordCreatedResources(resources: readonly OwnedResource[]): void;
  beginUpload(upload: UploadRequest): UploadDecision;
  endUpload(report: UploadReport): void;
  files(page: PageSelection): ListPage<FileRow>;
  describeFile(file: FileDescription): void;
  recordFileDeletion(id: string): void;
}

/** Minted and revoked tokens. */
interface TokenMethods {
  listTokens(page?: PageSelection): ListPage<TokenRow>;
  findToken(jti: string): TokenRow | undefined;
  listOperatorTokens(): TokenRow[];
  recordMintedToken(minted: MintedToken, by?: ChangeOrigin): boolean;
  revokeToken(jti: string, by?: ChangeOrigin): void;
  revokeAllTokens(by?: ChangeOrigin): void;
  isTokenRevoked(token: CredentialClaims | undefined, countedRequest?: string): boolean | string;
}

/** A credential that was just minted. */
export interface MintedToken extends CredentialClaims {
  jti: string;
  scopes: string[];
  label?: string | undefined;
  limits?: TokenLimits | undefined;
}

/** Named and versioned data that the account stores: prefixes, agents, classifiers. */
interface VersionMethods {
  putVersion(version: NewVersion, by?: ChangeOrigin): Promise<VersionChangeOutcome>;
  pointVersion(id: VersionToPointTo, by?: ChangeOrigin): Promise<VersionChangeOutcome>;
  removeName(kind: string, name: string, by?: ChangeOrigin): Promise<VersionChangeOutcome>;
  withdrawVersion(id: VersionId, by?: ChangeOrigin): Promise<VersionChangeOutcome>;
  restoreVersion(version: NewVersion, at: number, isCurrent: boolean, by?: ChangeOrigin): Promise<VersionChangeOutcome>;
  findVersionStoredAt(id: VersionId): number | undefined;
  readVersion(id: VersionId, isAny: boolean): Uint8Array | undefined;
  findVersionedName(kind: string, name: string): VersionedNameRow | undefined;
  listVersionedNames(kind: string, page: PageSelection): VersionedNameRow[];
  listVersions(kind: string, name: string, page: PageSelection): ListPage<VersionRow> | undefined;
  retainVersion(id: VersionId, holder: string): boolean;
  releaseVersion(id: VersionId, holder: string): Promise<void>;
}

/** The identifier of a version within its owner's object. */
export interface VersionId {
  kind: string;
  name: string;
  hash: string;
}

/** The state of a name. */
export interface VersionPointer {
  /** Its current version; empty where there is none. */
  hash: string;
  /** The versions that everybody who sees the name may ask for too. */
  pinned: readonly string[];
  /** The versions that can no longer be used, not even by their holders. */
  withdrawn: readonly string[];
}

/** A version to which a name points from now on. */
export interface VersionToPointTo extends VersionId {
  /** The hashes that everybody may ask for too; absent if they stay as they are. */
  pinned?: readonly string[] | undefined;
}

/** A version as it is put. */
export interface NewVersion extends VersionToPointTo {
  bytes: Uint8Array;
  description: string | null;
}

/**
 * `published` is false if KV does not have it yet. Then it is written again later. `current`: a name points to what was to be
 * withdrawn. `withdrawn`: what was to be restored was taken back here.
 */
export type VersionChangeOutcome =
  | { outcome: 'stored'; published: boolean; pointer: VersionPointer }
  | {
      outcome:
        | 'too_many_bytes'
        | 'too_many_names'
        | 'too_many_withdrawn'
        | 'unknown'
        | 'current'
        | 'withdrawn'
        | 'erased';
    };

/** A name and the version that it points to. */
export interface VersionedNameRow {
  name: string;
  hash: string;
  description: string | null;
  bytes: number;
  created_at: string;
  updated_at: string;
}

/** The record of who has changed what. */
interface ChangeMethods {
  recordChanges(changes: string): void;
  listChanges(query: ChangesPageQuery): ListPage<ChangeRow>;
  eraseChangeNames(account: string, until: number): void;
}

/** A page of the changes. */
export interface ChangesPageQuery extends PageSelection {
  account?: string | undefined;
  group?: string | undefined;
  actor?: string | undefined;
  kind?: string | undefined;
  /** Milliseconds since 1970; the second exclusive. */
  from?: number | undefined;
  to?: number | undefined;
}
