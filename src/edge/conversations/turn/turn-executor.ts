import type { Identity } from '../../auth/identity/caller.ts';
import { type ClassifiedFailure, classifyIfFailed, createCallerErrorFromEvent } from '../../claude/classify-failure.ts';
import { isEventStream, rejectEncoding } from '../../claude/content-type.ts';
import { UpstreamExchange } from '../../claude/exchange.ts';
import { createHeadersTimeoutError, createInterruptedError } from '../../claude/failure.ts';
import { createOutputDeadline } from '../../claude/keep-alive.ts';
import { createModelHintHeaders } from '../../claude/models/model-hint.ts';
import { createUnansweredOutcome } from '../../claude/outcome.ts';
import { findResourceIdsInNewMessages } from '../../claude/request/referenced-ids.ts';
import { RequestBody } from '../../claude/request/request-body.ts';
import type { SendUpstreamOptions } from '../../claude/send-request.ts';
import { findCreatedIds } from '../../claude/usage/created-ids.ts';
import { runInSteps, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import { RELEASED_BODY } from '../../kit/http/body/json-body.ts';
import { NO_BYTES } from '../../kit/http/bytes.ts';
import { type ApiError, createRetryableError, toApiError } from '../../kit/http/errors.ts';
import { logBackgroundFailure } from '../../kit/http/log.ts';
import { isObject } from '../../kit/json/object.ts';
import type { BilledAttempt } from '../../money/admission/billed-attempt.ts';
import type { BilledRequest } from '../../money/admission/billed-request.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { NextRequestPlan } from '../history/next-request.ts';
import type { RejectedRequest } from '../history/repair-request.ts';
import { findDamageInError } from '../history/storage/damaged-row.ts';
import { createBilledRequestOfTurn } from './bill-turn.ts';
import { TurnEventPublisher } from './publisher.ts';
import { ReadAfterStop } from './read-after-stop.ts';
import { classifyInterruption, readAnswerStream, readFirstMeaningfulEvent } from './read-answer-stream.ts';
import {
  answerUpstreamError,
  readBufferedAnswer,
  selectCallerHeaders,
  type UpstreamStartResult,
} from './read-buffered-answer.ts';
import { createTurnStoppedError, TurnAborter } from './turn-abort.ts';
import type { TurnExecutionContext } from './turn-context.ts';
import type { TurnEnd } from './turn-ending.ts';
import type { TurnRunner } from './turn-handle.ts';
import type { TurnRecorder } from './turn-recorder.ts';
import { TurnTimer } from './turn-timer.ts';

/**
 * Milliseconds to wait for an admission, in addition to its time in the admission queue: an account that does not respond must
 * not lock a conversation for ever.
 */
export const ADMIT_MS = 45_000;
const RENEW_MS = 180_000;
/** The longest `retry-after` that is waited for if no client can send the request again. Milliseconds. */
const PATIENCE_MS = 60_000;
/** The statuses with which the API rejects the content of a request. */
const REJECTION_STATUSES: ReadonlySet<number> = new Set([400, 404, 413, 422]);
/** Milliseconds that the stream may take to end after its last event. */
const DRAIN_MS = 5_000;

/** A request that the upstream has answered. */
interface AnsweredRequest {
  exchange: UpstreamExchange;
  response: Response;
  /** The headers of the response that the caller gets. */
  callerHeaders: Record<string, string>;
}

/**
 * Runs one turn. A turn is admitted, its request is sent, the answer is read, and the turn ends. A request whose history the API
 * rejects is amended, and sent again. From each of these states a turn may end early: stopped, cut or rejected.
 */
export class TurnExecutor implements TurnRunner {
  readonly turn: TurnRecorder;
  /** Why the turn has failed before the upstream answered. */
  failure: ApiError | undefined;
  /** The model that was admitted last, as the Claude API names it. Another model may have stepped in. */
  model: string | undefined;
  readonly identity: Identity;
  readonly #upstreamAnswered = Promise.withResolvers<UpstreamStartResult>();
  readonly #requestSent = Promise.withResolvers<void>();
  readonly #done = Promise.withResolvers<void>();
  readonly upstreamAnswered = this.#upstreamAnswered.promise;
  readonly requestSent = this.#requestSent.promise;
  readonly done = this.#done.promise;
  readonly #messagesStored: PromiseWithResolvers<void> | undefined;
  readonly #context: TurnExecutionContext;
  readonly #publisher: TurnEventPublisher;
  readonly #timer: TurnTimer;
  readonly #abort = new TurnAborter();
  readonly #afterStop: ReadAfterStop;
  #phase: 'admitting' | 'sent' | 'ended' = 'admitting';
  #billed: BilledRequest | undefined;
  /** The response that the next event or ping begins; undefined until the request was sent. */
  #firstAnswer: UpstreamStartResult | undefined;
  #isCallerAnswered = false;
  /** Settles when the upstream's stream has closed, if it is still open at the end of the turn. */
  #openStream: Promise<boolean> | undefined;
  #renewedAt: number;

  constructor(turn: TurnRecorder, context: TurnExecutionContext) {
    this.turn = turn;
    this.#messagesStored = turn.isStoringMessages ? Promise.withResolvers() : undefined;
    this.#context = context;
    this.identity = context.identity;
    this.#renewedAt = context.now();
    const logPublisherFailure = (thrown: unknown) =>
      logBackgroundFailure({ conversation: context.conversation, turn: turn.row.id }, thrown);
    this.#publisher = new TurnEventPublisher(turn, context.now, logPublisherFailure);
    this.#timer = new TurnTimer(this.#publisher, context.settings, {
      onTimeout: (reason) => this.#abort.abortTurn(reason),
      onSilence: () => this.#sendPing(),
      // Store the grant only at the first tick. A shorter answer stores it together with its end, which saves one write.
      onFirstTick: () => {
        if (this.#phase === 'admitting') return false;
        this.turn.grants.storeGrantsFromNowOn();
        return true;
      },
      onFailure: logPublisherFailure,
    });
    this.#timer.setTimeLimit(ADMIT_MS, createAccountTimeoutError);
    const { conversation, now } = context;
    const countPrompt = async () => await this.#billed?.countPrompt();
    this.#afterStop = new ReadAfterStop({ turn, abort: this.#abort, conversation, now, countPrompt });
  }

  get messagesStored(): Promise<void> | undefined {
    return this.#messagesStored?.promise;
  }

  /** Runs the turn to its end. Never rejects. */
  async runToEnd(plan: NextRequestPlan): Promise<void> {
    this.#timer.startTimer();
    try {
      if (this.#messagesStored) await runInSteps(this.#storeMessages()).finally(this.#messagesStored.resolve);
      const billed = await this.#admit(plan);
      let answered = await this.#send(plan, billed);
      while (await this.#amend(plan, billed, answered)) answered = await this.#send(plan, billed);
      await this.#read(plan, billed, answered);
    } catch (thrown) {
      // Admission parses the request. The incoming part was parsed before, so a syntax error means that a stored part is damaged.
      const damage = this.#phase === 'admitting' ? findDamageInError(thrown) : undefined;
      const error = damage ?? toApiError(thrown);
      this.failure = error;
      this.#upstreamAnswered.resolve({ kind: 'error', error });
      this.#end(this.#abort.isStopped ? { kind: 'stopped' } : { kind: 'cut', error, end: classifyInterruption(error) });
    } finally {
      const { lateReading } = this.turn;
      if (lateReading) void lateReading.outcome.then(() => plan.reservedMemory?.releaseMemory());
      else plan.reservedMemory?.releaseMemory();
      // Clear the timer, or it would wake the isolate once more without a reason.
      if (this.#openStream !== undefined) this.#context.waitUntil(this.#waitForStreamEnd(this.#openStream));
      else this.#timer.clearTimer();
      this.#requestSent.resolve();
      this.#done.resolve();
    }
  }

  /** Ends the turn, and stores the part of the answer that has come. */
  stopTurn(): void {
    if (this.turn.lateReading) return;
    const outcome = this.#phase === 'ended' ? undefined : this.#afterStop.begin();
    this.#abort.stopByClient(outcome !== undefined);
    if (outcome) this.#context.waitUntil(Promise.all([outcome, this.#billed?.abandon()]));
  }

  stopForRevokedCredential(): void {
    this.stopTurn();
  }

  /** Renews the hold, at most every three minutes. The next call repeats a failed renewal. */
  async renewHold(): Promise<void> {
    const now = this.#context.now();
    const attempt = this.#billed?.attempts.at(-1);
    if (!attempt || now - this.#renewedAt < RENEW_MS) return;
    if (await attempt.renew('streaming')) this.stopTurn();
    this.#renewedAt = now;
  }

  /** Stores the messages of the turn in steps, until the turn is aborted at most. */
  *#storeMessages(): SteppedWork<void> {
    for (const bytes of this.turn.storeMessages()) {
      yield bytes;
      if (this.#abort.reason) throw this.#abort.reason;
    }
  }

  /** Completes the request, and has its account reserve the budget. */
  async #admit(plan: NextRequestPlan): Promise<BilledRequest> {
    const { applyPrefix } = this.#context;
    const named = findResourceIdsInNewMessages(plan.body);
    this.turn.container = named.find(({ kind }) => kind === 'container')?.id;
    await this.#omitDeletedFiles(plan);
    let { fallbackModels } = this.#context;
    if (applyPrefix) {
      const prefixed = await this.#abort.raceWithAbort(applyPrefix(plan.body));
      plan.body = prefixed.body;
      fallbackModels ??= prefixed.fallbackModels;
    }
    // Allow no fallback models while a tool loop continues: no other model can read the loop's thinking.
    if (plan.follows) fallbackModels = [];
    const billed = createBilledRequestOfTurn(this.turn, plan, this.#context, {
      named,
      fallbackModels,
      signal: this.#abort.controller.signal,
      onAdmitted: (attempt) => this.#recordAdmittedAttempt(attempt),
    });
    this.#billed = billed;
    this.#limitAdmissionTime();
    await this.#abort.raceWithAbort(billed.reserve());
    return billed;
  }

  /** Omits files of the history that were deleted through this edge, because the upstream would reject the request. */
  async #omitDeletedFiles(plan: NextRequestPlan): Promise<void> {
    const { repair, body } = plan;
    const ids = body instanceof RequestBody ? [...new Set(body.before.files)] : [];
    // In later steps of a run, there is nothing to do: the first step has omitted deleted files for all steps.
    if (!repair || ids.length === 0 || this.#context.isLaterStep) return;
    const { identity, accounts, settings } = this.#context;
    const deleted = await this.#abort.raceWithAbort(
      callAccount({ identity, accounts, settings }, (account) => account.findDeletedFiles(ids)),
    );
    if (deleted.length > 0) Object.assign(plan, { ...repair.omitDeletedFiles(deleted), repair });
  }

  /** Sends the request, and waits for the headers of the answer. */
  async #send(plan: NextRequestPlan, billed: BilledRequest): Promise<AnsweredRequest> {
    const { settings, upstream, headers, query } = this.#context;
    const { latestAttempt: attempt, createBody: body } = billed;
    // Remove the last header that is not for an upstream. The other ones were removed when the request arrived.
    if (!upstream.isSimulated) delete headers['sluice-simulate'];
    headers['x-api-key'] = upstream.apiKey;
    this.#timer.setTimeLimit(settings.UPSTREAM_TIMEOUT_MS, createHeadersTimeoutError);
    const { progress } = this.turn;
    const { background } = this.#context;
    if (background) {
      // Store the attempt and `sentAt` before the request is sent. After a crash, a background turn without `sentAt` is started
      // again, and a request that was sent would then be paid twice.
      this.#recordAdmittedAttempt(attempt);
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
    // From now on a crash would cost money, so the grant must be stored. The timer's first tick does that (`onFirstTick`) while
    // the upstream works. A background turn has stored it already, and only the name of the upstream may be new.
    if (!background || progress.upstream !== undefined) this.#recordAdmittedAttempt(attempt);
    if (background) this.#acknowledgeTurn();
    this.#requestSent.resolve();
    // If the upstream is silent, a ping is the first event of the response. It is sent with these headers.
    if (this.#context.isStreaming)
      this.#firstAnswer = { kind: 'stream', headers: billed.createAnswerHeaders(undefined) };
    const readResponse = async () => await this.#afterStop.readResponse(await answering, exchange);
    const response = await this.#afterStop.raceWithAbort(answering, readResponse);
    return { exchange, response, callerHeaders: selectCallerHeaders(response.headers) };
  }

  /** Amends the request if the API rejects its history, and has the other body admitted. @returns whether it is to be sent again */
  async #amend(plan: NextRequestPlan, billed: BilledRequest, answered: AnsweredRequest): Promise<boolean> {
    const amended = await this.#planAmendedRequest(plan, answered);
    if (!amended) return false;
    const { exchange, response } = answered;
    // Ignore a rejection: cancelling a body that was cut rejects, and the body is not needed.
    response.body?.cancel().catch(() => {});
    exchange.closeExchange('error');
    const { progress } = this.turn;
    // Clear `sentAt`: the rejected request was not run, so a crash from now on costs nothing.
    progress.sentAt = undefined;
    progress.opening = undefined;
    // Release the messages and the rejected body, so that they are not in memory together with the amended body.
    const { body, tokenCount } = Object.assign(plan, amended, { messages: [] });
    this.#limitAdmissionTime();
    const outcome = createUnansweredOutcome(progress, this.#context.now());
    await this.#abort.raceWithAbort(billed.replaceBody({ body, tokenCount }, outcome));
    return true;
  }

  /** Reads the answer to its end, and ends the turn. */
  async #read(
    plan: NextRequestPlan,
    billed: BilledRequest,
    { exchange, response, callerHeaders }: AnsweredRequest,
  ): Promise<void> {
    const { row, progress } = this.turn;
    // Name the tool in errors about the tool list: the caller of a run or of an agent did not write that list.
    const namesTools = row.run !== null || this.#context.transcript.storedProfile?.agent;
    const requestText = response.status === 400 && namesTools ? plan.body.text : undefined;
    const edgeHeaders = this.#createAnswerHeaders(plan, billed, response);
    plan.body = RELEASED_BODY;
    plan.repair = undefined;
    billed.releaseBody();
    plan.reservedMemory?.releaseMemory();
    this.turn.startAnswerClock(this.#context.now());
    this.turn.status = response.status;
    this.turn.upstreamRequestId = exchange.upstreamRequestId;
    rejectEncoding(response);
    if (!response.ok || !response.body || !isEventStream(response)) {
      await this.#answerFromBufferedResponse(response, exchange, { edgeHeaders, requestText });
      return;
    }
    let started: UpstreamStartResult = {
      kind: 'stream',
      headers: { ...callerHeaders, ...edgeHeaders },
    };
    this.#firstAnswer = started;
    this.#acknowledgeTurn();
    const { opening } = progress;
    // Reading may use the buffer of the opening again, so nothing else may read it from now on.
    progress.opening = undefined;
    let how = await this.#readEventStream(response.body, opening);
    const refusal = this.#reportUpstreamHealth(exchange, response, how);
    if (refusal) {
      const options = { edgeHeaders, requestId: this.#context.requestId };
      ({ how, started } = await answerUpstreamError(response, { kind: 'error', body: NO_BYTES, refusal }, options));
      this.turn.isAcknowledged &&= Boolean(this.#context.background) || this.#isCallerAnswered;
    } else if (how.kind === 'error' && how.frame.event === '')
      how = { kind: 'cut', error: createCallerErrorFromEvent(how.frame.data), end: 'error' };
    this.#end(how);
    this.#upstreamAnswered.resolve(started);
  }

  /**
   * Reports whether the upstream has answered. A stream that broke off before an event says nothing about its health.
   *
   * @returns the rejection, if the stream contains nothing but an `error` event
   */
  #reportUpstreamHealth(exchange: UpstreamExchange, response: Response, how: TurnEnd): ClassifiedFailure | undefined {
    if (how.kind === 'complete') exchange.recordHealth(undefined);
    if (how.kind !== 'error' || this.turn.hasAnswerContent) return undefined;
    return exchange.classifyStart(response, how.frame.data);
  }

  /** @returns the headers of the answer that are not the upstream's: the account's quota, and what was omitted */
  #createAnswerHeaders(plan: NextRequestPlan, billed: BilledRequest, response: Response): Record<string, string> {
    const { omittedBlockCount = 0, omittedTools = [] } = (response.ok && plan.repair) || {};
    return {
      ...billed.createAnswerHeaders(this.turn.progress.upstream),
      ...createModelHintHeaders(response.status, this.model ?? plan.model, this.#context.settings.models),
      ...(omittedBlockCount > 0 && { 'sluice-history-omitted': String(omittedBlockCount) }),
      ...(omittedTools.length > 0 && { 'sluice-tools-omitted': omittedTools.join(', ') }),
    };
  }

  /** Describes whether the caller can send the request again: the client of a later step or of a subagent cannot. */
  get #retryPolicy(): Pick<SendUpstreamOptions, 'caller' | 'patienceMs'> {
    const { isLaterStep, parent, headers } = this.#context;
    return isLaterStep || parent ? { patienceMs: PATIENCE_MS } : { caller: headers };
  }

  /** @returns the plan without the content that the API has rejected; undefined if the answer is final */
  async #planAmendedRequest(plan: NextRequestPlan, answered: AnsweredRequest): Promise<NextRequestPlan | undefined> {
    const { repair } = plan;
    if (!repair) return undefined;
    const rejection = await this.#readRejection(answered);
    if (rejection === 'accepted') {
      const messages = repair.storeAcceptedOmissions();
      if (messages) this.turn.replaceMessages(messages);
      return undefined;
    }
    const { messages, tools, container } = plan.body.json;
    const fields = Object.keys(plan.body.json);
    const sent = Array.isArray(messages) ? messages.map((one) => (isObject(one) ? one : {})) : [];
    const repaired =
      rejection && repair.repairOnce({ ...rejection, messages: sent, tools, fields, container, model: plan.model });
    if (!repaired) return undefined;
    if (repaired.messages) this.turn.replaceMessages(repaired.messages);
    const { applyPrefix } = this.#context;
    if (applyPrefix) repaired.plan.body = (await this.#abort.raceWithAbort(applyPrefix(repaired.plan.body))).body;
    return { ...repaired.plan, repair };
  }

  /**
   * @returns the error with which the API rejects the content of a request, also as the first event of a stream; undefined for
   *   any other error
   */
  async #readRejection({
    exchange,
    response,
    callerHeaders,
  }: AnsweredRequest): Promise<'accepted' | Pick<RejectedRequest, 'status' | 'text'> | undefined> {
    if (REJECTION_STATUSES.has(response.status))
      return parseRejection(response, await this.#abort.raceWithAbort(response.clone().text()));
    if (!response.ok) return undefined;
    if (!response.body || !isEventStream(response)) return 'accepted';
    const { progress } = this.turn;
    this.#startEventTimeout();
    // The upstream may send only pings for a long time. In that case a ping is the first event of the response, which is sent
    // with these headers.
    const headers = { ...callerHeaders, ...this.#billed?.createAnswerHeaders(progress.upstream) };
    this.#firstAnswer = { kind: 'stream', headers };
    const read = { opening: progress.opening, timer: this.#timer, abort: this.#abort };
    const reading = readFirstMeaningfulEvent(response.body, read);
    const readOn = async () => {
      progress.opening = (await reading).opening;
      await this.#afterStop.readResponse(response, exchange);
    };
    const { opening, first } = await this.#afterStop.raceWithAbort(reading, readOn).catch((thrown) => {
      if (this.turn.lateReading) throw thrown;
      // The abort also cancels the reader, so `reading` settles soon. `#read` then ends the turn with what has arrived.
      return reading;
    });
    progress.opening = opening;
    if (!first) return undefined;
    const isError = classifyIfFailed(response, first.data) !== undefined;
    return isError ? parseRejection(response, first.data) : 'accepted';
  }

  /**
   * Answers the caller with a stream, because an event or a ping can be sent. From then on a failure is an `error` event of the
   * stream. Before the admission nothing is sent, so a rejection by the account keeps its status.
   */
  #answerCaller(): void {
    if (!this.#firstAnswer || this.#isCallerAnswered) return;
    this.#isCallerAnswered = true;
    this.#acknowledgeTurn();
    this.#upstreamAnswered.resolve(this.#firstAnswer);
  }

  /**
   * Records that the caller gets a response from which it knows that the turn has begun. A run calls its subagents again, so
   * their turns are not marked.
   */
  #acknowledgeTurn(): void {
    this.turn.isAcknowledged = !this.#context.parent;
  }

  async #answerFromBufferedResponse(
    response: Response,
    exchange: UpstreamExchange,
    answer: { edgeHeaders: Record<string, string>; requestText: string | undefined },
  ): Promise<void> {
    // Switch off the time limit for the headers: reading the response has a limit of its own.
    this.#timer.setTimeLimit(Number.POSITIVE_INFINITY, createHeadersTimeoutError);
    const { requestId, now } = this.#context;
    const options = { ...answer, exchange, requestId, now };
    const { how, started } = await readBufferedAnswer(response, this.turn, options).finally(() =>
      exchange.closeExchange(),
    );
    // End the turn first: a non-streaming answer is built from the turn's log.
    this.#end(how);
    this.#upstreamAnswered.resolve(started);
  }

  #limitAdmissionTime(): void {
    this.#timer.setTimeLimit(ADMIT_MS + this.#context.settings.HOLD_WAIT_MS, createAccountTimeoutError);
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
    // After an abort, `reading` settles soon, too: it reports how the turn ends. Only if the answer is still read after a stop, the
    // turn does not wait for it.
    const ended = await this.#afterStop
      .raceWithAbort(reading, () => reading)
      .catch(() => (this.turn.lateReading ? undefined : reading));
    if (!ended) return { kind: 'stopped' };
    const { how, rest } = ended;
    if (how.kind === 'complete' && rest !== undefined) this.#openStream = rest;
    // Close the upstream's stream. The turn has ended, and the account would have to pay for further output.
    else this.#abort.abortTurn(createTurnStoppedError());
    return how;
  }

  /** Waits for the stream to end after its last event. Only then can its connection be used again. */
  async #waitForStreamEnd(rest: Promise<boolean>): Promise<void> {
    this.#timer.setTimeLimit(DRAIN_MS, createTurnStoppedError);
    await rest;
    this.#timer.clearTimer();
  }

  /** Records an attempt that was admitted: from now on the turn is settled by its grant. */
  #recordAdmittedAttempt(attempt: BilledAttempt): void {
    if (this.#phase === 'ended') {
      this.#settleUnsentAttempt(attempt);
      return;
    }
    this.model = attempt.model;
    this.#phase = 'sent';
    this.turn.grants.recordAdmittedGrant(attempt, this.turn.progress.upstream, this.#context.now());
  }

  /** Settles an attempt that was admitted after the turn was stopped, and so is not sent. */
  #settleUnsentAttempt(attempt: BilledAttempt): void {
    const { done } = attempt.settle(createUnansweredOutcome(this.turn.progress, this.#context.now()));
    this.#context.waitUntil(done);
  }

  #sendPing(): void {
    // If the response has not begun and the request is sent, this ping begins it.
    this.#answerCaller();
    this.#publisher.ping();
    this.turn.grants.storeCoveredTime(this.#context.now());
  }

  #end(turnEnd: TurnEnd): void {
    if (this.#phase === 'ended') return;
    this.#phase = 'ended';
    this.turn.progress.recordResponseEnd?.(turnEnd.kind === 'cut' && turnEnd.end !== 'error');
    this.#publisher.end();
    const { onEnd, onEndNotStored: onBroken, now, requestId } = this.#context;
    try {
      onEnd(this.turn.end(turnEnd, this.#billed?.attempts.at(-1), now(), requestId));
    } catch (thrown) {
      onBroken(thrown);
    }
    if (!this.#billed?.mayCreateResources) return;
    // Record the created resources however the answer has ended, because they exist at the upstream in any case.
    const { message, blocks } = this.turn.builder;
    const ids = findCreatedIds({ ...message, content: blocks.map(({ value }) => value) });
    this.#context.waitUntil(this.#billed.recordCreatedResources(ids, this.turn.progress.upstream));
  }
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
