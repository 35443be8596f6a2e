import { type Nanodollars, usdToNanodollars } from '../../claude/pricing/cost.ts';
import { getOrCreate } from '../../kit/cache/get-or-create.ts';
import { createLowestRequestId } from '../../kit/http/headers/request-id.ts';
import type { AccountState } from '../../money/account/account-state.ts';
import type { JustSettledRequest } from '../../money/account/hooks.ts';
import type { AlertToRaise } from '../../money/alerts/alert-outbox.ts';
import { createExpensiveRunAlert } from '../../money/alerts/create-alert.ts';

/** An alert is due if a conversation has spent more than this share of its account's `usd_per_day` on one day. */
const EXPENSIVE_SHARE = 0.5;
/** The conversations whose sums are kept: the most expensive ones. Others have spent less than a thousandth of the account. */
const MAX_CONVERSATIONS = 1_000;
/** A request is admitted at most this long after its id was made, because its body arrives in between. Milliseconds. */
const MAX_BODY_DELAY_MS = 15 * 60_000;

/**
 * Sums up what each conversation of an account has spent today, with the conversations of its subagents. Before half of the
 * account's daily limit is spent, no conversation can be due, so nothing is read or kept.
 */
class ConversationSpending {
  readonly #state: AccountState;
  #day = Number.NaN;
  /** By the conversation that began it. */
  #sums: Map<string, Nanodollars> | undefined;
  /** The conversation that a subagent's conversation works for; null for others. */
  readonly #parents = new Map<string, string | null>();

  constructor(state: AccountState) {
    this.#state = state;
  }

  findDueAlert(settled: JustSettledRequest): AlertToRaise | undefined {
    const { accountId, limits, budget, visitorSession } = this.#state;
    const { usd_per_day } = limits.effectiveLimits;
    const { start, settled: spentToday } = budget.windows.day;
    if (this.#day !== start || settled.outcome !== 'settled') this.#sums = undefined;
    // Do not alert about visitors: their limits are small, so a single conversation often uses a large share.
    if (usd_per_day === undefined || accountId === undefined || visitorSession.isVisitor) return undefined;
    const limit = usdToNanodollars(usd_per_day);
    if (limit <= 0 || spentToday <= EXPENSIVE_SHARE * limit) {
      this.#sums = undefined;
      return undefined;
    }
    if (settled.conversation === undefined) return undefined;
    const conversation = this.#findRoot(settled.conversation);
    const spent = this.#addCost(conversation, settled.cost, start);
    if (spent <= EXPENSIVE_SHARE * limit) return undefined;
    return createExpensiveRunAlert(
      accountId,
      { conversation, share: EXPENSIVE_SHARE, limit, settled: spent },
      budget.last,
    );
  }

  /** @returns the conversation's cost on the day that begins at `start` */
  #addCost(conversation: string, cost: Nanodollars, start: number): Nanodollars {
    if (this.#sums) {
      const spent = (this.#sums.get(conversation) ?? 0) + cost;
      this.#sums.set(conversation, spent);
      return spent;
    }
    // The settled request has its ledger row already, so the sums that are read here include its cost.
    this.#sums = this.#readSumsOfDay(start);
    this.#day = start;
    return this.#sums.get(conversation) ?? 0;
  }

  #readSumsOfDay(start: number): Map<string, Nanodollars> {
    this.#parents.clear();
    const rows = this.#state.ledger.readAllRows<{ conversation: string; parent: string | null; cost: number }>(
      `select used.conversation, conversations.parent, used.cost from (
         select conversation, sum(cost) as cost from ledger
         where id >= ? and at >= ? and conversation is not null group by 1 order by 2 desc limit ?
       ) as used left join conversations on conversations.id = used.conversation`,
      createLowestRequestId(start - MAX_BODY_DELAY_MS),
      start,
      MAX_CONVERSATIONS,
    );
    for (const { conversation, parent } of rows) this.#parents.set(conversation, parent);
    const sums = new Map<string, Nanodollars>();
    for (const { conversation, cost } of rows) {
      const root = this.#findRoot(conversation);
      sums.set(root, (sums.get(root) ?? 0) + cost);
    }
    return sums;
  }

  /** @returns the conversation whose run has begun this one; itself if no run has */
  #findRoot(conversation: string): string {
    const seen = new Set<string>();
    let root = conversation;
    while (!seen.has(root)) {
      seen.add(root);
      const parent = getOrCreate(this.#parents, root, () => this.#readParent(root));
      if (parent === null) return root;
      root = parent;
    }
    return root;
  }

  #readParent(conversation: string): string | null {
    const [row] = this.#state.ledger.readAllRows<{ parent: string | null }>(
      'select parent from conversations where id = ?',
      conversation,
    );
    return row?.parent ?? null;
  }
}

const spendingByState = new WeakMap<AccountState, ConversationSpending>();

/** @returns the alert that the conversation of a settled request has become expensive; undefined if it has not. It may be the same again */
export function findExpensiveRunAlert(state: AccountState, settled: JustSettledRequest): AlertToRaise | undefined {
  return getOrCreate(spendingByState, state, () => new ConversationSpending(state)).findDueAlert(settled);
}
