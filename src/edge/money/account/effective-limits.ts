import { Rows } from '../../durable/rows.ts';
import type { Tables } from '../../durable/tables.ts';
import { applyPatch, type Limits, type LimitsPatch } from '../budget/limits.schema.ts';
import { type Rules, rulesOf } from '../budget/rules.ts';

/** Keeps the limits of an account: its own, and the deployment's for limits that it does not set itself. */
export class EffectiveLimits extends Rows {
  #own: Limits | null;
  #defaults: string;
  #areStored = true;
  #limits: Limits = {};
  #rules: Rules = rulesOf({});

  constructor(tables: Tables) {
    super(tables);
    this.#own = JSON.parse(tables.meta('limits') ?? 'null') as Limits | null;
    this.#defaults = tables.meta('defaults') ?? '{}';
    this.#apply();
  }

  /** @returns the account's own limits; null if it has none. */
  get own(): Limits | null {
    return this.#own;
  }

  /** @returns the limits that count. */
  get limits(): Limits {
    return this.#limits;
  }

  /** @returns the limits that count, in the units in which decisions are made. */
  get rules(): Rules {
    return this.#rules;
  }

  /** Replaces the account's own limits; null means the deployment's limits. */
  setOwn(limits: Limits | null): void {
    this.tables.setMeta('limits', limits === null ? undefined : JSON.stringify(limits));
    this.#own = limits;
    this.#apply();
  }

  /** Changes the limits that a patch names. Null removes a limit, so that the deployment's counts again. */
  patchOwn(patch: LimitsPatch): void {
    const own = applyPatch<Limits>(this.#own ?? {}, patch);
    this.setOwn(Object.keys(own).length === 0 ? null : own);
  }

  /** Notes the deployment's limits, which come with a request. Writes them only if they have changed. */
  noteDefaults(defaults: Limits | undefined): void {
    if (defaults === undefined) return;
    const text = JSON.stringify(defaults);
    if (text === this.#defaults) return;
    this.#defaults = text;
    this.#apply();
    this.#areStored = false;
    // Whoever only asks an account that does not exist makes none.
    if (!this.tables.areMissing) this.store();
  }

  /** Stores the deployment's limits, if they are not: settlements and alarms come without them. */
  store(): void {
    if (this.#areStored) return;
    this.tables.setMeta('defaults', this.#defaults);
    this.#areStored = true;
  }

  #apply(): void {
    this.#limits = { ...(JSON.parse(this.#defaults) as Limits), ...this.#own };
    this.#rules = rulesOf(this.#limits);
  }
}
