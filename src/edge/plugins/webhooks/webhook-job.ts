/** Consumes the queue: has each event labelled, or worked on by an agent, once; delivers the result; retries failures. */

import { createMarkedRequestId } from '../../auth/account-mark.ts';
import { type ClassificationResult, classifyText } from '../../classify/task/classify.ts';
import { resolveTask } from '../../classify/task/task.ts';
import { toUsd } from '../../claude/pricing/cost.ts';
import { type Fetch, getUpstreamBySettings } from '../../claude/upstream.ts';
import { parseSettingsOnce, type Settings } from '../../config/settings.ts';
import type { RemoteMethods } from '../../durable/call-object.ts';
import { type DeliveryFailure, type DeliveryTarget, deliverResultOnce } from '../../kit/delivery/deliver.ts';
import { ALERT_SCHEDULE, type EventRetrySchedule, findRetryPauseMs, SCHEDULE } from '../../kit/delivery/schedule.ts';
import { toApiError } from '../../kit/http/errors.ts';
import { type EventWorkLogLine, logBackgroundFailure, logEventWork } from '../../kit/http/log.ts';
import type { Bindings } from '../../kit/plugins/bindings.ts';
import { parseLimitingCause } from '../../money/admission/limitation.ts';
import { getAlertTarget } from '../../money/alerts/alert-outbox.ts';
import { ALERT_SOURCE } from '../../money/alerts/alert-source.ts';
import type { AlertBody } from '../../money/alerts/alerts-answers.schema.ts';
import { type AgentWorkError, runAgentOnEvent } from './agent-work.ts';
import type { InboxObject, JobConclusion, LeasedEventWork } from './contracts/inbox.ts';
import { callInbox } from './inbox/call-inbox.ts';
import { parseSourceOfEventId } from './receive.ts';
import { shippedWebhooks } from './shipped-sources.ts';
import type { Webhook } from './sources/define-webhook.ts';
import { createWebhookSourceReader, type WebhookSourceReader } from './sources-in-use.ts';
import { createDeliveryTarget } from './target.ts';
import type {
  AgentAnswerDelivery,
  ClassificationDelivery,
  EventAttempt,
  EventResult,
} from './webhooks-answers.schema.ts';

export interface ConsumerOptions {
  /** The sources. Default: the sources that Sluice comes with. */
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
 * Makes the `queue` handler of an app.
 *
 * The handler never throws: an error would bring back every message of the batch, even the finished ones.
 *
 * @param options those of the app
 */
export function createConsumer(options: ConsumerOptions = {}) {
  const webhooks = createWebhookSourceReader(options.webhooks ?? shippedWebhooks);
  return async (batch: MessageBatch<string>, env: Bindings, ctx: ExecutionContext): Promise<void> => {
    const handled = batch.messages.map(async (message) => {
      try {
        if (typeof message.body === 'string')
          await new WebhookJob(message.body, { webhooks, options, env, ctx }).processEvent();
        message.ack();
      } catch (thrown) {
        logEventWork({ event_id: String(message.body), error_type: toApiError(thrown).logged });
        message.retry({ delaySeconds: MESSAGE_PAUSES[message.attempts - 1] ?? MESSAGE_PAUSES.at(-1) ?? 0 });
      }
    });
    await Promise.all(handled);
  };
}

type ActiveEventWork = Exclude<LeasedEventWork, { kind: 'none' }>;
type NextEventState = JobConclusion['to'];
type AttemptError = NonNullable<EventAttempt['error']>;

interface WebhookJobContext {
  webhooks: WebhookSourceReader;
  options: ConsumerOptions;
  env: Bindings;
  ctx: ExecutionContext;
}

/** Works on one event once. If it crashes, the inbox's alarm starts another job for the rest. */
class WebhookJob {
  readonly #id: string;
  readonly #source: string;
  readonly #worker: WebhookJobContext;
  readonly #settings: Settings;
  readonly #began = Date.now();
  readonly #line: EventWorkLogLine;

  constructor(id: string, worker: WebhookJobContext) {
    this.#id = id;
    this.#source = parseSourceOfEventId(id);
    this.#worker = worker;
    this.#settings = parseSettingsOnce(worker.env);
    this.#line = { event_id: id, source: this.#source, version: worker.env.CF_VERSION_METADATA?.id };
  }

  /** Takes the event, works on it, and delivers the result. @throws ApiError while the inbox cannot be reached */
  async processEvent(): Promise<void> {
    if (this.#source === '') return;
    const webhook = this.#worker.webhooks(this.#settings).get(this.#source);
    const { lease: leaseMs } = webhook?.schedule ?? SCHEDULE;
    const work = await this.#callInbox((inbox) => inbox.leaseEvent(this.#id, leaseMs));
    if (work.kind === 'none') return;
    this.#line.account = work.account;
    const extension = setInterval(() => this.#extendLease(work.lease, leaseMs), leaseMs / 3);
    try {
      await this.#processLeasedEvent(work, webhook);
    } finally {
      clearInterval(extension);
      this.#line.ms = Date.now() - this.#began;
      logEventWork(this.#line);
    }
  }

  async #processLeasedEvent(work: ActiveEventWork, webhook: Webhook | undefined): Promise<void> {
    if (this.#source === ALERT_SOURCE) return await this.#deliverAlert(work);
    if (!webhook) {
      const message = `This deployment no longer has the webhook ${this.#source}. Add it again, then replay the event.`;
      return await this.#recordJobEnd(work, { state: 'parked' }, { type: 'not_found_error', message });
    }
    const target = createDeliveryTarget(webhook, this.#settings);
    const { agent } = webhook;
    const done = agent === undefined ? 'classified' : 'answered';
    let { result, failures } = work;
    if (result === null) {
      const outcome =
        agent === undefined ? await this.#classifyText(webhook, work) : await this.#runAgent(agent, webhook, work);
      if ('to' in outcome) return await this.#recordJobEnd(work, outcome.to, outcome.error);
      const last = target === undefined ? { lease: work.lease, attempt: this.#createAttempt(null) } : undefined;
      // Two jobs may work on the same event. Only the first result is recorded and delivered.
      result = await this.#callInbox((inbox) => inbox.recordResult(this.#id, outcome.result, last));
      failures = 0;
      this.#line.state = done;
      // Stop if the event was erased in the meantime: the result is null then.
      if (result === null || last) return;
    }
    if (target === undefined) return await this.#recordJobEnd(work, { state: done }, null);
    await this.#deliverResult(webhook, target, { ...work, failures }, result);
  }

  async #runAgent(agent: string, { schedule }: Webhook, work: ActiveEventWork): Promise<EventWorkOutcome> {
    const { text, account, turn, failures, receivedAt } = work;
    if (text === null) return TOO_LONG;
    const scheduleRetry = (notBefore: number | null): NextEventState =>
      this.#decideRetryState(schedule.classification, failures, notBefore);
    try {
      const requestId = await createMarkedRequestId(account, this.#settings);
      this.#line.request_id = requestId;
      const progress = await runAgentOnEvent(
        { agent, event: this.#id, account, text, turn },
        {
          env: this.#worker.env,
          settings: this.#settings,
          requestId,
          waitMs: Math.min(AGENT_WAIT_MS, schedule.classificationTimeout),
          onTurnStarted: (place) => this.#callInbox((inbox) => inbox.recordAgentTurn(this.#id, place)),
        },
      );
      switch (progress.kind) {
        case 'ended':
          this.#line.cost_usd = progress.answer.cost_usd;
          return { result: progress.answer };
        case 'running': {
          // Wait in proportion to the time since the event was received.
          const pause = Math.min(Math.max((Date.now() - receivedAt) / 4, SHORTEST_LOOK_MS), LONGEST_LOOK_MS);
          return { to: { state: 'running', at: Date.now() + pause }, error: null };
        }
        case 'failed':
          return createFailedWorkOutcome(
            progress.error,
            scheduleRetry,
            progress.error.status === 410 ? { state: 'parked' } : undefined,
          );
      }
    } catch (thrown) {
      return createFailedWorkOutcome(toApiError(thrown), scheduleRetry);
    }
  }

  async #classifyText(webhook: Webhook, { text, account, failures }: ActiveEventWork): Promise<EventWorkOutcome> {
    const { task: labelling, schedule } = webhook;
    if (text === null) return TOO_LONG;
    const place = {
      identity: { account, scopes: [], token: undefined },
      accounts: this.#worker.env,
      store: this.#worker.env.STORE,
      settings: this.#settings,
    };
    const scheduleRetry = (notBefore: number | null): NextEventState =>
      this.#decideRetryState(schedule.classification, failures, notBefore);
    let outcome: ClassificationResult;
    let version: string | undefined;
    try {
      const task = await resolveTask(labelling, place);
      version = task.version;
      const requestId = await createMarkedRequestId(account, this.#settings);
      this.#line.request_id = requestId;
      outcome = await classifyText(task, text, {
        ...place,
        upstream: getUpstreamBySettings(this.#settings, this.#worker.options.fetch),
        requestId,
        route: 'webhook',
        signal: AbortSignal.timeout(schedule.classificationTimeout),
        waitUntil: (work) => this.#worker.ctx.waitUntil(work),
      });
    } catch (thrown) {
      // The classifier or its key is missing. Retry, because an operator may fix that before the last attempt.
      return createFailedWorkOutcome(toApiError(thrown), scheduleRetry);
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
    return createFailedWorkOutcome(error, scheduleRetry, isFinal ? { state: 'failed' } : undefined);
  }

  /** Delivers an alert. It needs no label: its text itself is delivered. */
  async #deliverAlert(work: ActiveEventWork): Promise<void> {
    const target = getAlertTarget(this.#settings);
    if (target === undefined || work.text === null)
      return await this.#recordJobEnd(work, { state: 'classified' }, null);
    await this.#sendDelivery(JSON.parse(work.text) as AlertBody, target, ALERT_SCHEDULE, work);
  }

  async #deliverResult(
    webhook: Webhook,
    target: DeliveryTarget<ClassificationDelivery | AgentAnswerDelivery>,
    work: ActiveEventWork,
    result: EventResult,
  ): Promise<void> {
    const { subject, receivedAt } = work;
    const event = {
      event_id: this.#id,
      source: this.#source,
      subject,
      received_at: new Date(receivedAt).toISOString(),
    };
    const delivered: ClassificationDelivery | AgentAnswerDelivery =
      'agent' in result
        ? { type: 'webhook_event.answered', ...event, ...result }
        : { type: 'webhook_event.classified', ...event, ...result };
    await this.#sendDelivery(delivered, target, webhook.schedule, work);
  }

  async #sendDelivery<Result extends { event_id: string }>(
    result: Result,
    target: DeliveryTarget<Result>,
    schedule: EventRetrySchedule,
    work: ActiveEventWork,
  ): Promise<void> {
    const { failures } = work;
    const failure: DeliveryFailure | undefined = await deliverResultOnce(result, target, {
      env: this.#worker.env,
      settings: this.#settings,
      fetch: this.#worker.options.deliveryFetch ?? ((url, init) => fetch(url, init)),
      now: Date.now(),
      timeoutMs: schedule.deliveryTimeout,
    });
    if (!failure) return await this.#recordJobEnd(work, { state: 'delivered' }, null);
    const { type, message, status, retryAfter, final } = failure;
    const notBefore = retryAfter === undefined ? null : Date.now() + retryAfter;
    const to: NextEventState = final
      ? { state: 'parked' }
      : this.#decideRetryState(schedule.delivery, failures, notBefore);
    await this.#recordJobEnd(work, to, { type, message, ...(status === undefined ? {} : { status }) });
  }

  /**
   * Schedules the next try (retry) of a webhook's event after a failure.
   *
   * @returns when it is tried again; `parked` after the last try
   */
  #decideRetryState(pauses: readonly number[], failures: number, notBefore: number | null): NextEventState {
    const pause = findRetryPauseMs(pauses, failures + 1);
    if (pause === undefined) return { state: 'parked' };
    return { state: 'again', pause, notBefore };
  }

  async #recordJobEnd({ lease }: ActiveEventWork, to: NextEventState, error: AttemptError | null): Promise<void> {
    this.#line.state = to.state;
    this.#line.error_type = error?.type;
    await this.#callInbox((inbox) => inbox.recordJobEnd(this.#id, { lease, to, attempt: this.#createAttempt(error) }));
  }

  /** Keeps the event for this job. If the call fails, the next one does it; if all fail, another job may repeat the work. */
  #extendLease(lease: number, leaseMs: number): void {
    this.#callInbox((inbox) => inbox.extendLease(this.#id, lease, leaseMs)).catch((thrown: unknown) =>
      logBackgroundFailure({ event_id: this.#id }, thrown),
    );
  }

  #createAttempt(error: AttemptError | null): EventAttempt {
    return { at: new Date(this.#began).toISOString(), ms: Date.now() - this.#began, error };
  }

  #callInbox<T>(call: (inbox: RemoteMethods<InboxObject>) => Promise<T>): Promise<T> {
    return callInbox({ inboxes: this.#worker.env, settings: this.#settings, source: this.#source }, call);
  }
}

/** The result of one attempt to work on an event. */
type EventWorkOutcome = { result: EventResult } | { to: NextEventState; error: AttemptError | null };

const TOO_LONG: EventWorkOutcome = {
  to: { state: 'failed' },
  error: { type: 'invalid_request_error', message: 'The text is too long to be processed.' },
};
/** Milliseconds that a job waits for an agent. Meanwhile it occupies a place in the queue. */
const AGENT_WAIT_MS = 30_000;
const SHORTEST_LOOK_MS = 5_000;
const LONGEST_LOOK_MS = 5 * 60_000;

/** @returns what happens to an event that was not processed, depending on the error. @param to if that is decided already */
function createFailedWorkOutcome(
  { type, message, headers }: Pick<AgentWorkError, 'type' | 'message' | 'headers'>,
  retry: (notBefore: number | null) => NextEventState,
  to?: NextEventState,
): EventWorkOutcome {
  const { isOwn, passes, retryAt } = parseLimitingCause({ type, headers });
  // A limit of the account or its pools only delays the event. A limit of the upstream counts as a failed attempt.
  const waits = isOwn && passes !== 'never';
  const at = (retryAt ?? Date.now()) + Math.round(SPREAD_MS * Math.random());
  return { to: to ?? (waits ? { state: 'waiting', at } : retry(retryAt)), error: { type, message } };
}
