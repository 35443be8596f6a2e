/** Consumes the queue: has each event labelled, or worked on by an agent, once; delivers the result; retries failures. */

import { createMarkedRequestId } from '../../auth/account-mark.ts';
import { type ClassificationResult, classify } from '../../classify/task/classify.ts';
import { resolveTask } from '../../classify/task/task.ts';
import { toUsd } from '../../claude/pricing/cost.ts';
import { type Fetch, upstreamOf } from '../../claude/upstream.ts';
import { type Settings, settingsOf } from '../../config/settings.ts';
import type { Remote } from '../../durable/call-object.ts';
import { type DeliveryFailure, type DeliveryTarget, deliver } from '../../kit/delivery/deliver.ts';
import { ALERT_SCHEDULE, leaseMsOf, pauseMsAfter, SCHEDULE, type Schedule } from '../../kit/delivery/schedule.ts';
import { toApiError } from '../../kit/http/errors.ts';
import { logWork, type WorkLine } from '../../kit/http/log.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { limitationOf } from '../../money/admission/limitation.ts';
import { alertTarget } from '../../money/alerts/alert-outbox.ts';
import { ALERT_SOURCE } from '../../money/alerts/alert-source.ts';
import type { AlertBody } from '../../money/alerts/alerts-answers.schema.ts';
import { type AgentError, workOnEvent } from './agent-work.ts';
import type { Conclusion, InboxObject, InboxWork } from './contracts/inbox.ts';
import { callInbox } from './inbox/call-inbox.ts';
import { sourceOf } from './receive.ts';
import { shippedWebhooks } from './shipped-sources.ts';
import type { Webhook } from './sources/define-webhook.ts';
import { type SourcesInUse, withConfiguredSources } from './sources-in-use.ts';
import { createTarget } from './target.ts';
import type { Attempt, Delivered, DeliveredAnswer, EventResult } from './webhooks-answers.schema.ts';

export interface ConsumerOptions {
  /** The sources, the same as for `createApp`. Default: the sources that Sluice comes with. */
  webhooks?: readonly Webhook[];
  /** Replaces `fetch` for everything that goes to the Claude API. */
  fetch?: Fetch;
  deliveryFetch?: Fetch;
}

/** Seconds after which the queue brings a message again, when its inbox could not be reached: after the 1st, 2nd, … time. */
const MESSAGE_PAUSES = [10, 30, 120, 600];
/** Waiting events come again at slightly different times, so that they do not all come at once. */
const SPREAD_MS = 1_000;

/**
 * Makes the `queue` handler of a Worker.
 *
 * The handler never throws: an error would bring back every message of the batch, even the finished ones.
 *
 * @example
 * const options = { plugins: [webhooks], webhooks: shippedWebhooks };
 * export default { fetch: createApp(options).fetch, queue: createConsumer(options) };
 */
export function createConsumer(options: ConsumerOptions = {}) {
  const webhooks = withConfiguredSources(options.webhooks ?? shippedWebhooks);
  return async (batch: MessageBatch<string>, env: Bindings, ctx: ExecutionContext): Promise<void> => {
    const handled = batch.messages.map(async (message) => {
      try {
        if (typeof message.body === 'string') await new WebhookJob(message.body, { webhooks, options, env, ctx }).run();
        message.ack();
      } catch (thrown) {
        logWork({ event_id: String(message.body), error_type: toApiError(thrown).logged });
        message.retry({ delaySeconds: MESSAGE_PAUSES[message.attempts - 1] ?? MESSAGE_PAUSES.at(-1) ?? 0 });
      }
    });
    await Promise.all(handled);
  };
}

type LeasedWork = Exclude<InboxWork, { kind: 'none' }>;
type NextState = Conclusion['to'];
type AttemptError = NonNullable<Attempt['error']>;

interface JobWorker {
  webhooks: SourcesInUse;
  options: ConsumerOptions;
  env: Bindings;
  ctx: ExecutionContext;
}

/** Works on one event once. If it crashes, the inbox's alarm starts another job for the rest. */
class WebhookJob {
  readonly #id: string;
  readonly #source: string;
  readonly #worker: JobWorker;
  readonly #settings: Settings;
  readonly #began = Date.now();
  readonly #line: WorkLine;

  constructor(id: string, worker: JobWorker) {
    this.#id = id;
    this.#source = sourceOf(id);
    this.#worker = worker;
    this.#settings = settingsOf(worker.env);
    this.#line = { event_id: id, source: this.#source, version: worker.env.CF_VERSION_METADATA?.id };
  }

  /** Takes the event, works on it, and delivers the result. @throws ApiError while the inbox cannot be reached */
  async run(): Promise<void> {
    if (this.#source === '') return;
    const webhook = this.#worker.webhooks(this.#settings).get(this.#source);
    const lease = leaseMsOf(webhook?.schedule ?? SCHEDULE);
    const work = await this.#inbox((inbox) => inbox.begin(this.#id, lease));
    if (work.kind === 'none') return;
    this.#line.account = work.account;
    try {
      await this.#work(work, webhook);
    } finally {
      this.#line.ms = Date.now() - this.#began;
      logWork(this.#line);
    }
  }

  async #work(work: LeasedWork, webhook: Webhook | undefined): Promise<void> {
    if (this.#source === ALERT_SOURCE) return await this.#deliverAlert(work);
    if (!webhook) {
      const message = `This deployment has no webhook ${this.#source} any more.`;
      return await this.#conclude(work, { state: 'parked' }, { type: 'not_found_error', message });
    }
    const target = createTarget(webhook, this.#settings);
    const { agent } = webhook;
    const done = agent === undefined ? 'classified' : 'answered';
    let { result, failures } = work;
    if (result === null) {
      const outcome =
        agent === undefined ? await this.#classify(webhook, work) : await this.#askAgent(agent, webhook, work);
      if ('to' in outcome) return await this.#conclude(work, outcome.to, outcome.error);
      const last = target === undefined ? { lease: work.lease, attempt: this.#attempt(null) } : undefined;
      // Two jobs may both have a result. The first one is recorded, and only that one is delivered.
      result = await this.#inbox((inbox) => inbox.record(this.#id, outcome.result, last));
      failures = 0;
      this.#line.state = done;
      // Null: the event was erased meanwhile.
      if (result === null || last) return;
    }
    if (target === undefined) return await this.#conclude(work, { state: done }, null);
    await this.#deliver(webhook, target, { ...work, failures }, result);
  }

  async #askAgent(agent: string, { schedule }: Webhook, work: LeasedWork): Promise<WorkOutcome> {
    const { text, account, turn, failures, receivedAt } = work;
    if (text === null) return TOO_LONG;
    const retry = (notBefore: number | null): NextState =>
      this.#retryLater(schedule.classification, failures, notBefore);
    try {
      const requestId = await createMarkedRequestId(account, this.#settings);
      this.#line.request_id = requestId;
      const progress = await workOnEvent(
        { agent, event: this.#id, account, text, turn },
        {
          env: this.#worker.env,
          settings: this.#settings,
          requestId,
          waitMs: Math.min(AGENT_WAIT_MS, schedule.classificationTimeout),
          onBegun: (place) => this.#inbox((inbox) => inbox.noteTurn(this.#id, place)),
        },
      );
      switch (progress.kind) {
        case 'ended':
          this.#line.cost_usd = progress.answer.cost_usd;
          return { result: progress.answer };
        case 'running': {
          // The longer it has taken, the longer the pause until the next check.
          const pause = Math.min(Math.max((Date.now() - receivedAt) / 4, SHORTEST_LOOK_MS), LONGEST_LOOK_MS);
          return { to: { state: 'running', at: Date.now() + pause }, error: null };
        }
        case 'failed':
          return failedWork(progress.error, retry, progress.error.status === 410 ? { state: 'parked' } : undefined);
      }
    } catch (thrown) {
      return failedWork(toApiError(thrown), retry);
    }
  }

  async #classify(webhook: Webhook, { text, account, failures }: LeasedWork): Promise<WorkOutcome> {
    const { task: labelling, schedule } = webhook;
    if (text === null) return TOO_LONG;
    const place = {
      identity: { account, scopes: [], token: undefined },
      accounts: this.#worker.env,
      store: this.#worker.env.STORE,
      settings: this.#settings,
    };
    const retry = (notBefore: number | null): NextState =>
      this.#retryLater(schedule.classification, failures, notBefore);
    let outcome: ClassificationResult;
    let version: string | undefined;
    try {
      const task = await resolveTask(labelling, place);
      version = task.version;
      const requestId = await createMarkedRequestId(account, this.#settings);
      this.#line.request_id = requestId;
      outcome = await classify(task, text, {
        ...place,
        upstream: upstreamOf(this.#settings, this.#worker.options.fetch),
        requestId,
        route: 'webhook',
        signal: AbortSignal.timeout(schedule.classificationTimeout),
        waitUntil: (work) => this.#worker.ctx.waitUntil(work),
      });
    } catch (thrown) {
      // There is no such classifier, or no key. An operator may correct that before the last attempt.
      return failedWork(toApiError(thrown), retry);
    }
    this.#line.model = outcome.model;
    this.#line.cost_usd = toUsd(outcome.nanodollars);
    if (outcome.outcome === 'classified') {
      const { model: answered, usage, nanodollars, result } = outcome;
      const facts = { model: answered, classifier: version ?? null, usage: { ...usage }, cost_usd: toUsd(nanodollars) };
      return { result: { ...result, ...facts, classified_at: new Date().toISOString() } };
    }
    const { reason, error } = outcome;
    const isFinal = reason === 'input' || (reason === 'answer' && failures > 0);
    return failedWork(error, retry, isFinal ? { state: 'failed' } : undefined);
  }

  /** Delivers an alert. It needs no label: its text itself is delivered. */
  async #deliverAlert(work: LeasedWork): Promise<void> {
    const target = alertTarget(this.#settings);
    if (target === undefined || work.text === null) return await this.#conclude(work, { state: 'classified' }, null);
    await this.#send(JSON.parse(work.text) as AlertBody, target, ALERT_SCHEDULE, work);
  }

  async #deliver(
    webhook: Webhook,
    target: DeliveryTarget<Delivered | DeliveredAnswer>,
    work: LeasedWork,
    result: EventResult,
  ): Promise<void> {
    const { subject, receivedAt } = work;
    const event = {
      event_id: this.#id,
      source: this.#source,
      subject,
      received_at: new Date(receivedAt).toISOString(),
    };
    const delivered: Delivered | DeliveredAnswer =
      'agent' in result
        ? { type: 'webhook_event.answered', ...event, ...result }
        : { type: 'webhook_event.classified', ...event, ...result };
    await this.#send(delivered, target, webhook.schedule, work);
  }

  async #send<Result extends { event_id: string }>(
    result: Result,
    target: DeliveryTarget<Result>,
    schedule: Schedule,
    work: LeasedWork,
  ): Promise<void> {
    const { failures } = work;
    const failure: DeliveryFailure | undefined = await deliver(result, target, {
      env: this.#worker.env,
      settings: this.#settings,
      fetch: this.#worker.options.deliveryFetch ?? ((url, init) => fetch(url, init)),
      now: Date.now(),
      timeoutMs: schedule.deliveryTimeout,
    });
    if (!failure) return await this.#conclude(work, { state: 'delivered' }, null);
    const { type, message, status, retryAfter, final } = failure;
    const notBefore = retryAfter === undefined ? null : Date.now() + retryAfter;
    const to: NextState = final ? { state: 'parked' } : this.#retryLater(schedule.delivery, failures, notBefore);
    await this.#conclude(work, to, { type, message, ...(status === undefined ? {} : { status }) });
  }

  /**
   * Schedules the next try (retry) of a webhook's event after a failure.
   *
   * @returns when it is tried again; `parked` after the last try
   */
  #retryLater(pauses: readonly number[], failures: number, notBefore: number | null): NextState {
    const pause = pauseMsAfter(pauses, failures + 1);
    if (pause === undefined) return { state: 'parked' };
    return { state: 'again', pause, notBefore };
  }

  async #conclude({ lease }: LeasedWork, to: NextState, error: AttemptError | null): Promise<void> {
    this.#line.state = to.state;
    this.#line.error_type = error?.type;
    await this.#inbox((inbox) => inbox.conclude(this.#id, { lease, to, attempt: this.#attempt(error) }));
  }

  #attempt(error: AttemptError | null): Attempt {
    return { at: new Date(this.#began).toISOString(), ms: Date.now() - this.#began, error };
  }

  #inbox<T>(call: (inbox: Remote<InboxObject>) => Promise<T>): Promise<T> {
    return callInbox({ inboxes: this.#worker.env, settings: this.#settings, source: this.#source }, call);
  }
}

/** The result of one attempt to work on an event. */
type WorkOutcome = { result: EventResult } | { to: NextState; error: AttemptError | null };

const TOO_LONG: WorkOutcome = {
  to: { state: 'failed' },
  error: { type: 'invalid_request_error', message: 'The text is longer than what can be worked on.' },
};
/** Milliseconds that a job waits for an agent. Meanwhile it occupies a place in the queue. */
const AGENT_WAIT_MS = 30_000;
const SHORTEST_LOOK_MS = 5_000;
const LONGEST_LOOK_MS = 5 * 60_000;

/** @returns what becomes of an event that was not worked on, by the error that says why. @param to if that is decided already */
function failedWork(
  { type, message, headers }: Pick<AgentError, 'type' | 'message' | 'headers'>,
  retry: (notBefore: number | null) => NextState,
  to?: NextState,
): WorkOutcome {
  const { isOwn, passes, retryAt } = limitationOf({ type, headers });
  // Reaching a limit of the account or its pools is not a failure. Reaching the upstream's limit is.
  const waits = isOwn && passes !== 'never';
  const at = (retryAt ?? Date.now()) + Math.round(SPREAD_MS * Math.random());
  return { to: to ?? (waits ? { state: 'waiting', at } : retry(retryAt)), error: { type, message } };
}
