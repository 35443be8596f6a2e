import { type KeyRateLimits, mergeKeyRateLimits, RATE_LIMIT_KINDS } from '../../claude/upstreams/rate-limits.ts';
import type { DurableObjectServices } from '../../durable/edge-object.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { type AlertOutbox, UNOWNED } from '../../money/alerts/alert-outbox.ts';
import { createKeyNearlyLimitedAlert } from '../../money/alerts/create-alert.ts';
import type { KeyLimitReport } from './contracts/pool.ts';

/** The key in `meta` of the limits that were last reported. */
const LIMITS = 'key_limits';
/** Limits are stored at most once in this time: newer ones follow anyway. Milliseconds. */
const STORE_INTERVAL_MS = MINUTE_MS;
/** A key is nearly limited while less than this share of a limit remains. */
const LOW_SHARE = 0.1;
/** After this time with more left, a low limit is a new incident. A limit refills within a minute. Milliseconds. */
const INCIDENT_MS = 30 * MINUTE_MS;
/** Limits that are older than this are outdated. Milliseconds. */
const CURRENT_MS = 5 * MINUTE_MS;
/** The most upstreams and model classes whose limits are stored. The oldest are dropped. */
const MAX_STORED = 100;

interface StoredKeyLimits {
  limits: KeyRateLimits[];
  /** By upstream and model class: when a limit was last low; milliseconds since 1970. */
  lowAt: Record<string, number>;
}

/** Knows for the whole deployment how much of its keys' rate limits is left, as far as responses have reported it. */
export class KeyLimitMonitor {
  readonly #tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>;
  readonly #alerts: AlertOutbox;
  readonly #around: Pick<DurableObjectServices, 'now'>;
  #stored: StoredKeyLimits | undefined;
  #storedAt = Number.NEGATIVE_INFINITY;

  constructor(
    tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>,
    alerts: AlertOutbox,
    around: Pick<DurableObjectServices, 'now'>,
  ) {
    this.#tables = tables;
    this.#alerts = alerts;
    this.#around = around;
  }

  /**
   * Stores the limits that an account has reported, and alerts the operator when a limit becomes low: once for each incident.
   */
  recordKeyLimits(reported: readonly KeyRateLimits[] | undefined): void {
    if (!reported || reported.length === 0) return;
    const now = this.#around.now();
    const { limits: before, lowAt } = this.#read();
    const limits = mergeKeyRateLimits([...before, ...reported])
      .sort((one, other) => one.at - other.at)
      .slice(-MAX_STORED);
    const current: Record<string, number> = {};
    const due: KeyLimitReport[] = [];
    for (const one of limits) {
      const key = createLimitKey(one.upstream, one.modelClass);
      const lastLowAt = lowAt[key];
      const wasLow = lastLowAt !== undefined && now < lastLowAt + INCIDENT_MS;
      const [lowest] = listLimits(one).filter(isLow);
      const isCurrentlyLow = lowest !== undefined && now < one.at + CURRENT_MS;
      if (isCurrentlyLow && !wasLow) due.push(lowest);
      if (isCurrentlyLow || wasLow) current[key] = Math.max(lastLowAt ?? 0, isCurrentlyLow ? one.at : 0);
    }
    this.#stored = { limits, lowAt: current };
    if (due.length === 0 && now < this.#storedAt + STORE_INTERVAL_MS && now >= this.#storedAt) return;
    this.#tables.writeMetaValue(LIMITS, JSON.stringify(this.#stored));
    this.#storedAt = now;
    if (due.length > 0)
      this.#alerts.storeAndSendAlerts(
        due.map((one) => createKeyNearlyLimitedAlert(one, now)),
        UNOWNED,
      );
  }

  /** @returns whether it was reported that little is left of a limit of a model class, and the incident is not over */
  isNearlyLimited(upstream: string, modelClass: string): boolean {
    const lowAt = this.#read().lowAt[createLimitKey(upstream, modelClass)];
    return lowAt !== undefined && this.#around.now() < lowAt + INCIDENT_MS;
  }

  /** @returns the limits that were reported in the last minutes, those of which the least is left first */
  listKeyLimits(): KeyLimitReport[] {
    const now = this.#around.now();
    return this.#read()
      .limits.filter(({ at }) => now < at + CURRENT_MS)
      .flatMap(listLimits)
      .sort(compareRemainingShares);
  }

  /** @returns the limits of which less than a tenth was left when they were last reported */
  listLowLimits(): KeyLimitReport[] {
    return this.listKeyLimits().filter(isLow);
  }

  #read(): StoredKeyLimits {
    this.#stored ??= JSON.parse(this.#tables.readMetaValue(LIMITS) ?? '{"limits":[],"lowAt":{}}') as StoredKeyLimits;
    return this.#stored;
  }
}

function createLimitKey(upstream: string, modelClass: string): string {
  return `${upstream}\n${modelClass}`;
}

/** @returns each limit of a model class, those of which the least is left first */
function listLimits({ upstream, modelClass, at, limits }: KeyRateLimits): KeyLimitReport[] {
  return RATE_LIMIT_KINDS.flatMap((kind): KeyLimitReport[] => {
    const one = limits[kind];
    if (!one) return [];
    const { limit, remaining, resetsAt } = one;
    return [
      {
        upstream,
        model_class: modelClass,
        kind,
        limit,
        remaining,
        resets_at: toIsoTime(resetsAt),
        reported_at: toIsoTime(at),
      },
    ];
  }).sort(compareRemainingShares);
}

function compareRemainingShares(one: KeyLimitReport, other: KeyLimitReport): number {
  return one.remaining / one.limit - other.remaining / other.limit;
}

function isLow({ remaining, limit }: KeyLimitReport): boolean {
  return remaining < LOW_SHARE * limit;
}
