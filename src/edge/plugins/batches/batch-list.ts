/** Lists the batches of an account, as they have reported themselves. */

import type { ListPage, PageSelection } from '../../durable/page.ts';
import { DAY_MS } from '../../kit/async/durations.ts';
import type { Ledger } from '../../money/ledger/ledger.ts';
import type { MessageBatch } from '../../money/lists/batches-answers.schema.ts';
import { ErasableRows } from '../../money/lists/listed-rows.ts';

/** If a create is sent again within this time, it finds the batch that was made. Milliseconds. */
const ATTACHES_MS = DAY_MS;

const BATCH_TABLE = `
  create table if not exists batches (
    id text primary key,
    created_at integer not null,
    key text,
    digest text not null,
    report text
  ) strict, without rowid;
  create index if not exists batches_by_time on batches (created_at);
  create index if not exists batches_by_key on batches (key, id) where key is not null;
  create index if not exists batches_by_digest on batches (digest, id);`;

/** Keeps the rows of an account's batches. */
export class BatchList extends ErasableRows {
  constructor(ledger: Ledger) {
    super(ledger.getPluginTables('batches', BATCH_TABLE), 'batches');
  }

  /** Adds a batch, in the same step that sets aside its cost. */
  insertBatch({ id, key, digest }: { id: string; key: string | undefined; digest: string }, now: number): void {
    this.tables.insertRow('batches', { id, created_at: now, key: key ?? null, digest });
  }

  /**
   * @returns the batch of an earlier create request: found by its key, or by its bytes if the client marks the request as a
   *   retry.
   */
  findEarlierCreate(
    { key, digest, repeats }: { key: string | undefined; digest: string; repeats: boolean },
    now: number,
  ): { id: string; isSame: boolean } | undefined {
    const findNewest = (column: 'key' | 'digest', value: string) =>
      this.tables.readAllRows<{ id: string; digest: string }>(
        `select id, digest from batches where ${column} = ? and created_at > ? order by id desc limit 1`,
        value,
        now - ATTACHES_MS,
      )[0];
    const row =
      (key === undefined ? undefined : findNewest('key', key)) ?? (repeats ? findNewest('digest', digest) : undefined);
    return row && { id: row.id, isSame: row.digest === digest };
  }

  /** Stores the report of a batch, unless the batch is no longer in the list. */
  storeBatchReport(report: MessageBatch): void {
    this.tables.runWriteStatement('update batches set report = ? where id = ?', JSON.stringify(report), report.id);
  }

  /** @returns a page of the batches that the upstream has, or may have, newest first. */
  listBatches(page: PageSelection): ListPage<MessageBatch> {
    const select = 'id, report from batches where report is not null';
    const rows = this.tables.selectPage<{ id: string; report: string }>({ select, order: ['id'] }, page);
    return { ...rows, data: rows.data.map(({ report }) => JSON.parse(report) as MessageBatch) };
  }
}
