/** Keeps an account’s limits. A changed limit applies to the next request, and an absent one has the deployment’s default. */

import { TableRowsBase } from '../../durable/rows.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { applyPatch, type Limits, type LimitsPatch } from '../budget/limits.schema.ts';
import { type LimitRules, toLimitRules } from '../budget/rules.ts';

/** Keeps the limits of an account: its own, and the deployment's for limits that it does not set itself. */
export class EffectiveAccountLimits extends TableRowsBase {
  #own: Limits | null;
  #defaults: string;
  #areStored = true;
  #limits: Limits = {};
  #rules: LimitRules = toLimitRules({});

  constructor(tables: SqlTables) {
    super(tables);
    this.#own = JSON.parse(tables.readMetaValue('limits') ?? 'null') as Limits | null;
    this.#defaults = tables.readMetaValue('defaults') ?? '{}';
    this.#applyLimits();
  }

  /** @returns the account's own limits; null if it has none. */
  get ownLimits(): Limits | null {
    return this.#own;
  }

  /** @returns the limits that count. */
  get effectiveLimits(): Limits {
    return this.#limits;
  }

  /** @returns the limits that count, in the units in which decisions are made. */
  get decisionRules(): LimitRules {
    return this.#rules;
  }

  /** Replaces the account's own limits; null means the deployment's limits. */
  setOwnLimits(limits: Limits | null): void {
    this.tables.writeMetaValue('limits', limits === null ? undefined : JSON.stringify(limits));
    this.#own = limits;
    this.#applyLimits();
  }

  /** Changes the limits that a patch names. Null removes a limit, so that the deployment's counts again. */
  patchOwnLimits(patch: LimitsPatch): void {
    const own = applyPatch<Limits>(this.#own ?? {}, patch);
    this.setOwnLimits(Object.keys(own).length === 0 ? null : own);
  }

  /** Records the deployment's limits, which come with a request. Writes them only if they have changed. */
  updateDefaultLimits(defaults: Limits | undefined): void {
    if (defaults === undefined) return;
    const text = JSON.stringify(defaults);
    if (text === this.#defaults) return;
    this.#defaults = text;
    this.#applyLimits();
    this.#areStored = false;
    // Do not create the tables here: if a read created them, asking for an account that does not exist would create that
    // account.
    if (!this.tables.areTablesMissing) this.storeDefaultLimits();
  }

  /** Stores the deployment's limits, if they are not: settlements and alarms come without them. */
  storeDefaultLimits(): void {
    if (this.#areStored) return;
    this.tables.writeMetaValue('defaults', this.#defaults);
    this.#areStored = true;
  }

  #applyLimits(): void {
    this.#limits = { ...(JSON.parse(this.#defaults) as Limits), ...this.#own };
    this.#rules = toLimitRules(this.#limits);
  }
}
