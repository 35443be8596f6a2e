/** Keeps why all requests of an account are rejected, whatever its limits are. */

import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import type { AccountBlock } from '../budget/limits.schema.ts';
import type { SuspendedDecision } from '../contracts/admission.ts';

/** The key in `meta` of the block, as JSON. */
const BLOCKED = 'blocked';

/** Whether an admin has blocked the account. */
export class AccountSuspension extends TableRowsBase {
  #block: AccountBlock | null;

  constructor(tables: SqlTables) {
    super(tables);
    this.#block = JSON.parse(tables.readMetaValue(BLOCKED) ?? 'null') as AccountBlock | null;
  }

  /** @returns the block of the account; null if it is not blocked. */
  get block(): AccountBlock | null {
    return this.#block;
  }

  /** Blocks the account; null ends the block. */
  setBlock(block: AccountBlock | null): void {
    if (block === null && this.#block === null) return;
    this.tables.writeMetaValue(BLOCKED, block === null ? undefined : JSON.stringify(block));
    this.#block = block;
  }

  /** @returns the decision about every request; undefined if requests may be admitted. */
  get decision(): SuspendedDecision | undefined {
    return this.#block ? { outcome: 'blocked', message: this.#block.message } : undefined;
  }
}
