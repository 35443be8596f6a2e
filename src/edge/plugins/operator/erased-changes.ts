import { TableRowsBase } from '../../durable/rows.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import type { ErasableResourceList } from '../../money/lists/listed-rows.ts';

const ERASED_KEY = 'changes_erased_until';

/**
 * Reports whether an erased account's name must still be removed from the list of changes. The only entry is the time of the
 * erasure.
 */
export class ErasedChangeNames extends TableRowsBase implements ErasableResourceList {
  readonly #state: AccountState;

  constructor(state: AccountState) {
    super(state.ledger);
    this.#state = state;
  }

  listIdsCreatedUntil(): string[] {
    // Report the latest erasure until the list of changes has removed the account's name. Visitors' accounts are not reported:
    // they expire without an erasure, and their random names do not identify a person.
    const { erasedUntil } = this.#state;
    return erasedUntil > Number(this.tables.readMetaValue(ERASED_KEY) ?? 0) ? [String(erasedUntil)] : [];
  }

  countCreatedUntil(): number {
    return this.listIdsCreatedUntil().length;
  }

  deleteRow(until: string): void {
    this.tables.writeMetaValue(ERASED_KEY, until);
  }
}
