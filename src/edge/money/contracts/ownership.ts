/** The resources that an account has created at upstreams: files, containers, threads. */

import type { CreatedId } from '../../claude/usage/created-ids.ts';
import type { StorageLimitRejection } from './admission.ts';

/** Something that an account has made, and where it is. `upstream` is empty if there is only one upstream. */
export interface OwnedResource extends CreatedId {
  upstream: string;
}

/** A file as it is uploaded. */
export interface UploadRequest {
  id: string;
  upstream: string;
  /** The announced number of bytes; undefined if it was not announced. */
  bytes: number | undefined;
  /** The maximum of bytes that may be uploaded. */
  most: number;
}

/** `left`: how many bytes may be uploaded. `at`: when the upload began, in milliseconds since 1970. */
export type UploadDecision =
  | { outcome: 'admitted'; left: number; at: number }
  | ({ outcome: 'full' } & StorageLimitRejection);

/** How an upload has ended. `unknown`: it is not known whether there is a file; `bytes` have arrived, including the form. */
export type FileUploadOutcome =
  | { outcome: 'made'; file: FileDescription }
  | { outcome: 'failed' }
  | { outcome: 'unknown'; bytes: number };

export interface UploadReport {
  id: string;
  upstream: string;
  at: number;
  end: FileUploadOutcome;
}

/** A file, as the upstream describes it. */
export interface FileDescription {
  id: string;
  bytes: number;
  /** Milliseconds since 1970; null if it does not expire. */
  expiresAt: number | null;
  /** The description itself, as JSON. */
  text: string;
}

/** A file in an account's list. If a tool has created it, it has no description until the file is first requested. */
export interface FileRow {
  id: string;
  upstream: string;
  text: string | null;
}
