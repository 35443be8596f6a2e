// Import these types instead of using the global ones: scripts and the page import this file, and they have no global types of
// the Worker.
import type { Fetcher, KVNamespace, Queue, RateLimit, WorkerVersionMetadata } from '@cloudflare/workers-types';

/**
 * The Worker's bindings, from wrangler.toml, secrets and variables. The settings are strings. The file with the class of an
 * object adds its binding.
 */
export interface Bindings {
  STORE: KVNamespace;
  /** The queue with the ids of webhook events to work on. */
  QUEUE: Queue<string>;
  /** Counts new visitors by their address; absent where there are none. */
  VISITOR_BRAKE?: RateLimit;
  /** The built page and reference; absent in a deployment without them. */
  ASSETS?: Fetcher;
  /** The version of the Worker that answers, for the log; absent where it is not bound. */
  CF_VERSION_METADATA?: WorkerVersionMetadata;
  [setting: string]: unknown;
}

/** The binding of the accounts, and that of the pools, if it exists, by which alerts reach the operator. */
export type AccountAndPoolBindings = Pick<Bindings, 'ACCOUNT'> & Partial<Pick<Bindings, 'POOL'>>;
