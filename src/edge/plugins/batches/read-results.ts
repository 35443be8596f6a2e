/** Reads the results of a batch once, and computes what each item has cost. */

import type { AnsweredExchange } from '../../claude/exchange.ts';
import type { ModelTable } from '../../claude/models/models.ts';
import { computeCost, computeSavings, type Nanodollars } from '../../claude/pricing/cost.ts';
import { type CreatedId, findCreatedIds } from '../../claude/usage/created-ids.ts';
import { hasFinalUsage } from '../../claude/usage/reported-usage.ts';
import { createResponseReport } from '../../claude/usage/usage-report.ts';
import { joinPieces } from '../../kit/http/body-pieces.ts';
import { LINE_FEED } from '../../kit/json/characters.ts';
import { isObject, type JsonObject, parseJsonObject } from '../../kit/json/object.ts';
import { countTokensByKind } from '../../money/admission/price-outcome.ts';
import type { TokenUsage } from '../../money/contracts/settlement.ts';
import { NO_TOKENS } from '../../money/ledger/settlement.ts';
import type { BatchOutcomeCounts } from '../../money/lists/batches-answers.schema.ts';
import type { Journal } from './journal.ts';
import { NO_OUTCOMES } from './journal.ts';

/** The most bytes of a result: several times the longest answer. */
const MOST_LINE_BYTES = 16 * 1024 * 1024;

/** The sums of the items of one model. */
interface ModelResultSums {
  requestId: string;
  model: string;
  cost: Nanodollars;
  saved: Nanodollars;
  /** Whether a result had no usage. */
  estimated: boolean;
  tokens: TokenUsage;
  outcomes: BatchOutcomeCounts;
}

export interface ResultSums {
  items: number;
  outcomes: BatchOutcomeCounts;
  cost: Nanodollars;
  rows: ModelResultSums[];
}

/** What reading needs to know about a batch. */
export type BatchToRead = Pick<Journal, 'rows' | 'cacheTtl'>;

interface ReadResultsOptions {
  /** The prices at the upstream that has answered. */
  models: ModelTable;
  /** Whether it bills as the Claude API does. */
  isClaudeApi: boolean;
  /** Called with the ids of resources that answers have created, a few at a time; absent if they are not needed. */
  note?: ((ids: readonly CreatedId[]) => Promise<void>) | undefined;
}

/** How many ids are noted in one call. */
const NOTED_AT_ONCE = 500;

/**
 * Reads results to their end, and keeps only sums.
 *
 * @throws Error if they break off, or if a line is not a result
 */
export async function sumBatchResults(
  answered: AnsweredExchange,
  batch: BatchToRead,
  { note, ...place }: ReadResultsOptions,
): Promise<ResultSums> {
  const sums = new ResultSumsBuilder(batch, place, note !== undefined);
  for await (const line of readResultLines(answered)) {
    sums.addResultLine(line);
    if (note && sums.ids.length >= NOTED_AT_ONCE) await note(sums.ids.splice(0));
  }
  if (note && sums.ids.length > 0) await note(sums.ids.splice(0));
  return sums.getResultSums();
}

/** Yields the lines of results as they come, and closes the call at their end. */
export async function* readResultLines({ response, exchange }: AnsweredExchange): AsyncGenerator<Uint8Array, void> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  try {
    for await (const piece of exchange.readPieces(response)) {
      let start = 0;
      for (let end = piece.indexOf(LINE_FEED); end >= 0; end = piece.indexOf(LINE_FEED, start)) {
        const rest = piece.subarray(start, end);
        yield held.length === 0 ? rest : joinPieces([...held, rest]);
        held = [];
        heldBytes = 0;
        start = end + 1;
      }
      if (start === piece.length) continue;
      held.push(piece.slice(start));
      heldBytes += piece.length - start;
      if (heldBytes > MOST_LINE_BYTES) throw new Error('a result that is too long');
    }
    if (heldBytes > 0) yield joinPieces(held);
  } finally {
    exchange.closeExchange();
  }
}

/** @returns the id and the result of a line; undefined for an empty line. @throws Error if it is not a result */
export function parseResultLine(bytes: Uint8Array): { id: string; result: JsonObject } | undefined {
  if (bytes.every((byte) => byte <= 32)) return undefined;
  const { custom_id: id, result } = parseJsonObject(bytes) ?? {};
  if (typeof id !== 'string' || !isObject(result)) throw new Error('no result');
  return { id, result };
}

/** @returns the answer of a result; undefined if there is none */
export function getResultMessage({ type, message }: JsonObject): JsonObject | undefined {
  return type === 'succeeded' && isObject(message) ? message : undefined;
}

class ResultSumsBuilder {
  readonly #batch: BatchToRead;
  readonly #models: ModelTable;
  readonly #isClaudeApi: boolean;
  readonly #ids = new Set<string>();
  readonly #rows: ModelResultSums[];
  readonly #outcomes = { ...NO_OUTCOMES };
  readonly #readsIds: boolean;
  /** Ids in answers that are not noted yet. */
  readonly ids: CreatedId[] = [];

  constructor(
    batch: BatchToRead,
    { models, isClaudeApi }: Pick<ReadResultsOptions, 'models' | 'isClaudeApi'>,
    readsIds: boolean,
  ) {
    this.#batch = batch;
    this.#models = models;
    this.#isClaudeApi = isClaudeApi;
    this.#readsIds = readsIds;
    this.#rows = batch.rows.map(({ requestId, model }) => ({
      requestId,
      model,
      cost: 0,
      saved: 0,
      estimated: false,
      tokens: { ...NO_TOKENS },
      outcomes: { ...NO_OUTCOMES },
    }));
  }

  /** Adds a line. @throws Error if it is not a result */
  addResultLine(bytes: Uint8Array): void {
    const line = parseResultLine(bytes);
    // Count each result once, even if the upstream sends its line twice.
    if (!line || this.#ids.has(line.id)) return;
    const { id, result } = line;
    this.#ids.add(id);
    const outcome = classifyResultOutcome(result);
    this.#outcomes[outcome] += 1;
    const message = getResultMessage(result);
    const row = this.#findModelRow(message);
    row.outcomes[outcome] += 1;
    if (outcome === 'succeeded') this.#addItemCost(row, message ?? {});
    if (message && this.#readsIds) this.ids.push(...findCreatedIds(message));
  }

  getResultSums(): ResultSums {
    return {
      items: this.#ids.size,
      outcomes: this.#outcomes,
      cost: this.#rows.reduce((sum, row) => sum + row.cost, 0),
      rows: this.#rows,
    };
  }

  /** @returns the row in which an item is booked: that of its model; the first row if it does not name its model. */
  #findModelRow(message: JsonObject | undefined): ModelResultSums {
    const name = typeof message?.model === 'string' ? message.model : undefined;
    const row = name === undefined ? undefined : this.#models.findRow(name);
    const own = this.#rows.find(({ model }) => model === row?.id) ?? this.#rows[0];
    if (!own) throw new TypeError('no rows');
    return own;
  }

  #addItemCost(row: ModelResultSums, message: JsonObject): void {
    const report = createResponseReport(message, 0);
    const { usage, model = row.model } = report;
    const isFree = report.unbilled === true && this.#isClaudeApi;
    if (!usage || (!isFree && !hasFinalUsage({ ...report, completed: true }))) {
      // The usage of this result is unknown, so charge the average hold of the items of its model.
      const of = this.#batch.rows.find(({ requestId }) => requestId === row.requestId);
      row.cost += Math.ceil((of?.hold ?? 0) / Math.max(1, of?.items ?? 1));
      row.estimated = true;
      return;
    }
    const findModelPrices = (name: string) => this.#models.findPriceRow(name).row;
    const { cacheTtl } = this.#batch;
    const options = { batch: true, priceOf: findModelPrices, cacheTtl };
    if (!isFree) row.cost += computeCost(usage, findModelPrices(model), options);
    if (!isFree) row.saved += computeSavings(usage, findModelPrices(model), options);
    const kinds = Object.entries(countTokensByKind(usage, cacheTtl)) as [keyof TokenUsage, number][];
    for (const [kind, count] of kinds) row.tokens[kind] += count;
  }
}

function classifyResultOutcome({ type }: JsonObject): keyof BatchOutcomeCounts {
  return type === 'succeeded' || type === 'canceled' || type === 'expired' ? type : 'errored';
}
