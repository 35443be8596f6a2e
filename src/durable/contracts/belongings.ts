/** What an account has made at an upstream: files, containers, threads. */

import type { MadeId } from '../../upstream/usage/made-ids.ts';
import type { StorageRefusal } from './admission.ts';

/** What an account has, and where it is. `upstream` is empty where there is one upstream only. */
export interface Belonging extends MadeId {
  upstream: string;
}

/** A file as it is uploaded. */
export interface UploadRequest {
  id: string;
  upstream: string;
  /** The bytes that come; undefined where nobody has said. */
  bytes: number | undefined;
  /** The most that may come. */
  most: number;
}

/** `room`: how many bytes may come. `at`: when it began, in milliseconds since 1970. */
export type UploadDecision = { outcome: 'admitted'; room: number; at: number } | ({ outcome: 'full' } & StorageRefusal);

/** How an upload has ended. `unknown`: nobody has said whether there is a file now; `bytes` have come, its form included. */
export type UploadEnd =
  | { outcome: 'made'; file: FileDescription }
  | { outcome: 'failed' }
  | { outcome: 'unknown'; bytes: number };

/** What is told of an upload that has ended. */
export interface UploadReport {
  id: string;
  upstream: string;
  at: number;
  end: UploadEnd;
}

/** A file, as the upstream describes it. */
export interface FileDescription {
  id: string;
  bytes: number;
  /** Milliseconds since 1970; null where it does not expire. */
  expiresAt: number | null;
  /** The description itself, as JSON. */
  text: string;
}

/** A file of an account's list. The description is absent for one that a tool has made, until somebody asks for it. */
export interface FileRow {
  id: string;
  upstream: string;
  text: string | null;
}
