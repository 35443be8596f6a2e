import type { Identity } from '../auth/identity.ts';
import { type Bound, boundOf, NOTHING_FOUND } from '../claude/bound.ts';
import { cost, type Nanodollars, type Usage } from '../claude/cost.ts';
import { askCount, uncounted } from '../claude/count.ts';
import { edit } from '../claude/edit.ts';
import type { PlainHeaders } from '../claude/headers.ts';
import type { Outcome } from '../claude/relay.ts';
import type { Upstream } from '../claude/upstream.ts';
import { ApiError, DO_NOT_RETRY } from '../errors.ts';
import type { JsonBody } from '../schemas/json.ts';
import type { Settings } from '../settings.ts';
import { listAccount } from '../store/accounts.ts';
import type { Account, Answer, Ask } from './account.ts';
import type { Tokens } from './ledger.ts';
import { refusalError, standingHeaders } from './limit-headers.ts';
import { type AccountBinding, accountStub } from './namespace.ts';
import { Prompt } from './prompt.ts';
import type { Settled, Settlement } from './settlement.ts';
import { fullError } from './stored-amounts.ts';

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
  /** The headers as they will go up, but for the credential. */
  headers: Headers | PlainHeaders;
  conversation?: string | undefined;
  prefix?: string | undefined;
  /** What the input comes to at the most, in tokens, where the caller knows it. */
  count?: number | undefined;
  /** Aborted when the caller has left. */
  signal?: AbortSignal | undefined;
  /** Keeps work alive that nobody waits for. */
  waitUntil(work: Promise<unknown>): void;
}

/** As much of a request as settling it needs. */
export type MeteredRequest = AccountRequest & Pick<MeterRequest, 'requestId' | 'model'>;

/** An admitted request: what it may do, and how it is settled. */
export interface Meter {
  /** What `max_tokens` must be lowered to; undefined where it may stay. */
  maxTokens: number | undefined;
  /** For the response: where the account stands. */
  headers: Record<string, string>;
  /** Replaces the hold by what the request cost. Safe to be called again. */
  settle(outcome: Outcome, extra?: Partial<Settlement>): { nanodollars: Nanodollars; done: Promise<Settled> };
  /** Says that the request still runs, at which stage. */
  renew(stage?: string): Promise<boolean>;
}

/** What settling needs of an admission beside the meter: plain, so that it can be stored. */
export interface Admission extends Meter {
  grant: Grant;
}

/** What counts tokens takes of a Messages request; it refuses the rest. */
const COUNTED: ReadonlySet<string> = new Set([
  'messages',
  'model',
  'system',
  'tools',
  'tool_choice',
  'thinking',
  'output_config',
  'output_format',
  'cache_control',
  'context_management',
  'mcp_servers',
  'speed',
]);
/** Of a model's name: whatever is longer is none, and would not fit into a row. */
const LONGEST_NAME = 256;
const SETTLE_TRIES = 4;
const FIRST_PAUSE_MS = 100;

/**
 * Asks the account to admit a request: one call to its object, and a second one if only the exact count of the input
 * can show that it fits.
 *
 * @throws ApiError 401 for a revoked credential, 403 for a model that is not allowed, 429 for a limit that is reached,
 * 503 while the account's object cannot be reached
 */
export async function admit(request: MeterRequest): Promise<Meter> {
  try {
    return await admission(request);
  } catch (thrown) {
    // Only the answer may have been lost: what was set aside for nothing must not be held, and then be paid.
    if (thrown instanceof AccountUnreachable && !isOverloaded(thrown.cause)) {
      request.waitUntil(settleSurely(request, unsent(request)));
    }
    throw thrown;
  }
}

/**
 * The same for a request whose process may end before it does: what was granted can be stored.
 *
 * @throws ApiError as `admit`
 */
export async function admission(request: MeterRequest): Promise<Admission> {
  const { settings, body, model } = request;
  const { own, before } = body instanceof Prompt ? body : { own: body.json, before: NOTHING_FOUND };
  const asked = typeof own.model === 'string' ? own.model : model;
  const text = body instanceof Prompt ? undefined : body.text;
  const options = {
    bytes: body.bytes.length,
    text,
    models: settings.models,
    betas: betasOf(request.headers),
    asked,
    before,
  };
  const goesUp = { ...own, model };
  const { row, known } = settings.models.price(model);
  const ask = { ...askOf(request), model: (known ? row.id : model).slice(0, LONGEST_NAME) };
  let bound = boundOf(goesUp, request.count === undefined ? options : { ...options, count: request.count });
  let answer = await askAccount(request, { ...ask, bound });
  if (answer.outcome === 'count_needed') {
    bound = boundOf(goesUp, { ...options, count: await countInput(request) });
    const exact = { ...bound, countable: false };
    answer = await askAccount(request, { ...ask, bound: exact });
  }
  const admitted = grantedBy(answer);
  const lowered = admitted.maxTokens;
  if (admitted.unlisted) request.waitUntil(putOnList(request));
  const grant: Grant = { ...bound, hold: admitted.hold, lowered };
  return {
    ...meterOf(request, grant),
    grant,
    maxTokens: lowered,
    headers: {
      ...standingHeaders(admitted.standing),
      ...(lowered === undefined ? {} : { 'sluice-max-tokens': String(lowered) }),
    },
  };
}

/** @returns what settles an admitted request, also in another process than the one that was admitted. */
export function meterOf(request: MeteredRequest, grant: Grant): Pick<Meter, 'settle' | 'renew'> {
  return {
    settle: (outcome, extra) => {
      const settlement = { ...settlementOf(request, outcome, grant), ...extra };
      return { nanodollars: settlement.cost, done: settleSurely(request, settlement) };
    },
    renew: (stage) => callAccount(request, (account) => account.renew(request.requestId, stage)),
  };
}

/**
 * Admits a token count, which costs nothing but has its own limit.
 *
 * @returns headers for the response
 * @throws ApiError as `admit`
 */
export async function admitCount(
  request: Omit<MeterRequest, 'body' | 'upstream' | 'headers'>,
): Promise<Record<string, string>> {
  const answer = await askAccount(request, askOf(request));
  const admitted = grantedBy(answer);
  if (admitted.unlisted) request.waitUntil(putOnList(request));
  return standingHeaders(admitted.standing);
}

/**
 * @returns the admission that an account has answered with
 * @throws ApiError for every other answer
 */
export function grantedBy(answer: Answer): Extract<Answer, { outcome: 'admitted' }> {
  switch (answer.outcome) {
    case 'admitted':
      return answer;
    case 'revoked':
      throw revoked();
    case 'refused':
      throw refusalError(answer.refusal, answer.standing);
    case 'full':
      throw fullError(answer);
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
export function askOf(
  request: Pick<MeterRequest, 'requestId' | 'route' | 'model' | 'conversation' | 'prefix' | 'identity' | 'settings'>,
): Ask {
  const { requestId, route, model, conversation, prefix, identity, settings } = request;
  const { token } = identity;
  return {
    requestId,
    route,
    model,
    conversation,
    prefix,
    token: token && { jti: token.jti, iat: token.issued_at, exp: token.expires_at },
    defaults: settings.DEFAULT_LIMITS,
  };
}

function betasOf(headers: Headers | PlainHeaders): string[] {
  const betas = headers instanceof Headers ? headers.get('anthropic-beta') : headers['anthropic-beta'];
  return betas === null || betas === undefined ? [] : betas.split(',').map((name) => name.trim());
}

/** @returns what the upstream counts; null if it refuses, so that nothing bounds the input. */
async function countInput(request: MeterRequest): Promise<number | null> {
  const { body, model } = request;
  const rest = Object.keys(body.json).filter((key) => !COUNTED.has(key));
  const changes: Record<string, string | undefined> = Object.fromEntries(rest.map((key) => [key, undefined]));
  if (body.json.model !== model) changes.model = JSON.stringify(model);
  const count = await askCount(edit(body.text, changes), request);
  if (count.tokens === null && (count.status >= 500 || count.status === 429)) throw uncounted(count.status);
  return count.tokens;
}

export interface Grant extends Bound {
  hold: Nanodollars;
  lowered: number | undefined;
}

/**
 * What a request is settled at. What the upstream said is taken as it is; what it did not come to say is estimated from
 * above by what was seen, and where nothing was seen, by the hold.
 */
function settlementOf({ requestId, settings, model }: MeteredRequest, outcome: Outcome, grant: Grant): Settlement {
  const { models } = settings;
  const answeredBy = models.price(outcome.model ?? model);
  // A name that the table does not have is a snapshot of the model that was asked for, where no other may step in.
  const { row } = answeredBy.known || grant.models.length > 1 ? answeredBy : models.price(model);
  const priceOf = (name: string) => models.price(name).row;
  const common = {
    requestId,
    status: statusOf(outcome),
    answeredBy: outcome.model,
    stopReason: outcome.stop_reason ?? undefined,
    errorType: outcome.error_type,
    upstreamRequestId: outcome.upstream_request_id,
    ttftMs: outcome.ttft_ms,
  };
  const { usage } = outcome;
  if (outcome.completed && usage) {
    return { ...common, cost: cost(usage, row, { priceOf }), tokens: tokensOf(usage) };
  }
  if (refusedUpstream(outcome)) return { ...common, cost: 0 };
  if (!usage) return { ...common, cost: grant.hold, estimated: true };
  const estimate = { ...usage, output_tokens: outputEstimate(outcome, grant) };
  const told = cost(usage, row, { priceOf });
  return {
    ...common,
    // An estimate stays within the hold; what the upstream itself has said may be beyond it.
    cost: Math.max(told, Math.min(cost(estimate, row, { priceOf }), grant.hold)),
    tokens: tokensOf(estimate),
    estimated: true,
  };
}

/** Thinking is billed whole and shown in part or not at all: until the upstream says what it was, it is its budget. */
function outputEstimate({ usage, delta_bytes, thinking, stop_reason }: Outcome, grant: Grant): number {
  const most = grant.lowered ?? grant.outputTokens;
  const shown = Math.max(usage?.output_tokens ?? 0, Math.ceil(delta_bytes / 3));
  if (!thinking || stop_reason !== null) return shown;
  return grant.leastOutput > 1 ? Math.min(most, shown + grant.leastOutput) : most;
}

/** Nothing was generated: the upstream answered with an error before anything else, or was never reached. */
function refusedUpstream({ status, end, error_type, sent, usage, delta_bytes }: Outcome): boolean {
  if (!sent) return true;
  if (end === 'error' && !usage && delta_bytes === 0) return true;
  if (status !== undefined) return status >= 300;
  return end === 'cut' && error_type?.startsWith('upstream_unreachable') === true;
}

function statusOf(outcome: Outcome): string {
  if (outcome.end === 'error' && outcome.status !== undefined && outcome.status >= 300) return 'refused_upstream';
  if (outcome.end === 'cut' && refusedUpstream(outcome)) return 'unreachable';
  return outcome.end;
}

/** Kinds that were not used are left out: every member that crosses to the object costs. */
function tokensOf(usage: Usage): Partial<Tokens> {
  const oneHour = usage.cache_creation?.ephemeral_1h_input_tokens ?? 0;
  const written = usage.cache_creation_input_tokens ?? 0;
  const tokens: Partial<Tokens> = { input: usage.input_tokens ?? 0, output: usage.output_tokens ?? 0 };
  if (usage.cache_read_input_tokens) tokens.cacheRead = usage.cache_read_input_tokens;
  if (written > oneHour) tokens.cacheWrite5m = written - oneHour;
  if (oneHour > 0) tokens.cacheWrite1h = oneHour;
  if (usage.output_tokens_details?.thinking_tokens) tokens.thinking = usage.output_tokens_details.thinking_tokens;
  if (usage.server_tool_use?.web_search_requests) tokens.webSearches = usage.server_tool_use.web_search_requests;
  return tokens;
}

/** @returns what an account answers. */
export async function askAccount(request: AccountRequest, ask: Ask): Promise<Answer> {
  const text = JSON.stringify(ask);
  return JSON.parse(await callAccount(request, (account) => account.admitJson(text))) as Answer;
}

/** What is not settled in the end, the account's alarm settles at the hold. */
async function settleSurely(request: MeteredRequest, settlement: Settlement): Promise<Settled> {
  // What is no number becomes null, which the account takes for what it is: a cost that nobody knows.
  const text = JSON.stringify(settlement);
  for (let attempt = 1; ; attempt += 1) {
    try {
      return JSON.parse(await callAccount(request, (account) => account.settleJson(text))) as Settled;
    } catch (thrown) {
      if (attempt === SETTLE_TRIES) throw thrown;
      await pause(FIRST_PAUSE_MS * 2 ** attempt * (0.5 + Math.random()));
    }
  }
}

/** An object's methods as they are called from outside. (The platform's own type splits promises of unions.) */
export type Remote<T> = {
  [Method in keyof T]: T[Method] extends (...args: infer Args) => infer Result
    ? (...args: Args) => Promise<Awaited<Result>>
    : never;
};

interface AccountRequest {
  identity: Pick<Identity, 'account'>;
  accounts: AccountBinding;
  settings: Settings;
  /** The object as it was reached last; absent at first, and once a call has failed. */
  stub?: Remote<Account> | undefined;
}

/**
 * Calls an account's object, a second time if the call was lost on the way: every call here may be repeated.
 *
 * @throws ApiError 503 while the object cannot be reached
 */
export async function callAccount<T>(
  request: AccountRequest,
  call: (account: Remote<Account>) => Promise<T>,
): Promise<T> {
  try {
    return await callOnce(request, call);
  } catch (thrown) {
    if (!isRetryable(thrown)) throw new AccountUnreachable(thrown);
  }
  await pause(FIRST_PAUSE_MS * Math.random());
  try {
    return await callOnce(request, call);
  } catch (thrown) {
    throw new AccountUnreachable(thrown);
  }
}

async function callOnce<T>(request: AccountRequest, call: (account: Remote<Account>) => Promise<T>): Promise<T> {
  const { accounts, settings, identity } = request;
  request.stub ??= accountStub(accounts, settings, identity.account) as unknown as Remote<Account>;
  try {
    return await call(request.stub);
  } catch (thrown) {
    // A stub that has thrown stays broken.
    request.stub = undefined;
    throw thrown;
  }
}

function isRetryable(thrown: unknown): boolean {
  return (thrown as { retryable?: unknown }).retryable === true && !isOverloaded(thrown);
}

/** An object that has too much to do was not reached, and is left alone. */
function isOverloaded(thrown: unknown): boolean {
  return (thrown as { overloaded?: unknown } | undefined)?.overloaded === true;
}

class AccountUnreachable extends ApiError {
  constructor(cause: unknown) {
    super('api_error', 'The account could not be reached. Try again in a moment.', {
      status: 503,
      headers: { 'retry-after': '1' },
      logged: `account_unreachable: ${cause instanceof Error ? cause.message : 'unknown'}`,
      cause,
    });
  }
}

/** @returns how a request ends that was never sent up. */
function unsent({ requestId, route, model, conversation, prefix }: MeterRequest): Settlement {
  const name = model.slice(0, LONGEST_NAME);
  const opening = { route, model: name, conversation: conversation ?? null, prefix: prefix ?? null };
  return { requestId, status: 'unreachable', cost: 0, errorType: 'account_unreachable', opening };
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}

/** Puts an account on the list of accounts, and tells it. */
export async function putOnList(request: AccountRequest & { store: KVNamespace }): Promise<void> {
  await listAccount(request.store, request.identity.account);
  await callAccount(request, (account) => account.listed());
}
