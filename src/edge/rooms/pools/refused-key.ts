import type { CallingSurroundings } from '../../claude/calling-object.ts';
import { countTokens } from '../../claude/count-tokens.ts';
import { defaultModel } from '../../claude/pricing/default-model.ts';
import { MINUTE_MS } from '../../kit/async/durations.ts';
import { edit } from '../../kit/json/edit.ts';
import { asText } from '../../kit/json/object.ts';
import { type AlertOutbox, OF_NO_ACCOUNT } from '../../money/alerts/alert-outbox.ts';
import { keyAlert } from '../../money/budget/thresholds.ts';
import type { Tables } from '../../objects/tables.ts';

/** What an upstream said when it refused the deployment's key, behind this its name; absent while it works. */
const KEY_REFUSED = 'key_refused';
const TRY_KEY_MS = MINUTE_MS;
/** What may be tried by a count: refusals that the API gives to counts, too. */
const TRIED = /^(?:40[13] |\d+ \w+ (?:organization_on_hold|enforced_spend_limit_reached):)/;

/** Knows for the whole deployment whether upstreams refuse its key. */
export class RefusedKey {
  readonly #tables: Pick<Tables, 'meta' | 'setMeta'>;
  readonly #alerts: AlertOutbox;
  readonly #around: CallingSurroundings;

  constructor(tables: Pick<Tables, 'meta' | 'setMeta'>, alerts: AlertOutbox, around: CallingSurroundings) {
    this.#tables = tables;
    this.#alerts = alerts;
    this.#around = around;
  }

  /**
   * Notes that an upstream refuses the key, or answers again, and tells the operator: once each, whichever isolates have seen
   * it.
   *
   * @param news what the upstream said; null if it answers again
   * @param upstream its name; empty for the only one
   */
  note(news: string | null, upstream = ''): void {
    const place = KEY_REFUSED + upstream;
    if ((news === null) === (this.#tables.meta(place) === undefined)) return;
    const now = this.#around.now();
    this.#tables.setMeta(place, news ?? undefined);
    this.#alerts.raise([keyAlert(news, upstream, now)], OF_NO_ACCOUNT);
    if (news !== null) this.#around.alarm.wakeFor(now + TRY_KEY_MS);
  }

  /** Tries refused keys, by the alarm. */
  async tryAll(): Promise<void> {
    for (const name of ['', ...this.#around.settings().UPSTREAMS.map((one) => asText(one.name))]) await this.#try(name);
  }

  /**
   * Tries a refused key by a count, which is free: whoever has put in another one has restarted all that knew of the refusal.
   * An open bill is not tried, because counts may be free of that, too.
   *
   * @param name of the upstream; empty for the only one
   */
  async #try(name: string): Promise<void> {
    const words = this.#tables.meta(KEY_REFUSED + name);
    if (words === undefined || !TRIED.test(words)) return;
    this.#around.alarm.wakeFor(this.#around.now() + TRY_KEY_MS);
    const settings = this.#around.settings();
    try {
      const upstream = this.#around.upstream();
      const one = upstream.pool?.all.find((any) => any.name === name);
      const served = one && settings.models.rows.find(({ id }) => one.idOf(id) !== undefined);
      const model = (served ?? defaultModel(settings.models))?.id ?? '';
      const body = JSON.stringify({ model, messages: [{ role: 'user', content: '.' }] });
      const request = { upstream, settings, model, headers: {}, only: one?.name };
      await countTokens((changes) => edit(body, changes), request);
      this.#around.retries.succeeded('key_check');
      this.note(null, name);
    } catch (thrown) {
      // Refused as before, or not reached: the next alarm tries again.
      this.#around.retries.failed('key_check', thrown, this.#around.now() + TRY_KEY_MS);
    }
  }
}
