import { countTokens } from '../../claude/count-tokens.ts';
import { findDefaultModel } from '../../claude/pricing/default-model.ts';
import type { UpstreamObjectServices } from '../../claude/upstream-object.ts';
import { parseRejectionCause } from '../../claude/upstreams/key-health.ts';
import type { SqlTables } from '../../durable/tables.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { toIsoTime } from '../../kit/http/times.ts';
import { editJson } from '../../kit/json/edit.ts';
import { toJsonText } from '../../kit/json/object.ts';
import { type AlertOutbox, UNOWNED } from '../../money/alerts/alert-outbox.ts';
import { createUpstreamKeyAlert } from '../../money/alerts/create-alert.ts';
import type { UpstreamIncident } from './contracts/pool.ts';

/** How many upstreams' keys are tried again at once. */
const MAX_REJECTED_KEYS = 1_000;
/** The key in `meta` for a rejected key, followed by the name of its upstream; absent while the key works. */
const KEY_REFUSED = 'key_refused';
const TRY_KEY_MS = MINUTE_MS;
/** What may be tried by a count: refusals that the API gives to counts, too. */
const TRIED = /^(?:40[13] |\d+ \w+ (?:organization_on_hold|enforced_spend_limit_reached):)/;

/** A refusal that was reported. */
interface ReportedKeyRejection {
  /** The upstream's error. */
  words: string;
  /** The entry of UPSTREAMS that it belongs to, as JSON; empty for the only upstream. */
  entry: string;
  /** When it was reported; milliseconds since 1970. */
  since: number;
}

/** Knows for the whole deployment whether upstreams refuse its key. */
export class UpstreamKeyMonitor {
  readonly #tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue' | 'listMetaKeys'>;
  readonly #alerts: AlertOutbox;
  readonly #around: UpstreamObjectServices;

  constructor(
    tables: Pick<SqlTables, 'readMetaValue' | 'writeMetaValue' | 'listMetaKeys'>,
    alerts: AlertOutbox,
    around: UpstreamObjectServices,
  ) {
    this.#tables = tables;
    this.#alerts = alerts;
    this.#around = around;
  }

  /**
   * Records that an upstream rejects the key, or accepts it again, and alerts the operator: once for each, and again when the
   * cause of the rejection changes, independent of how many isolates have seen it.
   *
   * @param news the upstream's error; null if it accepts the key again
   * @param upstream its name; empty for the only one
   */
  recordUpstreamKeyState(news: string | null, upstream = ''): void {
    const before = this.#readReportedRejection(upstream);
    if (
      news === null ? before === undefined : before && parseRejectionCause(before.words) === parseRejectionCause(news)
    )
      return;
    const now = this.#around.now();
    const refusal =
      news === null ? undefined : { words: news, entry: this.#findUpstreamEntryJson(upstream) ?? '', since: now };
    this.#tables.writeMetaValue(KEY_REFUSED + upstream, refusal && JSON.stringify(refusal));
    this.#alerts.storeAndSendAlerts([createUpstreamKeyAlert(news, upstream, now, before?.since)], UNOWNED);
    if (news !== null) this.#around.alarm.scheduleAt(now + TRY_KEY_MS);
  }

  /** @returns whether it was reported that an upstream refuses the key, and not that it answers again */
  isKeyRejected(upstream: string): boolean {
    return this.#readReportedRejection(upstream) !== undefined;
  }

  /** @returns the upstreams that refuse the key; an empty name is that of the only one */
  listRejectingUpstreams(): string[] {
    return this.#listStoredKeys().map((key) => key.slice(KEY_REFUSED.length));
  }

  /** @returns the alerts of the rejections that are not over */
  listIncidents(): UpstreamIncident[] {
    return this.listRejectingUpstreams().flatMap((upstream) => {
      const refusal = this.#readReportedRejection(upstream);
      if (!refusal) return [];
      const { subject, todo } = createUpstreamKeyAlert(refusal.words, upstream, refusal.since).alert;
      return [{ kind: 'key_refused' as const, since: toIsoTime(refusal.since), subject, todo }];
    });
  }

  #listStoredKeys(): string[] {
    return this.#tables.listMetaKeys(KEY_REFUSED, MAX_REJECTED_KEYS).map((upstream) => KEY_REFUSED + upstream);
  }

  /** Tries refused keys, by the alarm, and closes what belongs to an upstream that is gone. */
  async retryRejectedKeys(): Promise<void> {
    for (const key of this.#listStoredKeys()) {
      const name = key.slice(KEY_REFUSED.length);
      const refusal = this.#readReportedRejection(name);
      if (refusal && this.#findUpstreamEntryJson(name) !== refusal.entry) this.recordUpstreamKeyState(null, name);
      else if (refusal) await this.#retryKey(name, refusal.words);
    }
  }

  #readReportedRejection(upstream: string): ReportedKeyRejection | undefined {
    const text = this.#tables.readMetaValue(KEY_REFUSED + upstream);
    return text === undefined ? undefined : (JSON.parse(text) as ReportedKeyRejection);
  }

  /** @returns the entry of UPSTREAMS with a name, as JSON, empty for the only upstream; undefined if there is none */
  #findUpstreamEntryJson(upstream: string): string | undefined {
    const { UPSTREAMS } = this.#around.settings();
    if (upstream === '') return UPSTREAMS.length === 0 ? '' : undefined;
    const entry = UPSTREAMS.find((one) => toJsonText(one.name) === upstream);
    return entry && JSON.stringify(entry);
  }

  /**
   * Tries a rejected key with a token count, which is free. Once the operator has replaced the key, the restarted isolates do
   * not know of the rejection, so none of them would report that the key works. An open bill is not tried, because token counts
   * may work despite it.
   *
   * @param name of the upstream; empty for the only one
   */
  async #retryKey(name: string, words: string): Promise<void> {
    this.#around.alarm.scheduleAt(this.#around.now() + TRY_KEY_MS);
    if (!TRIED.test(words)) return;
    const settings = this.#around.settings();
    try {
      const upstream = this.#around.getUpstream();
      const one = upstream.pool?.all.find((any) => any.name === name);
      const served = one && settings.models.rows.find(({ id }) => one.idOf(id) !== undefined);
      const model = (served ?? findDefaultModel(settings.models))?.id ?? '';
      const body = JSON.stringify({ model, messages: [{ role: 'user', content: '.' }] });
      const request = { upstream, settings, model, headers: {}, requiredUpstream: one?.name };
      await countTokens((changes) => editJson(body, changes), request);
      this.#around.retries.recordSuccess('key_check', name);
      this.recordUpstreamKeyState(null, name);
    } catch (thrown) {
      // The key is still rejected, or the upstream cannot be reached, so the next alarm tries again.
      const nextAt = this.#around.now() + TRY_KEY_MS;
      this.#around.retries.recordFailure('key_check', thrown, nextAt, { subject: name });
    }
  }
}
