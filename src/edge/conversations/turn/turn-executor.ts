import type { Identity } from '../../auth/identity/caller.ts';
import { classifyIfFailed, createCallerErrorFromEvent } from '../../claude/classify-failure.ts';
import { isEventStream, rejectEncoding } from '../../claude/content-type.ts';
import { ABANDONED_HEADERS_MS, DRAIN_CHECK_MS, UpstreamExchange } from '../../claude/exchange.ts';
import { createHeadersTimeoutError, createInterruptedError } from '../../claude/failure.ts';
import { createOutputDeadline } from '../../claude/keep-alive.ts';
import { createModelHintHeaders } from '../../claude/models/model-hint.ts';
import { createUnansweredOutcome } from '../../claude/outcome.ts';
import type { BodyChanges } from '../../claude/providers/provider.ts';
import { findResourceIdsInNewMessages } from '../../claude/request/referenced-ids.ts';
import { RequestBody } from '../../claude/request/request-body.ts';
import type { SendUpstreamOptions } from '../../claude/send-request.ts';
import { findCreatedIds } from '../../claude/usage/created-ids.ts';
import { type JsonBody, RELEASED_BODY } from '../../kit/http/body/json-body.ts';
import { NO_BYTES } from '../../kit/http/bytes.ts';
import { type ApiError, createRetryableError, toApiError } from '../../kit/http/errors.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { isObject } from '../../kit/json/object.ts';
import type { BilledAttempt } from '../../money/admission/billed-attempt.ts';
import { BilledRequest } from '../../money/admission/billed-request.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import type { RejectedRequest } from '../history/repair-request.ts';
import { removeThinking } from '../history/storage/message-text.ts';
import type { StoredOutcome } from '../history/storage/rows.ts';
import { TurnEventPublisher } from './publisher.ts';
import { classifyInterruption, readAnswerStream, readFirstMeaningfulEvent } from './read-answer-stream.ts';
import {
  answerUpstreamRefusal,
  readBufferedAnswer,
  selectCallerHeaders,
  type UpstreamStartResult,
} from './read-buffered-answer.ts';
import { drainStoppedAnswer, type ReadStoppedAnswerOptions } from './read-stopped-answer.ts';
import { createTurnStoppedError, TurnAborter } from './turn-abort.ts';
import type { TurnExecutionContext } from './turn-context.ts';
import type { TurnEnd } from './turn-ending.ts';
import type { TurnRunner } from './turn-handle.ts';
import type { TurnRecorder } from './turn-recorder.ts';
import { TurnTimer } from './turn-timer.ts';

/**
 * Milliseconds to wait for an admission, beside its time in the line: an account that does not answer must not lock a
 * conversation for ever.
 */
export const ADMIT_MS = 45_000;
const RENEW_MS = 180_000;
/** The longest wait that an upstream may ask of what nobody else can send again. Milliseconds. */
const PATIENCE_MS = 60_000;
/** The statuses with which the API rejects what a request contains. */
const REJECTION_STATUSES: ReadonlySet<number> = new Set([400, 404, 413, 422]);
/** Milliseconds after a stop. Most answers begin within this time, and need no count. */
const COUNT_AFTER_MS = 1_000;
/** Milliseconds that the stream may take to end after its last event. */
const DRAIN_MS = 5_000;

/** Runs one turn: has it admitted, sends it, reads the answer, stores and shows it, and ends the turn. */
export class TurnExecutor implements TurnRunner {
  readonly turn: TurnRecorder;
  /** Why the turn has failed before the upstream answered. */
  failure: ApiError | undefined;
  /** The model that was admitted last, by the upstream's name. Another model may have stepped in. */
  model: string | undefined;
  readonly identity: Identity;
  readonly #started = Promise.withResolvers<UpstreamStartResult>();
  readonly #admitted = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  readonly started = this.#started.promise;
  readonly admitted = this.#admitted.promise;
  readonly done = this.#done.promise;
  readonly #context: TurnExecutionContext;
  readonly #publisher: TurnEventPublisher;
  readonly #timer: TurnTimer;
  readonly #abort = new TurnAborter();
  /** Answers the caller, once the request was sent. Further calls change nothing. */
  #answerCaller: () => void = () => {};
  #billed: BilledRequest | undefined;
  /** What reads the answer on if the turn is stopped; undefined where nothing can be read on. */
  #readOnIfStopped: (() => Promise<unknown>) | undefined;
  #renewedAt: number;
  #hasEnded = false;
  /** Whether a try was admitted and has gone up. */
  #isSent = false;
  /** Whether a grant that comes now is stored at once. */
  #shouldStoreGrants = false;
  /** Whether the turn has ended but its stream has not. */
  #isDraining = false;

  constructor(turn: TurnRecorder, context: TurnExecutionContext) {
    this.turn = turn;
    this.#context = context;
    this.identity = context.identity;
    this.#renewedAt = context.now();
    const logPublisherFailure = (thrown: unknown) =>
      logBackgroundFailure({ conversation: context.conversation, turn: turn.row.id }, thrown);
    this.#publisher = new TurnEventPublisher(turn, context.now, logPublisherFailure);
    this.#timer = new TurnTimer(this.#publisher, context.settings, {
      onTimeout: (reason) => this.#abort.abortTurn(reason),
      onSilence: () => this.#sendPing(),
      // A short answer stores its grant together with its end, which saves a write.
      onFirstTick: () => {
        if (!this.#isSent) return false;
        this.#shouldStoreGrants = true;
        this.turn.grants.storeSentGrant();
        return true;
      },
      onFailure: logPublisherFailure,
    });
    this.#timer.setTimeLimit(ADMIT_MS, createAccountTimeoutError);
  }

  /** Runs the turn to its end. Never rejects. */
  async runSteps(plan: NextRequestPlan): Promise<void> {
    this.#timer.startTimer();
    try {
      await this.#executePlan(plan);
    } catch (thrown) {
      const error = toApiError(thrown);
      this.failure = error;
      this.#started.resolve({ kind: 'error', error });
      this.#endTurn(
        this.#abort.isStopped ? { kind: 'stopped' } : { kind: 'cut', error, end: classifyInterruption(error) },
      );
    } finally {
      const { lateReading: readingOn } = this.turn;
      if (readingOn) void readingOn.outcome.then(() => plan.share?.releaseMemory());
      else plan.share?.releaseMemory();
      // A timer that is left running would wake the isolate once more for nothing.
      if (!this.#isDraining) this.#timer.clearTimer();
      this.#admitted.resolve();
      this.#done.resolve();
    }
  }

  /** Ends the turn, and stores the part of the answer that has come. */
  stopTurn(): void {
    const { progress, lateReading: readingOn, hasAnswerBegun: hasBegun } = this.turn;
    if (readingOn) return;
    if (!this.#readOnIfStopped || progress.sentAt === undefined || this.#hasEnded || this.#abort.reason) {
      this.#abort.stopByClient();
      return;
    }
    const { now, waitUntil } = this.#context;
    progress.isAbandoned = true;
    const until = now() + 2 * DRAIN_CHECK_MS + (hasBegun ? 0 : ABANDONED_HEADERS_MS);
    const outcome = this.#readUntilFirstEvent(this.#readOnIfStopped);
    this.turn.lateReading = { outcome, until };
    this.#abort.stopByClient(true);
    waitUntil(Promise.all([outcome, this.#billed?.abandon()]));
  }

  /** Reads the answer on to its first event, or for a moment, and ends the request. Never rejects. */
  async #readUntilFirstEvent(onward: () => Promise<unknown>): Promise<StoredOutcome> {
    const { now } = this.#context;
    const since = Date.now();
    const over = Promise.withResolvers<void>();
    let closedAt: number | undefined;
    let isCounted = false;
    const timer = setInterval(() => {
      // The count is stored early: nobody knows the prompt any more if the object dies meanwhile.
      if (!isCounted && !this.turn.hasAnswerBegun && Date.now() - since >= COUNT_AFTER_MS) {
        isCounted = true;
        void this.#countUnansweredPrompt();
      }
      if (closedAt !== undefined) over.resolve();
      else if (this.turn.hasAnswerBegun || Date.now() - since >= ABANDONED_HEADERS_MS) {
        closedAt = now();
        // What has come until then is still read.
        this.#abort.controller.abort(createTurnStoppedError());
      }
    }, DRAIN_CHECK_MS);
    // However it ends, it is settled by what came.
    await Promise.race([onward(), over.promise]).catch(() => undefined);
    clearInterval(timer);
    this.#abort.abortTurn(createTurnStoppedError());
    this.turn.progress.leave?.(false);
    return this.turn.buildOutcomeAfterEnd(closedAt ?? now());
  }

  /** Counts the prompt of an answer that does not begin. Never rejects. */
  async #countUnansweredPrompt(): Promise<void> {
    try {
      const tokens = await this.#billed?.countPrompt();
      if (tokens !== undefined) this.turn.recordPromptTokens(tokens);
    } catch (thrown) {
      logBackgroundFailure({ conversation: this.#context.conversation, turn: this.turn.row.id }, thrown);
    }
  }

  stopForRevokedCredential(): void {
    this.stopTurn();
  }

  /** Renews the hold, at most every three minutes. One that fails is repeated by the next call. */
  async renewHold(): Promise<void> {
    const now = this.#context.now();
    const attempt = this.#billed?.openAttempt;
    if (!attempt || now - this.#renewedAt < RENEW_MS) return;
    await attempt.renew('streaming');
    this.#renewedAt = now;
  }

  async #executePlan(plan: NextRequestPlan): Promise<void> {
    const { settings, upstream, headers, applyPrefix } = this.#context;
    const named = findResourceIdsInNewMessages(plan.body);
    this.turn.container = named.find(({ kind }) => kind === 'container')?.id;
    await this.#omitDeletedFiles(plan);
    let { fallbacks } = this.#context;
    if (applyPrefix) {
      const laid = await this.#abort.raceWithAbort(applyPrefix(plan.body));
      plan.body = laid.body;
      fallbacks ??= laid.fallbacks;
    }
    // No other model can read the thinking of a tool loop.
    if (plan.follows) fallbacks = [];
    const billed = this.#createBilledRequest(plan, { named, fallbacks });
    this.#timer.setTimeLimit(ADMIT_MS + settings.HOLD_WAIT_MS, createAccountTimeoutError);
    await this.#abort.raceWithAbort(billed.reserve());
    // The edge has removed the other headers that do not go up.
    if (!upstream.isSimulated) delete headers['sluice-simulate'];
    headers['x-api-key'] = upstream.apiKey;
    await this.#sendAndReadAnswer(plan, billed);
  }

  /** Omits files of the history that were deleted through this edge, because the upstream would reject the request. */
  async #omitDeletedFiles(plan: NextRequestPlan): Promise<void> {
    const { repair, body } = plan;
    const ids = body instanceof RequestBody ? [...new Set(body.before.files)] : [];
    // The first step of a run has already omitted them.
    if (!repair || ids.length === 0 || this.#context.isLater) return;
    const deleted = await this.#abort.raceWithAbort(
      callAccount({ ...this.#context }, (account) => account.findDeletedFiles(ids)),
    );
    if (deleted.length > 0) Object.assign(plan, { ...repair.omitDeletedFiles(deleted), repair });
  }

  async #sendAndReadAnswer(plan: NextRequestPlan, billed: BilledRequest): Promise<void> {
    const { settings, upstream, headers, query, now } = this.#context;
    const { latestAttempt: attempt, createBody: body } = billed;
    this.#timer.setTimeLimit(settings.UPSTREAM_TIMEOUT_MS, createHeadersTimeoutError);
    const { progress } = this.turn;
    const { background } = this.#context;
    if (background) {
      // Before it goes up, its row says that it does. Without that, it begins again after a crash.
      this.#storeAdmissionGrant(attempt);
      this.turn.grants.storeSentGrant();
    }
    const { controller } = this.#abort;
    const exchange = new UpstreamExchange({ upstream, settings }, { controller, progress });
    const answering = exchange.sendToUpstream(
      { method: 'POST', path: `/v1/messages${query}`, headers, body, routing: billed.routing },
      {
        ...this.#retryPolicy,
        payment: billed,
        createFailedOutcome: () => createUnansweredOutcome(progress, this.#context.now()),
        repairsThinking: plan.repair !== undefined,
        waitUntil: (work) => this.#context.waitUntil(work),
      },
    );
    // The request has gone up, so a crash would cost something now. The grant is stored meanwhile.
    if (!background || progress.upstream !== undefined) this.#storeAdmissionGrant(attempt);
    if (background) this.#acknowledgeTurn();
    this.#admitted.resolve();
    if (this.#context.isStreaming) this.#acknowledgeOnNextPing({ ...billed.createAnswerHeaders(undefined) });
    const late = { exchange, turn: this.turn, abort: this.#abort, now };
    this.#readOnIfStopped = async () => await drainStoppedAnswer(await answering, late);
    const response = await this.#abort.raceWithAbort(answering);
    this.#readOnIfStopped = undefined;
    const other = await this.#repairRejectedPlan(plan, response, late);
    if (other) {
      // A body that broke off cannot be cancelled any more.
      response.body?.cancel().catch(() => {});
      exchange.closeExchange('error');
      // Nothing has run. What is sent now has words in place of what was rejected.
      progress.sentAt = undefined;
      progress.opening = undefined;
      // The refused body must not stay in memory beside the one that goes up now.
      const { body, count } = Object.assign(plan, other, { messages: [] });
      this.#timer.setTimeLimit(ADMIT_MS + settings.HOLD_WAIT_MS, createAccountTimeoutError);
      await this.#abort.raceWithAbort(
        billed.replaceBody({ body, count }, createUnansweredOutcome(progress, this.#context.now())),
      );
      return await this.#sendAndReadAnswer(plan, billed);
    }
    const { row } = this.turn;
    const isNamed = row.run !== null || this.#context.transcript.profile?.agent;
    const sent = response.status === 400 && isNamed ? plan.body.text : undefined;
    const { omittedBlockCount: omitted = 0, omittedTools = [] } = (response.ok && plan.repair) || {};
    plan.body = RELEASED_BODY;
    plan.repair = undefined;
    billed.release();
    plan.share?.releaseMemory();
    const quota = {
      ...billed.createAnswerHeaders(progress.upstream),
      ...createModelHintHeaders(response.status, this.model ?? plan.model, settings.models),
      ...(omitted > 0 && { 'sluice-history-omitted': String(omitted) }),
      ...(omittedTools.length > 0 && { 'sluice-tools-omitted': omittedTools.join(', ') }),
    };
    this.turn.begin(this.#context.now());
    this.turn.status = response.status;
    this.turn.upstreamRequestId = exchange.upstreamRequestId;
    rejectEncoding(response);
    if (!response.ok || !response.body || !isEventStream(response)) {
      await this.#answerFromBufferedResponse(response, exchange, { quotaStatus: quota, sent });
      return;
    }
    let started: UpstreamStartResult = {
      kind: 'stream',
      headers: { ...selectCallerHeaders(response.headers), ...quota },
    };
    let isShown = Boolean(background) || this.turn.isAcknowledged;
    this.#answerCaller = () => {
      isShown = true;
      this.#started.resolve(started);
    };
    this.#acknowledgeTurn();
    let how = await this.#readEventStream(response.body, progress.opening);
    const text =
      how.kind === 'error' && !this.turn.hasAnswerContent ? how.frame.data : how.kind === 'complete' ? '{}' : '';
    const refusal = exchange.classifyStart(response, text);
    if (refusal) {
      const options = { quotaStatus: quota, requestId: this.#context.requestId };
      ({ how, started } = await answerUpstreamRefusal(response, { kind: 'error', body: NO_BYTES, refusal }, options));
      this.turn.isAcknowledged &&= isShown;
    } else if (how.kind === 'error' && how.frame.event === '')
      how = { kind: 'cut', error: createCallerErrorFromEvent(how.frame.data), end: 'error' };
    this.#endTurn(how);
    this.#started.resolve(started);
  }

  /** Who may send it again: the client of a later step, or of a subagent, cannot. */
  get #retryPolicy(): Pick<SendUpstreamOptions, 'caller' | 'patienceMs'> {
    const { isLater, parent, headers } = this.#context;
    return isLater || parent ? { patienceMs: PATIENCE_MS } : { caller: headers };
  }

  /** @returns the plan without what the API has rejected; undefined if the answer is final */
  async #repairRejectedPlan(
    plan: NextRequestPlan,
    response: Response,
    late: ReadStoppedAnswerOptions,
  ): Promise<NextRequestPlan | undefined> {
    const { repair } = plan;
    if (!repair) return undefined;
    const rejection = await this.#readRejection(response, late);
    if (rejection === 'accepted') {
      const messages = repair.storeAcceptedOmissions();
      if (messages) this.turn.replaceMessages(messages);
      return undefined;
    }
    const { messages, tools, container } = plan.body.json;
    const sent = Array.isArray(messages) ? messages.map((one) => (isObject(one) ? one : {})) : [];
    const repaired =
      rejection && repair.repairOnce({ ...rejection, messages: sent, tools, container, model: plan.model });
    if (!repaired) {
      repair.storeOnlyNamedOmissions();
      return undefined;
    }
    if (repaired.messages) this.turn.replaceMessages(repaired.messages);
    const { applyPrefix } = this.#context;
    if (applyPrefix) repaired.plan.body = (await this.#abort.raceWithAbort(applyPrefix(repaired.plan.body))).body;
    return { ...repaired.plan, repair };
  }

  /**
   * @returns the error with which the API rejects what a request contains, be it in a stream, before all else; undefined for any
   *   other error
   */
  async #readRejection(
    response: Response,
    late: ReadStoppedAnswerOptions,
  ): Promise<'accepted' | Pick<RejectedRequest, 'status' | 'text'> | undefined> {
    if (REJECTION_STATUSES.has(response.status))
      return parseRejection(response, await this.#abort.raceWithAbort(response.clone().text()));
    if (!response.ok) return undefined;
    if (!response.body || !isEventStream(response)) return 'accepted';
    const { progress } = this.turn;
    this.#startEventTimeout();
    // Pings may come for long before it says anything.
    this.#acknowledgeOnNextPing({
      ...selectCallerHeaders(response.headers),
      ...this.#billed?.createAnswerHeaders(progress.upstream),
    });
    const read = { opening: progress.opening, timer: this.#timer, abort: this.#abort };
    const reading = readFirstMeaningfulEvent(response.body, read);
    this.#readOnIfStopped = async () => {
      progress.opening = (await reading).opening;
      await drainStoppedAnswer(response, late);
    };
    const { opening, first } = await this.#abort.raceWithAbort(reading).catch((thrown) => {
      if (this.turn.lateReading) throw thrown;
      return reading;
    });
    this.#readOnIfStopped = undefined;
    progress.opening = opening;
    if (!first) return undefined;
    const isError = classifyIfFailed(response, first.data) !== undefined;
    return isError ? parseRejection(response, first.data) : 'accepted';
  }

  /**
   * Has the next ping answer the caller. From then on a failure is an `error` event of the stream. A rejection by the account
   * keeps its status, because nothing is sent before the admission.
   */
  #acknowledgeOnNextPing(headers: Record<string, string>): void {
    this.#answerCaller = () => {
      this.#acknowledgeTurn();
      this.#started.resolve({ kind: 'stream', headers });
    };
  }

  /** Notes that the caller gets an answer now which says that the turn has begun. A run asks for its subagents again. */
  #acknowledgeTurn(): void {
    this.turn.isAcknowledged = !this.#context.parent;
  }

  async #answerFromBufferedResponse(
    response: Response,
    exchange: UpstreamExchange,
    report: { quotaStatus: Record<string, string>; sent: string | undefined },
  ): Promise<void> {
    // Reading the answer has a timeout of its own.
    this.#timer.setTimeLimit(Number.POSITIVE_INFINITY, createHeadersTimeoutError);
    const { requestId, now } = this.#context;
    const options = { ...report, exchange, requestId, now };
    const { how, started } = await readBufferedAnswer(response, this.turn, options).finally(() =>
      exchange.closeExchange(),
    );
    // The turn is ended first, because an answer in one piece is taken from its log.
    this.#endTurn(how);
    this.#started.resolve(started);
  }

  #startEventTimeout(): void {
    const endAt = createOutputDeadline(this.turn.progress.sentAt ?? Date.now(), () => this.turn.lastContentAt);
    this.#timer.setTimeLimit(this.#context.settings.STREAM_IDLE_MS, () => createInterruptedError(true), endAt);
  }

  async #readEventStream(body: ReadableStream<Uint8Array>, opening: Uint8Array | undefined): Promise<TurnEnd> {
    this.#startEventTimeout();
    const reading = readAnswerStream(body, {
      opening,
      turn: this.turn,
      publisher: this.#publisher,
      timer: this.#timer,
      abort: this.#abort,
      now: this.#context.now,
      onEvents: () => this.#answerCaller(),
    });
    this.#readOnIfStopped = () => reading;
    const ended = await this.#abort.raceWithAbort(reading).catch(() => (this.turn.lateReading ? undefined : reading));
    this.#readOnIfStopped = undefined;
    if (!ended) return { kind: 'stopped' };
    const { how, rest } = ended;
    if (rest !== undefined && how.kind === 'complete') {
      this.#isDraining = true;
      this.#context.waitUntil(this.#waitForStreamEnd(rest));
    } else {
      // The turn has ended, so the upstream must not go on writing what would have to be paid.
      this.#abort.abortTurn(createTurnStoppedError());
    }
    return how;
  }

  /** Waits for the stream to end after its last event. Only then can its connection be used again. */
  async #waitForStreamEnd(rest: Promise<boolean>): Promise<void> {
    this.#timer.setTimeLimit(DRAIN_MS, createTurnStoppedError);
    await rest;
    this.#timer.clearTimer();
  }

  /** Takes over the admission of a try, and stores its grant. */
  #storeAdmissionGrant(attempt: BilledAttempt): void {
    if (this.#hasEnded) {
      // The turn was stopped during the admission, so this try never goes up.
      const { done } = attempt.settle(createUnansweredOutcome(this.turn.progress, this.#context.now()));
      this.#context.waitUntil(done);
      return;
    }
    this.model = attempt.model;
    this.turn.grants.setAdmittedGrant(attempt, this.turn.progress.upstream, this.#context.now());
    this.#isSent = true;
    if (this.#shouldStoreGrants) this.turn.grants.storeSentGrant();
  }

  /** @returns the turn's request, before its admission */
  #createBilledRequest(
    plan: NextRequestPlan,
    {
      named,
      fallbacks,
    }: { named: ReturnType<typeof findResourceIdsInNewMessages>; fallbacks: TurnExecutionContext['fallbacks'] },
  ): BilledRequest {
    const { identity, stays, cachedAt } = this.#context;
    const { body, model, count } = plan;
    const billed = new BilledRequest(
      {
        ...this.#context,
        route: this.turn.row.route,
        body,
        model,
        count,
        streams: true,
        keeps: !this.#context.background,
        fallbacks,
        routing: { streams: true, account: identity.account, stays, cachedAt },
        signal: this.#abort.controller.signal,
      },
      {
        named,
        modelInBody: model,
        asModel: createBodyChangesForModel,
        onAdmitted: (again) => this.#storeAdmissionGrant(again),
        onReserving: (earlier) => this.turn.grants.storeNextAttemptId(earlier, this.#context.now()),
      },
    );
    this.#billed = billed;
    return billed;
  }

  #sendPing(): void {
    // Once the request was sent, the first ping answers the caller.
    this.#answerCaller();
    this.#publisher.ping();
    this.turn.grants.storeCoveredTime(this.#context.now());
  }

  #endTurn(turnEnd: TurnEnd): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    this.turn.progress.leave?.(turnEnd.kind === 'cut' && turnEnd.end !== 'error');
    this.#publisher.end();
    const { onEnd, onEndNotStored: onBroken, now, requestId } = this.#context;
    try {
      onEnd(this.turn.end(turnEnd, this.#billed?.openAttempt, now(), requestId));
    } catch (thrown) {
      onBroken(thrown);
    }
    if (!this.#billed?.mayCreateResources) return;
    // What an answer has made is there, however the answer ended.
    const { message, blocks } = this.turn.builder;
    const ids = findCreatedIds({ ...message, content: blocks.map(({ value }) => value) });
    this.#context.waitUntil(this.#billed.recordCreatedResources(ids, this.turn.progress.upstream));
  }
}

/** @returns the changes of a body for another model, which can read no thinking of the one that was asked for. */
function createBodyChangesForModel(model: string, body: JsonBody): BodyChanges {
  const messages = splitArrayItems(parseMemberTexts(body.text).get('messages') ?? '[]');
  return { model: JSON.stringify(model), messages: `[${messages.map(removeThinking).join(',')}]` };
}

/** @returns the error if it is the caller's: not if it is about the deployment's key, money or limits */
function parseRejection(response: Response, text: string): Pick<RejectedRequest, 'status' | 'text'> | undefined {
  const { kind, isOfOperator, forCaller } = classifyIfFailed(response, text) ?? {};
  if (kind !== 'request' || isOfOperator || !forCaller || !REJECTION_STATUSES.has(forCaller.status)) return undefined;
  return { status: forCaller.status, text };
}

function createAccountTimeoutError(): ApiError {
  return createRetryableError(
    'Sluice could not check the budget of this account in time. Try again in a moment.',
    'account_unreachable: no answer',
  );
}
