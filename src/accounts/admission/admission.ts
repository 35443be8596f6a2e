import { pause } from '../../async/pause.ts';
import { accountMark } from '../../auth/account-mark.ts';
import { type AccountRequest, callAccount } from '../../durable/call-account.ts';
import { isOverloaded, ObjectUnreachable } from '../../durable/call-object.ts';
import type { AdmissionDecision, AdmissionRequest } from '../../durable/contracts/admission.ts';
import type { Settled, Settlement } from '../../durable/contracts/settlement.ts';
import type { AccountBinding } from '../../durable/stubs.ts';
import { ApiError, DO_NOT_RETRY } from '../../http/errors.ts';
import { type JsonBody, RELEASED } from '../../http/json-body.ts';
import { LongBody } from '../../http/long-body.ts';
import { sizeOf } from '../../http/read-json.ts';
import type { Identity } from '../../identity/caller.ts';
import { listAccount, noteMark } from '../../kv/account-list.ts';
import type { Nanodollars } from '../../pricing/cost.ts';
import type { Terms, WorstCase } from '../../pricing/hold-terms.ts';
import { LONGEST_MODEL_NAME } from '../../pricing/models.ts';
import { NO_FEATURES } from '../../pricing/prompt-features.ts';
import { worstCaseOf } from '../../pricing/worst-case.ts';
import type { Settings } from '../../settings/settings.ts';
import { ableOf, type Routing, type UpstreamPool } from '../../upstream/choice/pool.ts';
import { cancelStopsAt, dearestAt, pricesAt } from '../../upstream/choice/prices.ts';
import type { PlainHeaders } from '../../upstream/headers.ts';
import type { RequestOutcome } from '../../upstream/relay.ts';
import { RequestBody } from '../../upstream/request/request-body.ts';
import type { Upstream } from '../../upstream/upstream.ts';
import { countInput } from './count-input.ts';
import { defaultLimits } from './default-limits.ts';
import { quotaHeaders, refusalError, storageError } from './limit-headers.ts';
import { type StoredGrant, settlementOf } from './settle.ts';

export interface MeterRequest {
  requestId: string;
  /** The route's name in the ledger. */
  route: string;
  identity: Identity;
  accounts: AccountBinding;
  /** Where the list of accounts is kept. */
  store: KVNamespace;
  settings: Settings;
  upstream: Upstream;
  /** The body as it will go up. */
  body: JsonBody;
  /** The model's id as the upstream knows it. */
  model: string;
  /** The models that may step in for it, as the caller has named them. Default: those of the account's limits. */
  fallbacks?: readonly string[] | undefined;
  /** What the choice between several upstreams goes by, beside the model. */
  routing?: Omit<Routing, 'model'> | undefined;
  /** The headers as they will go up, but for the credential. */
  headers: Headers | PlainHeaders;
  conversation?: string | undefined;
  prefix?: string | undefined;
  /** The most tokens that the input can have, where the caller knows it. */
  count?: number | undefined;
  /** Bytes that it adds to its conversation before it is answered. */
  adds?: number | undefined;
  /** Whether the answer streams although the body does not ask for it. */
  streams?: boolean | undefined;
  /** Aborted when the caller has left. */
  signal?: AbortSignal | undefined;
  /** Keeps work alive that nobody waits for. */
  waitUntil(work: Promise<unknown>): void;
}

/** As much of a request as settling it needs. */
export type MeteredRequest = AccountRequest & Pick<MeterRequest, 'requestId' | 'model'>;

/** An admitted request: what it may do, and how it is settled. */
export interface RequestMeter {
  /** What `max_tokens` must be lowered to; undefined where it may stay. */
  maxTokens: number | undefined;
  /** Headers for the response: the account's quota status. */
  headers: Record<string, string>;
  /** Replaces the hold by what the request cost. Safe to be called again. */
  settle(outcome: RequestOutcome, extra?: Partial<Settlement>): Booking;
  /** Says that the request still runs, at which stage. */
  renew(stage?: string): Promise<boolean>;
  /** Lets go of the body: no further try will be admitted. */
  release(): void;
  /**
   * Admits another try of the request, after the one before was settled: what `settle` and `renew` say is of that one.
   *
   * @param earlier what the tries before have cost
   * @returns the try, with a meter of its own; what it settles counts them in
   * @throws ApiError as `admit`
   */
  again(earlier: Nanodollars): Promise<Admission>;
  /** The model that is admitted, as the upstream knows it. */
  model: string;
  /** The model that was asked for, where another one has stepped in for it. */
  fallbackFrom: string | undefined;
  /** @returns whether another model may step in. */
  hasFallback(): boolean;
  /**
   * Admits the request for the next model that may step in, as `again` does.
   *
   * @returns undefined where the account admits none of them; `again` is about the present model then
   */
  fallBack(earlier: Nanodollars): Promise<Admission | undefined>;
}

/** What a request was booked at. */
export interface Booking {
  nanodollars: Nanodollars;
  /** Output tokens as the ledger has them; an estimate where the upstream did not report them. */
  outputTokens: number | undefined;
  done: Promise<Settled>;
}

/** An admission with what must be stored of it. */
export interface Admission extends RequestMeter {
  /** The ledger's name of this try. */
  requestId: string;
  grant: StoredGrant;
}

/**
 * Asks the account to admit a request: one call to its object, and a second one if only the exact count of the input
 * can show that it fits.
 *
 * @throws ApiError 401 for a revoked credential, 403 for a model that is not allowed, 429 for a limit that is reached,
 * 503 while the account's object cannot be reached
 */
export async function admit(request: MeterRequest): Promise<RequestMeter> {
  try {
    return await admission(request);
  } catch (thrown) {
    // The account may have placed the hold, and only its answer was lost. Nothing goes up, so the hold is settled at 0.
    if (thrown instanceof ObjectUnreachable && !isOverloaded(thrown.cause)) {
      request.waitUntil(settleSurely(request, unsent(request)));
    }
    throw thrown;
  }
}

/**
 * Does what `admit` does, and returns what must be stored so that another process can settle the request.
 *
 * @throws ApiError as `admit`
 */
export async function admission(request: MeterRequest): Promise<Admission> {
  return await admitTry(new ModelChoice(request), 1);
}

/** What an account was asked for a model, and what it has answered. */
interface Decided {
  answer: AdmissionDecision;
  bound: WorstCase;
  terms: Terms;
  startedAt: number;
}

async function admitTry(asking: ModelChoice, number: number, earlier = 0): Promise<Admission> {
  const { request } = asking;
  const first = await askFor(asking, number);
  let decided = first;
  // Where the budget does not pay for this model, it may pay for another one.
  const isPoor = first.answer.outcome === 'refused' && first.answer.refusal.reason === 'spend';
  while (isPoor && decided.answer.outcome !== 'admitted') {
    if (!asking.next()) return grantedBy(first.answer) as never;
    decided = await askFor(asking, number);
  }
  const { answer, bound, terms, startedAt } = decided;
  const admitted = grantedBy(answer);
  if (admitted.unlisted) request.waitUntil(putOnList(request));
  const grant = {
    ...grantOf(bound, { ...terms, streams: terms.streams || request.streams === true }, admitted, request.settings),
    ...(earlier > 0 ? { earlier } : {}),
    startedAt,
  };
  const lowered = admitted.maxTokens;
  const next = () => {
    // The request object itself is changed, not copied, so that `release` frees the body for every try.
    request.requestId = tryId(request.requestId, number + 1);
  };
  return {
    ...requestMeterOf(request, grant),
    requestId: request.requestId,
    model: request.model,
    fallbackFrom: asking.from,
    grant,
    maxTokens: lowered,
    headers: {
      ...quotaHeaders(admitted.standing),
      ...(lowered === undefined ? {} : { 'sluice-max-tokens': String(lowered) }),
      ...(asking.from === undefined ? {} : { 'sluice-fallback-from': asking.from }),
    },
    release: () => {
      request.body = RELEASED;
    },
    again: (spent) => {
      next();
      return admitTry(asking, number + 1, spent);
    },
    hasFallback: () => asking.hasNext,
    fallBack: async (spent) => {
      next();
      const back = asking.mark();
      while (asking.next()) {
        try {
          return await admitTry(asking, number + 1, spent);
        } catch (thrown) {
          // Of those that step in one may be refused, or served by nobody: then it is the next one's turn.
          if (!(thrown instanceof ApiError) || thrown.status >= 500) throw thrown;
        }
      }
      back();
      return undefined;
    },
  };
}

/** Asks the account to admit the request for its present model. */
async function askFor({ request, asked: named, allowFallbacks }: ModelChoice, number: number): Promise<Decided> {
  const { settings, body, model, upstream, routing } = request;
  // Before the account is asked: no later than the hold, so that whatever erases the hold covers this time too.
  const startedAt = Date.now();
  const { own, before } = body instanceof RequestBody ? body : { own: body.json, before: NO_FEATURES };
  const asked = named ?? (typeof own.model === 'string' ? own.model : model);
  const { readings = body } = body;
  const models = upstream.pool ? dearestAt(settings, ableFor(upstream.pool, request, routing)) : settings.models;
  const options = {
    bytes: sizeOf(body),
    readings: readings ?? undefined,
    // Bound, not an arrow function: one made here would keep the body in memory until the answer has ended.
    lengthOf: body instanceof LongBody ? body.lengthOf.bind(body) : undefined,
    models,
    betas: betasOf(request.headers),
    asked,
    before,
    servedStepTokens: settings.SERVED_STEP_TOKENS,
  };
  const goesUp = { ...own, model };
  const { row, known } = models.price(model);
  const admissionRequest = {
    ...admissionRequestOf(request),
    model: (known ? row.id : model).slice(0, LONGEST_MODEL_NAME),
    repeats: number > 1,
    adds: request.adds,
  };
  let { bound, terms } = worstCaseOf(
    goesUp,
    request.count === undefined ? options : { ...options, count: request.count },
  );
  let answer = await askAgainWhileHeld(request, { ...admissionRequest, bound });
  if (answer.outcome === 'count_needed') {
    ({ bound, terms } = worstCaseOf(goesUp, { ...options, count: await countInput(request) }));
    answer = await askAgainWhileHeld(request, {
      ...admissionRequest,
      counted: true,
      bound: { ...bound, countable: false },
    });
  }
  if (answer.outcome === 'admitted' || answer.outcome === 'refused') allowFallbacks(answer.fallbacks);
  return { answer, bound, terms, startedAt };
}

/** @returns the upstreams that may answer a request. @throws NoUpstream where none can */
function ableFor(
  pool: UpstreamPool,
  { model, headers, streams = false }: Pick<MeterRequest, 'model' | 'headers' | 'streams'>,
  routing: MeterRequest['routing'] = { streams },
) {
  const asked = {
    method: 'POST',
    path: '/v1/messages',
    // Few kinds look at them, and to copy them costs more than the rest of this.
    get headers() {
      return headers instanceof Headers ? Object.fromEntries(headers) : headers;
    },
  };
  return ableOf(pool, asked, { ...routing, model });
}

/** The model of a request, and those that may step in for it. It changes the request as they do. */
class ModelChoice {
  readonly request: MeterRequest;
  /** The name by which the present model was asked for, where it is not the body's. */
  asked: string | undefined;
  /** The model that was asked for first, once another one has stepped in. */
  from: string | undefined;
  #left: readonly string[] | undefined;

  constructor(request: MeterRequest) {
    this.request = request;
    this.#left = request.fallbacks;
  }

  /** Takes the models of the account's limits, where the request has named none. */
  readonly allowFallbacks = (names: readonly string[] | undefined): void => {
    this.#left ??= names;
  };

  get hasNext(): boolean {
    return this.#left !== undefined && this.#left.length > 0;
  }

  /** @returns what makes the present model the one that is asked for again. */
  mark(): () => void {
    const { model } = this.request;
    const { asked, from } = this;
    return () => {
      this.request.model = model;
      Object.assign(this, { asked, from });
    };
  }

  /** Lets the next model step in. @returns false where there is none */
  next(): boolean {
    const { request } = this;
    for (const name of this.#left ?? []) {
      this.#left = this.#left?.slice(1);
      const model = request.settings.models.resolve(name);
      if (model === request.model) continue;
      this.from ??= request.model;
      this.asked = name;
      request.model = model;
      // It was counted by another tokenizer.
      request.count = undefined;
      return true;
    }
    return false;
  }
}

function grantOf(
  bound: WorstCase,
  terms: Terms,
  { hold, maxTokens }: Extract<AdmissionDecision, { outcome: 'admitted' }>,
  { CANCEL_STOPS }: Settings,
): StoredGrant {
  const isOne = terms.steps === 'one' && bound.models.length === 1;
  return {
    hold,
    lowered: maxTokens,
    mostOutput: isOne ? (maxTokens ?? bound.outputTokens) : undefined,
    models: bound.models,
    cancelStops: doesStop(CANCEL_STOPS, terms.streams),
    terms,
  };
}

/** @returns the grant by which a request is settled that ran there: one upstream stops when it is left, another does not. */
function grantAt(settings: Settings, upstream: string | undefined, grant: StoredGrant): StoredGrant {
  const stops = cancelStopsAt(settings, upstream);
  return stops === undefined ? grant : { ...grant, cancelStops: doesStop(stops, grant.terms?.streams ?? false) };
}

function doesStop(stops: Settings['CANCEL_STOPS'], streams: boolean): boolean {
  return stops === 'always' || (stops === 'streams' && streams);
}

/** @returns what settles an admitted request, also in another process than the one that was admitted. */
export function requestMeterOf(request: MeteredRequest, grant: StoredGrant): Pick<RequestMeter, 'settle' | 'renew'> {
  const { requestId, model, settings } = request;
  return {
    settle: (outcome, extra) => {
      const { startedAt } = grant;
      const models = pricesAt(settings, outcome.upstream);
      const priced = settlementOf({ requestId, model, models }, outcome, grantAt(settings, outcome.upstream, grant));
      const settlement = { ...priced, startedAt, ...extra };
      const { cost, tokens } = settlement;
      return {
        nanodollars: cost + (grant.earlier ?? 0),
        outputTokens: tokens?.output,
        done: settleSurely(request, settlement),
      };
    },
    renew: (stage) => callAccount(request, (account) => account.renew(requestId, stage)),
  };
}

/** Pauses, in milliseconds, before a request asks again that only the holds of others keep out. */
const ASK_AGAIN_MS = [500, 1_000];

/** Asks up to two times more where only the holds of others keep a request out: they are soon settled. */
async function askAgainWhileHeld(
  request: MeterRequest,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  let answer = await askForAdmission(request, admissionRequest);
  for (const wait of ASK_AGAIN_MS) {
    if (answer.outcome !== 'refused' || answer.refusal.reason !== 'held' || request.signal?.aborted) break;
    await pause(wait * (0.75 + Math.random() / 2));
    answer = await askForAdmission(request, admissionRequest);
  }
  return answer;
}

/**
 * Admits a token count, which costs nothing but has its own limit.
 *
 * @returns headers for the response
 * @throws ApiError as `admit`
 */
export async function admitTokenCount(
  request: Omit<MeterRequest, 'body' | 'upstream' | 'headers'>,
): Promise<Record<string, string>> {
  const answer = await askForAdmission(request, admissionRequestOf(request));
  const admitted = grantedBy(answer);
  if (admitted.unlisted) request.waitUntil(putOnList(request));
  return quotaHeaders(admitted.standing);
}

/**
 * @returns the admission that an account has answered with
 * @throws ApiError for every other answer
 */
export function grantedBy(answer: AdmissionDecision): Extract<AdmissionDecision, { outcome: 'admitted' }> {
  switch (answer.outcome) {
    case 'admitted':
      return answer;
    case 'revoked':
      throw revoked();
    case 'refused':
      throw refusalError(answer.refusal, answer.standing);
    case 'full':
      throw storageError(answer);
    case 'unreachable':
      throw new ObjectUnreachable('pool', undefined);
    case 'count_needed':
      throw new ApiError('api_error', 'This request could not be bounded. Send a smaller one.', {
        headers: DO_NOT_RETRY,
      });
  }
}

/** @returns the 401 for a credential that was revoked. */
export function revoked(): ApiError {
  return new ApiError('authentication_error', 'This credential has been revoked. Get a new one.', {
    headers: DO_NOT_RETRY,
  });
}

/** @returns what every request tells its account. */
export function admissionRequestOf(
  request: Pick<MeterRequest, 'requestId' | 'route' | 'model' | 'conversation' | 'prefix' | 'identity' | 'settings'>,
): AdmissionRequest {
  const { requestId, route, model, conversation, prefix, identity, settings } = request;
  const { token } = identity;
  return {
    requestId,
    route,
    model,
    conversation,
    prefix,
    token: token && { jti: token.jti, iat: token.issued_at, exp: token.expires_at },
    tags: identity.tags,
    user: identity.user,
    defaults: defaultLimits(identity.account, settings),
    pools: poolsOf(identity, settings),
  };
}

/** @returns the pools that pay for an account's requests too, as far as they are known here; undefined where none does. */
function poolsOf({ group }: Identity, { DEPLOYMENT_LIMITS }: Settings): AdmissionRequest['pools'] {
  const deployment = DEPLOYMENT_LIMITS !== undefined;
  return deployment || group !== undefined ? { deployment, group } : undefined;
}

/** @returns the ledger's name of a further try: that of the request, with its number behind it. */
function tryId(requestId: string, number: number): string {
  return `${requestId.replace(/\.\d+$/, '')}.${number}`;
}

function betasOf(headers: Headers | PlainHeaders): string[] {
  const betas = headers instanceof Headers ? headers.get('anthropic-beta') : headers['anthropic-beta'];
  return betas === null || betas === undefined ? [] : betas.split(',').map((name) => name.trim());
}

/** @returns the account's decision. @throws ObjectUnreachable 503 while the account cannot be reached */
export async function askForAdmission(
  request: AccountRequest,
  admissionRequest: AdmissionRequest,
): Promise<AdmissionDecision> {
  const text = JSON.stringify(admissionRequest);
  return JSON.parse(await callAccount(request, (account) => account.admitJson(text))) as AdmissionDecision;
}

/** Settles a request, by all means: what cannot be settled here, the account's alarm settles at the whole hold. */
async function settleSurely(request: MeteredRequest, settlement: Settlement): Promise<Settled> {
  // JSON writes null for what is no number. The account takes that as a cost that nobody knows.
  const text = JSON.stringify(settlement);
  return JSON.parse(await callAccount(request, (account) => account.settleJson(text), 'persistent')) as Settled;
}

/** @returns the settlement of a request that was never sent: it costs nothing. */
function unsent({ requestId, route, model, conversation, prefix }: MeterRequest): Settlement {
  const name = model.slice(0, LONGEST_MODEL_NAME);
  const opening = { route, model: name, conversation: conversation ?? null, prefix: prefix ?? null };
  return { requestId, status: 'unreachable', cost: 0, errorType: 'account_unreachable', opening };
}

/** Puts an account on the list of accounts, and tells its object that it is there. */
export async function putOnList(request: AccountRequest & { store: KVNamespace }): Promise<void> {
  const { store, settings, identity } = request;
  const mark = await accountMark(identity.account, settings);
  if (mark !== undefined) await noteMark(store, mark, identity.account);
  await listAccount(store, identity.account);
  await callAccount(request, (account) => account.listed());
}
