import { accountList } from '../../kit/kv/name-list.ts';
import type { PoolStore } from './pool-store.ts';

/** How many names one step reads. Their accounts are called in one alarm. */
const NAMES_A_STEP = 300;
const NEXT_STEP_MS = 1_000;
/**
 * Milliseconds after which an unreachable account is called again, a few times. Later it reports by itself when it is used.
 */
const AGAIN_MS = 60_000;
const MOST_TRIES = 5;

/** How far it has come. */
interface Progress {
  /** Where the next names begin in the list of accounts; absent for the first ones. */
  cursor?: string | undefined;
  tries: number;
}

/**
 * Asks every listed account what it has spent, also those that nobody uses any more. It stores how far it has come.
 */
export class AccountRecount {
  readonly #store: PoolStore;
  /** null while it does not go on. */
  #progress: Progress | null;

  constructor(store: PoolStore) {
    this.#store = store;
    this.#progress = JSON.parse(store.meta('roll') ?? 'null') as Progress | null;
  }

  /** Begins at the first name; `go` goes on with it. */
  begin(): void {
    this.#set({ tries: 0 });
  }

  /**
   * Calls the accounts of the next names.
   *
   * @param call returns whether all of them were reached
   * @returns after how many milliseconds to go on; undefined if nothing is left
   */
  async go(list: KVNamespace, call: (accounts: string[]) => Promise<boolean>): Promise<number | undefined> {
    const progress = this.#progress;
    if (!progress) return undefined;
    const { prefix } = accountList;
    const from = { prefix, limit: NAMES_A_STEP };
    const page = await list
      .list(progress.cursor === undefined ? from : { ...from, cursor: progress.cursor })
      .catch(() => undefined);
    const isDone = page !== undefined && (await call(page.keys.map(({ name }) => name.slice(prefix.length))));
    // It was started again meanwhile.
    if (this.#progress !== progress) return NEXT_STEP_MS;
    if (page === undefined) {
      // The list cannot be read, or does not know this place any more.
      this.begin();
      return AGAIN_MS;
    }
    if (!isDone && progress.tries + 1 < MOST_TRIES) {
      this.#set({ ...progress, tries: progress.tries + 1 });
      return AGAIN_MS;
    }
    this.#set(page.list_complete ? null : { cursor: page.cursor, tries: 0 });
    return this.#progress === null ? undefined : NEXT_STEP_MS;
  }

  #set(progress: Progress | null): void {
    this.#progress = progress;
    this.#store.setMeta('roll', JSON.stringify(progress));
  }
}
