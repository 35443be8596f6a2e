import type { Remote } from '../durable/call-object.ts';
import type { BatchClaimsObject } from '../durable/contracts/batch.ts';
import type { Surroundings } from '../durable/edge-object.ts';
import { ObjectRecord, RECORD_TABLE } from '../durable/object-record.ts';
import { callClaims } from './call-batch.ts';
import type { Journal } from './journal.ts';
import { UpstreamBatches } from './upstream-batches.ts';

/** Keeps the journal of one batch, and calls the others that its object needs. */
export class BatchRecord extends ObjectRecord<Journal> {
  constructor(storage: DurableObjectStorage, around: Surroundings) {
    super(storage, around, { name: 'batch', format: 'batch', migrations: [{ version: 1, sql: RECORD_TABLE }] });
  }

  /** The upstream's side of the batch. */
  get calls(): UpstreamBatches {
    const { upstream: name, headers = {} } = this.journal ?? {};
    return new UpstreamBatches(this.around.upstream(), this.settings, { name, headers });
  }

  /** Calls the claims on the batches of this batch's upstream. @throws ObjectUnreachable 503 */
  async claims<T>(call: (claims: Remote<BatchClaimsObject>) => Promise<T>): Promise<T> {
    return await callClaims({ env: this.env, settings: this.settings, upstream: this.journal?.upstream }, call);
  }
}
