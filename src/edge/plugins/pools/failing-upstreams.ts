import type { DurableObjectServices } from '../../durable/edge-object.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { OTHER_LABEL } from '../../kit/http/isolate-counts.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { type AlertOutbox, UNOWNED } from '../../money/alerts/alert-outbox.ts';
import { createUpstreamFailingAlert, createUpstreamWorksAlert, formatMinute } from '../../money/alerts/create-alert.ts';
import type { OutageState, OutcomeCount, UpstreamIncident } from './contracts/pool.ts';
import type { KeyLimitMonitor } from './key-limits.ts';
import { mergeOutcomeCounts, REPORTED_MINUTES } from './leases/recent-outcomes.ts';
import type { UpstreamKeyMonitor } from './refused-key.ts';

/** The key in `meta` of the outages that were reported. */
const OUTAGES = 'upstream_outages';
/** In how many whole minutes requests must fail, in addition to the current minute. */
const FAILING_MINUTES = 5;
const LEAST_REQUESTS = 10;
/** More than this share fails while an upstream is failing. */
const FAILING_SHARE = 0.2;
/** At most this share fails once an upstream works again. It is smaller, so that a steady share causes no series of alerts. */
const WORKING_SHARE = 0.1;
/** The most outages that are stored: more than there are models at several upstreams. The oldest are dropped. */
const MAX_OUTAGES = 200;

/** The outcomes that an account has reported: before its object woke, and since. */
export interface ReportedOutcomes {
  earlier: OutcomeCount[];
  current: OutcomeCount[];
}

/** An outage of an upstream, or of one of its models, that was reported to the operator. */
interface Outage {
  upstream: string;
  /** Empty if the whole upstream fails. */
  model: string;
  /** The minute of its first failure; milliseconds since 1970. */
  since: number;
  /** When it was reported; milliseconds since 1970. */
  reportedAt: number;
  /** Whether other upstreams had answered all failed requests when it was reported. */
  wasRerouted: boolean;
}

type OutcomeSum = Pick<OutcomeCount, 'requests' | 'failed' | 'rerouted' | 'error'>;

/**
 * Knows for the whole deployment which upstreams and models fail. It adds up the counts of all accounts, which are stored in the
 * rows of their leases. So an object that wakes knows as much as before.
 */
export class UpstreamOutageMonitor {
  readonly #tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>;
  readonly #alerts: AlertOutbox;
  readonly #keys: Pick<UpstreamKeyMonitor, 'isKeyRejected'>;
  readonly #keyLimits: Pick<KeyLimitMonitor, 'isNearlyLimited'>;
  readonly #around: Pick<DurableObjectServices, 'now' | 'settings'>;
  /** By minute, and by upstream and model: the sums over all leases. */
  readonly #sums = new Map<number, Map<string, OutcomeCount>>();
  #outages: Outage[] | undefined;

  constructor(
    tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue'>,
    alerts: AlertOutbox,
    keys: Pick<UpstreamKeyMonitor, 'isKeyRejected'>,
    keyLimits: Pick<KeyLimitMonitor, 'isNearlyLimited'>,
    around: Pick<DurableObjectServices, 'now' | 'settings'>,
  ) {
    this.#tables = tables;
    this.#alerts = alerts;
    this.#keys = keys;
    this.#keyLimits = keyLimits;
    this.#around = around;
  }

  /** Adds the counts of stored leases while they are read. */
  *countStoredLeases<Lease extends { outcomes: ReportedOutcomes | null }>(leases: Iterable<Lease>): Generator<Lease> {
    for (const lease of leases) {
      this.#addCounts(lease.outcomes, 1);
      yield lease;
    }
  }

  /**
   * Replaces the outcomes that an account has reported.
   *
   * @param before the stored report; null if there is none
   * @param isSameIncarnation whether the account's object has not restarted since then
   * @returns the report to store instead
   */
  replaceReport(
    before: ReportedOutcomes | null,
    reported: OutcomeCount[] | undefined,
    isSameIncarnation: boolean,
  ): ReportedOutcomes | null {
    const first = this.#firstMinute;
    const { earlier = [], current = [] } = before ?? {};
    const kept = isSameIncarnation ? earlier : mergeOutcomeCounts([...earlier, ...current]);
    const after: ReportedOutcomes = {
      earlier: kept.filter(({ minute }) => minute >= first),
      current: (reported ?? []).filter(({ minute }) => minute >= first),
    };
    this.#addCounts(before, -1);
    this.#addCounts(after, 1);
    return after.earlier.length + after.current.length > 0 ? after : null;
  }

  /** Alerts the operator when an upstream or a model begins to fail, and when it works again: once for each outage. */
  raiseDueAlerts(): void {
    const now = this.#around.now();
    const before = this.#storedOutages;
    for (const minute of this.#sums.keys()) if (minute < this.#firstMinute) this.#sums.delete(minute);
    if (this.#sums.size === 0) return;
    const over = before.filter((outage) => this.#isOver(outage));
    const open = before.filter((outage) => !over.includes(outage));
    const begun = this.#findNewOutages(open).map(({ sum, ...place }) => ({
      sum,
      ...place,
      reportedAt: now,
      wasRerouted: sum.rerouted === sum.failed,
    }));
    if (over.length + begun.length === 0) return;
    // An outage of the whole upstream includes those of its models: it ends once, for all of them.
    const isIncluded = ({ upstream }: Outage) => begun.some((one) => one.upstream === upstream && one.model === '');
    const outages = [...open.filter((outage) => !isIncluded(outage)), ...begun.map(({ sum: _, ...outage }) => outage)];
    this.#storeOutages(outages.slice(-MAX_OUTAGES));
    const due = [
      ...over.map((outage) => createUpstreamWorksAlert(outage, this.#findEnd(outage), now)),
      ...begun.map((outage) => {
        const { upstream, since, sum } = outage;
        const failures = this.#describeFailures(upstream, sum, `since ${formatMinute(since)}`);
        return createUpstreamFailingAlert(outage, failures, now, outage.wasRerouted);
      }),
    ];
    this.#alerts.storeAndSendAlerts(due, UNOWNED);
  }

  /** @returns the upstreams and models that are failing; an empty model means the whole upstream */
  listOutages(): OutageState[] {
    return this.#storedOutages.map((outage) => {
      const { upstream, model } = outage;
      return { upstream, model, isRerouted: isRerouted(outage, this.#sumOutage(outage)) };
    });
  }

  /** Sums up the last minutes of an outage. The requests before would make a new total outage look like a small one. */
  #sumOutage({ upstream, model, since }: Outage): OutcomeSum {
    const minutes = Math.floor((this.#around.now() - since) / MINUTE_MS);
    const byModel = this.#sumByModel(upstream, Math.min(FAILING_MINUTES, minutes));
    return model === '' ? addOutcomeSums(byModel.values()) : (byModel.get(model) ?? NOTHING);
  }

  /** @returns the outages that are not over, each with the failures of the last minutes */
  listIncidents(): UpstreamIncident[] {
    const now = this.#around.now();
    return this.#storedOutages.map((outage) => {
      const { upstream, since } = outage;
      const sum = this.#sumOutage(outage);
      const isCalm = isRerouted(outage, sum);
      const isNew = now - since < FAILING_MINUTES * MINUTE_MS;
      const when = isNew ? `since ${formatMinute(since)}` : 'in the last five minutes';
      const failures = this.#describeFailures(upstream, sum, when);
      const { subject, todo } = createUpstreamFailingAlert(outage, failures, now, isCalm).alert;
      return {
        kind: 'upstream_failing',
        since: toIsoTime(since),
        subject,
        todo,
        ...(isCalm && { rerouted: true as const }),
      };
    });
  }

  /** @param when the time of the requests in the sentence */
  #describeFailures(upstream: string, { requests, failed, rerouted, error }: OutcomeSum, when: string): string {
    if (requests === 0) return `no requests ${when}`;
    const failures = `${failed} of ${requests} requests failed ${when}`;
    if (failed === 0) return failures;
    const others = this.#configuredNames.filter((name) => name !== upstream && this.#hasAnswered(name));
    const who = others.length > 0 ? others.join(' and ') : 'other upstreams';
    if (rerouted === failed) return `${failures}, and ${who} answered them`;
    const answered = rerouted > 0 ? `, and ${who} answered ${rerouted} of them` : '';
    return `${failures}, the last with ${error}${answered}`;
  }

  /** @returns how many requests an upstream rejected in the last minutes because of a rate limit of a class of models */
  countRateLimitedRequests(upstream: string, modelClass: string): number {
    const toRateLimited = (count: OutcomeCount) =>
      count.error === 'rate_limit_error' && this.#findModelClass(count.model) === modelClass ? count : NOTHING;
    return addOutcomeSums(this.#sumByModel(upstream, FAILING_MINUTES, toRateLimited).values()).failed;
  }

  #findModelClass(model: string): string {
    return this.#around.settings().models.findRow(model)?.line ?? OTHER_LABEL;
  }

  #hasAnswered(upstream: string): boolean {
    const { requests, failed } = addOutcomeSums(this.#sumByModel(upstream, FAILING_MINUTES).values());
    return requests > failed;
  }

  /** @returns the end of the last minute with a failure; undefined if that is too long ago */
  #findEnd({ upstream, model }: Outage): number | undefined {
    const minutes = [...this.#sums].filter(([, counts]) =>
      [...counts.values()].some(
        (count) => count.upstream === upstream && (model === '' || count.model === model) && count.failed > 0,
      ),
    );
    return minutes.length === 0 ? undefined : (Math.max(...minutes.map(([minute]) => minute)) + 1) * MINUTE_MS;
  }

  #isOver(outage: Outage): boolean {
    if (!this.#configuredNames.includes(outage.upstream)) return true;
    const { requests, failed } = this.#sumOutage(outage);
    // Without requests, it is unknown whether the upstream works again, so the outage is not over.
    return requests > 0 && isWorking({ requests, failed });
  }

  /**
   * Reports a model by itself only if the other models work. At the beginning of an outage of the whole upstream, one model
   * exceeds the share before the others do.
   */
  #findNewOutages(open: readonly Outage[]): (Omit<Outage, 'reportedAt' | 'wasRerouted'> & { sum: OutcomeSum })[] {
    const isOpen = (upstream: string, model: string) =>
      open.some((outage) => outage.upstream === upstream && outage.model === model);
    return this.#configuredNames.flatMap((upstream) => {
      // Do not report an upstream whose key is rejected, because that has an alert of its own.
      if (isOpen(upstream, '') || this.#keys.isKeyRejected(upstream)) return [];
      const byModel = this.#sumByModel(upstream, FAILING_MINUTES, (count) => this.#withoutKnownLimit(count));
      const isNamedAndFailing = (model: string) => model !== '' && isFailing(byModel.get(model) ?? NOTHING);
      const unreported = [...byModel].filter(([model]) => !isOpen(upstream, model));
      const failing = unreported.filter(([model]) => isNamedAndFailing(model));
      const sum = addOutcomeSums(unreported.map(([, one]) => one));
      if (failing.length === 0 && !isFailing(sum)) return [];
      const rest = addOutcomeSums([...byModel].filter(([model]) => !isNamedAndFailing(model)).map(([, one]) => one));
      const isRestFailing = rest.requests === 0 || rest.failed > FAILING_SHARE * rest.requests;
      const whole = this.#sumSinceFirstFailure(upstream, (model) => !isOpen(upstream, model));
      const isWhole = isRestFailing
        ? isFailing(sum)
        : isFailing(whole.sum) && !isWorking(this.#sumRestWhileFailing(upstream, isNamedAndFailing));
      if (isWhole) return [{ upstream, model: '', ...whole }];
      return failing.map(([model]) => ({
        upstream,
        model,
        ...this.#sumSinceFirstFailure(upstream, (one) => one === model),
      }));
    });
  }

  /**
   * Sums up the outcomes from the first minute with a failure. The requests before would make a total outage look like a small one.
   */
  #sumSinceFirstFailure(upstream: string, isCounted: (model: string) => boolean): { since: number; sum: OutcomeSum } {
    const first = Math.floor(this.#around.now() / MINUTE_MS) - FAILING_MINUTES;
    const counts = [...this.#sums]
      .sort(([one], [other]) => one - other)
      .flatMap(([minute, ofMinute]) =>
        [...ofMinute.values()]
          .filter((count) => minute >= first && count.upstream === upstream && isCounted(count.model))
          .map((count) => ({ minute, ...this.#withoutKnownLimit(count) })),
      );
    const since = counts.find(({ failed }) => failed > 0)?.minute ?? first;
    return { since: since * MINUTE_MS, sum: addOutcomeSums(counts.filter(({ minute }) => minute >= since)) };
  }

  /** Sums up the other models' outcomes in the minutes in which the failing models had failures. */
  #sumRestWhileFailing(upstream: string, isModelFailing: (model: string) => boolean): OutcomeSum {
    const first = Math.floor(this.#around.now() / MINUTE_MS) - FAILING_MINUTES;
    const minutes = [...this.#sums]
      .filter(([minute]) => minute >= first)
      .map(([, counts]) => [...counts.values()].filter((count) => count.upstream === upstream))
      .filter((counts) => counts.some(({ model, failed }) => failed > 0 && isModelFailing(model)));
    const rest = minutes.flat().filter(({ model }) => !isModelFailing(model));
    return addOutcomeSums(rest.map((count) => this.#withoutKnownLimit(count)));
  }

  /** The names of the upstreams in the settings; the only upstream has an empty name. */
  get #configuredNames(): readonly string[] {
    const { UPSTREAMS } = this.#around.settings();
    return UPSTREAMS.length === 0 ? [''] : UPSTREAMS.map(({ name }) => String(name));
  }

  /** @param toSum returns what counts of one minute's outcomes */
  #sumByModel(
    upstream: string,
    minutes: number,
    toSum: (count: OutcomeCount) => OutcomeSum = (count) => count,
  ): Map<string, OutcomeSum> {
    const first = Math.floor(this.#around.now() / MINUTE_MS) - minutes;
    const sums = new Map<string, OutcomeSum>();
    for (const [minute, counts] of [...this.#sums].sort(([one], [other]) => one - other)) {
      if (minute < first) continue;
      for (const count of counts.values())
        if (count.upstream === upstream && count.requests > 0)
          sums.set(count.model, addOutcomeSums([sums.get(count.model) ?? NOTHING, toSum(count)]));
    }
    return sums;
  }

  /** Does not count failures by a rate limit of the key that has an alert of its own. */
  #withoutKnownLimit(count: OutcomeCount): OutcomeSum {
    if (count.error !== 'rate_limit_error') return count;
    if (!this.#keyLimits.isNearlyLimited(count.upstream, this.#findModelClass(count.model))) return count;
    return { ...NOTHING, requests: count.requests };
  }

  #addCounts(outcomes: ReportedOutcomes | null, sign: 1 | -1): void {
    if (!outcomes) return;
    const first = this.#firstMinute;
    for (const count of [...outcomes.earlier, ...outcomes.current]) {
      const { minute, upstream, model, requests, failed, rerouted, error } = count;
      if (minute < first) continue;
      const ofMinute = this.#sums.get(minute) ?? new Map<string, OutcomeCount>();
      this.#sums.set(minute, ofMinute);
      const key = `${upstream}\n${model}`;
      const sum = ofMinute.get(key) ?? { minute, upstream, model, ...NOTHING };
      sum.requests += sign * requests;
      sum.failed += sign * failed;
      sum.rerouted += sign * rerouted;
      if (error !== '') sum.error = error;
      ofMinute.set(key, sum);
    }
  }

  get #firstMinute(): number {
    return Math.floor(this.#around.now() / MINUTE_MS) - REPORTED_MINUTES;
  }

  get #storedOutages(): readonly Outage[] {
    this.#outages ??= JSON.parse(this.#tables.readMetaValue(OUTAGES) ?? '[]') as Outage[];
    return this.#outages;
  }

  #storeOutages(outages: Outage[]): void {
    this.#tables.writeMetaValue(OUTAGES, outages.length === 0 ? undefined : JSON.stringify(outages));
    this.#outages = outages;
  }
}

const NOTHING: OutcomeSum = { requests: 0, failed: 0, rerouted: 0, error: '' };

function addOutcomeSums(sums: Iterable<OutcomeSum>): OutcomeSum {
  const all = { ...NOTHING };
  for (const { requests, failed, rerouted, error } of sums) {
    all.requests += requests;
    all.failed += failed;
    all.rerouted += rerouted;
    all.error = error || all.error;
  }
  return all;
}

function isFailing({ requests, failed }: OutcomeSum): boolean {
  return requests >= LEAST_REQUESTS && failed > FAILING_SHARE * requests;
}

/** @returns whether at most a tenth of the requests failed. Without requests, nothing has failed */
function isWorking({ requests, failed }: Pick<OutcomeSum, 'requests' | 'failed'>): boolean {
  return failed <= WORKING_SHARE * requests;
}

/** @returns whether other upstreams answer all requests that fail. Without failures, this stays unchanged */
function isRerouted({ wasRerouted }: Outage, { failed, rerouted }: OutcomeSum): boolean {
  return failed > 0 ? rerouted === failed : wasRerouted;
}
