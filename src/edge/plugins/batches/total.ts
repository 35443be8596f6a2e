/** Adds up the items of a new batch while they are read. */

import type { Nanodollars } from '../../claude/pricing/cost.ts';
import { createInvalidRequestError } from '../../kit/http/errors.ts';
import type { BatchModelCost } from './contracts/batch.ts';
import type { CostBoundedItem } from './item.ts';

/** The model under which items with unknown models are booked. */
const MODELS_UNKNOWN = '(unknown)';
/** The most models of a batch. More names cannot be real models. */
const MOST_MODELS = 200;

interface ModelCostTotal {
  items: number;
  cost: Nanodollars;
}

/** Adds up items: their maximum costs by model, and their custom ids, of which none may come twice. */
export class BatchCostTotal {
  /** A hundred thousand take some six megabytes. */
  readonly #ids = new Set<string>();
  readonly #rows = new Map<string, ModelCostTotal>();
  readonly #models = new Map<string, readonly string[]>();
  /** The most that each item can cost. A list of numbers takes eight bytes for each. */
  readonly #costs: Nanodollars[] = [];
  /** Whether every model is in the price table. */
  known = true;
  /** Whether an item requests a cache lifetime of an hour. */
  cachesLong = false;
  /** Whether an answer may contain ids of things that it makes. */
  makesThings = false;

  get itemCount(): number {
    return this.#costs.length;
  }

  /** @returns every model that may be billed, each with all of its names. */
  get billableModels(): string[][] {
    return [...this.#models.values()].map((names) => [...names]);
  }

  /** Adds an item. @throws ApiError 400 for a `custom_id` that came before */
  addItem(item: CostBoundedItem, index: number): void {
    if (this.#ids.has(item.customId)) {
      throw createInvalidRequestError(`requests.${index}.custom_id: ${item.customId} is not unique. Use another id.`);
    }
    this.#ids.add(item.customId);
    const { model = MODELS_UNKNOWN, cost } = item;
    const row = this.#rows.get(model) ?? { items: 0, cost: 0 };
    row.items += 1;
    row.cost += cost;
    this.#rows.set(model, row);
    for (const names of item.models) this.#models.set(names.join('\n'), names);
    if (this.#models.size > MOST_MODELS)
      throw createInvalidRequestError(
        `requests: a batch can use at most ${MOST_MODELS} models. Split it into several batches.`,
      );
    this.known &&= item.known;
    this.cachesLong ||= item.cachesLong;
    this.makesThings ||= item.makesThings;
    this.#costs.push(cost);
  }

  /** @returns the order for the account, by model. @param requestId the id of the first row */
  createModelCostRows(requestId: string): BatchModelCost[] {
    return [...this.#rows].map(([model, row], index) => ({
      requestId: index === 0 ? requestId : `${requestId}.${index + 1}`,
      model,
      unpriced: model === MODELS_UNKNOWN,
      ...row,
    }));
  }

  /** @returns how many items, from the first one on, an amount of money pays for. */
  countAffordableItems(left: Nanodollars): number {
    let sum = 0;
    for (const [at, cost] of this.#costs.entries()) {
      sum += cost;
      if (sum > left) return at;
    }
    return this.itemCount;
  }
}
