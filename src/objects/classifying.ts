/**
 * Has one text labelled, and pays for it: the cache, admission, the call, one correction, votes, settlement. Routes and
 * the consumer of webhooks come here alike.
 */

import type { Identity } from '../auth/identity.ts';
import { withUserId } from '../claude/account-name.ts';
import { bodyUp } from '../claude/body-up.ts';
import { type Classifier, classifierOf } from '../claude/classifier.ts';
import { type Choice, type Fault, type Prompt, promptOf, readAnswer, requestOf } from '../claude/classify.ts';
import { API_VERSION, askMessage } from '../claude/client.ts';
import type { Nanodollars, Usage } from '../claude/cost.ts';
import { defaultModel } from '../claude/default-model.ts';
import { MODELS } from '../claude/models.ts';
import type { Prefix } from '../claude/prefix.ts';
import type { Upstream } from '../claude/upstream.ts';
import { ApiError, DO_NOT_RETRY, invalidRequest, misconfigured, toApiError } from '../errors.ts';
import { createRequestId } from '../request-id.ts';
import { withJson } from '../schemas/body.ts';
import { type ClassifyUsage, MAX_INPUT_BYTES, type TaskAsked } from '../schemas/classify.ts';
import type { Settings } from '../settings.ts';
import { answerHash, type KeptAnswer, keepAnswer, recallAnswer } from '../store/classifications.ts';
import type { Refusal } from './budget.ts';
import { findClassifier, unknownClassifier } from './classifiers.ts';
import { Gate } from './gate.ts';
import { admit, type Meter } from './metering.ts';
import type { AccountBinding } from './namespace.ts';
import { payments } from './payments.ts';
import { findPrefix, unknownPrefix } from './prefixes.ts';

/** Who has something classified, and by what means. */
export interface Classifying {
  /** The account that pays. */
  identity: Identity;
  accounts: AccountBinding;
  store: KVNamespace;
  settings: Settings;
  upstream: Upstream;
  /** The ledger's name for the first call to the upstream; others get their own. Used once. */
  requestId: string;
  /** The route's name in the ledger. Default `classify`. */
  route?: string | undefined;
  /** Aborted: nothing more is started, and what runs is ended and settled. */
  signal?: AbortSignal | undefined;
  /** Faults that are asked of the simulator. */
  simulate?: string | undefined;
  /** What limits the calls of several inputs together. */
  gate?: Gate | undefined;
  /** Keeps work alive that nobody waits for. */
  waitUntil(work: Promise<unknown>): void;
}

/** What is to be done with each input of a request: found, checked and written once. */
export interface Task {
  classifier: Classifier;
  prompt: Prompt;
  /** The model's id as the upstream knows it. */
  model: string;
  /** Its name as it was asked for, by which limits may allow it. */
  modelAsked: string;
  /** name@version of a stored classifier. */
  version: string | undefined;
  /** name@version of the prefix, for the ledger. */
  prefix: string | undefined;
  votes: number;
  cacheSeconds: number;
}

/** Why there is no label. `budget`, `limited` and `unavailable` pass by themselves; the others do not. */
export type Reason = 'budget' | 'limited' | 'unavailable' | 'input' | 'answer' | 'operator' | 'cancelled';

interface Classified {
  outcome: 'classified';
  result: KeptAnswer & { cached: boolean };
}

interface Unclassified {
  outcome: 'unclassified';
  reason: Reason;
  /** As a caller may see it. */
  error: ApiError;
  /** Milliseconds since 1970 from when on a repetition makes sense, where somebody said so. */
  retryAt: number | null;
}

/** What became of one input, and what it cost, all calls together. */
export type Outcome = (Classified | Unclassified) & {
  model: string;
  usage: ClassifyUsage;
  nanodollars: Nanodollars;
  /** Where the account stands, for a response. */
  headers: Record<string, string>;
  /** The upstream's name for the last call. */
  upstreamRequestId: string | undefined;
};

const CACHE_SECONDS = 3_600;
/** A Worker has six connections at once. */
const AT_ONCE = 6;
const RETRY_MS = 1_000;

/** @returns what limits the calls of a request */
export function createGate(): Gate {
  return new Gate(AT_ONCE);
}

/**
 * Finds the classifier and the prefix, and prepares what every input shares.
 *
 * @throws ApiError 400 for what cannot be a classifier, 404 for an unknown one, 503 while neither can be read
 */
export async function taskOf(
  asked: TaskAsked,
  { identity, accounts, store, settings }: Pick<Classifying, 'identity' | 'accounts' | 'store' | 'settings'>,
): Promise<Task> {
  const reader = { account: identity.account, accounts, store, settings };
  const { classifier: ref, prefix: prefixRef, ...parts } = asked;
  const [found, prefix] = await Promise.all([
    ref === undefined ? undefined : findClassifier(reader, ref),
    prefixRef === undefined ? undefined : findPrefix(reader, prefixRef),
  ]);
  if (prefixRef !== undefined && !prefix) throw unknownPrefix(prefixRef);
  if (ref !== undefined && !found) throw unknownClassifier(ref);
  if (found) refuseParts(parts);
  const { model, votes, cache_seconds } = asked;
  const classifier = found ? found.value : classifierOf(parts);
  return prepare(
    {
      ...classifier,
      ...(model && { model }),
      ...(votes && { votes }),
      ...(cache_seconds !== undefined && { cache_seconds }),
    },
    {
      settings,
      version: found && `${found.name}@${found.hash}`,
      prefix: prefix && { ref: `${prefix.name}@${prefix.hash}`, value: prefix.value },
    },
  );
}

/**
 * Prepares a classifier that is at hand already.
 *
 * @throws ApiError 500 where no model is named and the table has none
 */
export function prepare(
  classifier: Classifier,
  {
    settings,
    version,
    prefix,
  }: { settings: Settings; version?: string | undefined; prefix?: { ref: string; value: Prefix } | undefined },
): Task {
  const { models } = settings;
  const modelAsked = classifier.model ?? prefix?.value.content.model ?? defaultModel(models)?.id;
  if (modelAsked === undefined) throw misconfigured('No model is named, and the model table has no Haiku.');
  const model = models.resolve(modelAsked);
  const row = models.find(model);
  const prompt = promptOf(classifier, {
    model,
    // Every model of the API's own table takes a format; of others nothing is known.
    structured: row !== undefined && MODELS.some(({ id }) => id === row.id),
    thinks: row === undefined || !row.id.startsWith('claude-haiku-'),
    minimumCacheable: row?.minimum_cacheable_tokens ?? Number.POSITIVE_INFINITY,
    prefix: prefix?.value,
  });
  const { votes = 1, cache_seconds: cacheSeconds = CACHE_SECONDS } = classifier;
  return { classifier, prompt, model, modelAsked, version, prefix: prefix?.ref, votes, cacheSeconds };
}

function refuseParts(parts: Omit<TaskAsked, 'classifier' | 'prefix'>): void {
  const { model: _, votes: __, cache_seconds: ___, ...own } = parts;
  const [first] = Object.entries(own).filter(([, value]) => value !== undefined);
  if (first) throw invalidRequest(`${first[0]}: the classifier says it. Send \`classifier\`, or its parts, not both.`);
}

/**
 * Labels one text. Never rejects for what can happen to one input: it says it. When it resolves, each call that it made
 * has been settled, or is left to the account's alarm.
 *
 * @param input anything: what is no text is an error of its own
 */
export async function classify(task: Task, input: unknown, by: Classifying): Promise<Outcome> {
  const { votes, cacheSeconds } = task;
  const { account } = by.identity;
  const wrong = faultOf(input);
  if (wrong || typeof input !== 'string')
    return failed(task, { reason: 'input', error: wrong ?? notText(), retryAt: null }, []);
  const hash = cacheSeconds === 0 ? undefined : await hashOf(task, input);
  const known = hash === undefined ? undefined : await recallAnswer(by.store, account, hash);
  if (known) return done(task, { ...known, cached: true }, []);
  const gate = by.gate ?? createGate();
  const answers = await Promise.all(
    Array.from({ length: votes }, (_, vote) =>
      answer(task, input, { ...by, gate }, vote === 0 ? by.requestId : undefined),
    ),
  );
  const calls = answers.flatMap((one) => one.calls);
  const choices = answers.flatMap(({ choice }) => choice ?? []);
  if (choices.length === 0) {
    const failure = answers.flatMap((one) => one.failure ?? [])[0];
    return failed(task, failure ?? { reason: 'answer', error: noAnswer('there was none'), retryAt: null }, calls);
  }
  const result = elected(task, choices);
  // What some of the votes did not come to say is not for ever so.
  if (hash !== undefined && choices.length === votes) {
    by.waitUntil(keepAnswer(by.store, account, hash, result, cacheSeconds));
  }
  return done(task, { ...result, cached: false }, calls);
}

function hashOf({ classifier, model, prefix, votes }: Task, input: string): Promise<string> {
  const { description: _, cache_seconds: __, model: ___, votes: ____, ...deciding } = classifier;
  return answerHash([deciding, model, prefix ?? null, votes, input]);
}

function faultOf(input: unknown): ApiError | undefined {
  if (typeof input !== 'string') return notText();
  if (input.trim() === '') return invalidRequest('input: it is empty. Send the text that is to be labelled.');
  // A character has at most three bytes for each of its units: most inputs need not be encoded to be measured.
  const isLong = input.length * 3 > MAX_INPUT_BYTES && new TextEncoder().encode(input).length > MAX_INPUT_BYTES;
  if (!isLong) return undefined;
  return new ApiError('request_too_large', `input: it is longer than ${MAX_INPUT_BYTES} bytes. Send a part of it.`);
}

function notText(): ApiError {
  return invalidRequest('input: Input should be a valid string');
}

function noAnswer(fault: string): ApiError {
  return new ApiError(
    'api_error',
    `The model gave no usable answer, not even when it was corrected: ${fault}. Try another model, or describe the labels better.`,
    { headers: DO_NOT_RETRY, logged: 'no_answer' },
  );
}

/** The labels that most answers agree on; among equals those that came first. */
function elected({ classifier: { multi }, votes }: Task, choices: readonly Choice[]): KeptAnswer {
  const counts = new Map<string, number>();
  const keyOf = ({ labels }: Choice) => JSON.stringify(labels);
  for (const choice of choices) counts.set(keyOf(choice), (counts.get(keyOf(choice)) ?? 0) + 1);
  const most = Math.max(...counts.values());
  const chosen = choices.find((choice) => counts.get(keyOf(choice)) === most);
  const { labels = [], fields = null } = chosen ?? {};
  return {
    ...(multi ? { labels } : { label: labels[0] ?? null }),
    // Votes that failed count against: the share is of all that were asked for.
    confidence: votes === 1 ? null : most / votes,
    fields,
  };
}

/** One call to the upstream: what it cost. */
interface Call {
  nanodollars: Nanodollars;
  usage: Usage | undefined;
  headers: Record<string, string>;
  upstreamRequestId: string | undefined;
}

type Failure = Omit<Unclassified, 'outcome'>;

interface Answered {
  choice?: Choice;
  failure?: Failure;
  calls: Call[];
}

/** One vote: a call, and a second one if the answer to the first is none. */
async function answer(
  task: Task,
  input: string,
  by: Classifying & { gate: Gate },
  requestId: string | undefined,
): Promise<Answered> {
  const calls: Call[] = [];
  let fault: Fault | undefined;
  for (const id of [requestId, undefined]) {
    const attempt = () => call(task, input, by, id ?? createRequestId(), fault);
    const { choice, fault: found, failure, call: made } = await by.gate.run(attempt, isCrowded);
    if (made) calls.push(made);
    if (choice) return { choice, calls };
    if (failure) return { failure, calls };
    fault = found;
    if (fault?.kind === 'refused' || fault?.kind === 'too_long') {
      const error = invalidRequest(`input: ${fault.fault}.`, { headers: DO_NOT_RETRY, logged: `model_${fault.kind}` });
      return { failure: { reason: 'input', error, retryAt: null }, calls };
    }
  }
  return { failure: { reason: 'answer', error: noAnswer(fault?.fault ?? ''), retryAt: null }, calls };
}

interface Called {
  choice?: Choice;
  fault?: Fault;
  failure?: Failure;
  call?: Call;
}

/** One call: admitted, made, settled. */
async function call(
  task: Task,
  input: string,
  by: Classifying,
  requestId: string,
  correction: Fault | undefined,
): Promise<Called> {
  const { identity, accounts, store, settings, upstream, signal, simulate } = by;
  const { model, modelAsked, prefix, prompt } = task;
  if (signal?.aborted) return { failure: failureOf(cancelled(), 'cancelled') };
  const body = await withUserId(requestOf(prompt, input, correction), settings, identity.account);
  let meter: Meter;
  try {
    meter = await admit({
      requestId,
      route: by.route ?? 'classify',
      identity,
      accounts,
      store,
      settings,
      upstream,
      // Limits may allow the model by the name that it was asked for.
      body: withJson(body, { ...body.json, model: modelAsked }),
      model,
      headers: new Headers({ 'anthropic-version': API_VERSION }),
      prefix,
      waitUntil: (work) => by.waitUntil(work),
    });
  } catch (thrown) {
    return { failure: failureOf(toApiError(thrown)) };
  }
  const { maxTokens } = meter;
  const granted = (tokens: number | undefined) =>
    bodyUp(body, tokens === undefined ? {} : { max_tokens: String(tokens) });
  const started = Date.now();
  const { payment, settle } = payments(meter, (again) => granted(again.maxTokens));
  const { outcome, message, error } = await askMessage(granted(maxTokens), {
    upstream,
    settings,
    signal,
    simulate,
    payment,
  });
  const { nanodollars, done } = settle(outcome, { ms: Date.now() - started });
  // Logged if it fails: then the account's alarm settles it.
  by.waitUntil(done);
  await done.catch(() => undefined);
  const made: Call = {
    nanodollars,
    usage: outcome.usage,
    headers: meter.headers,
    upstreamRequestId: outcome.upstream_request_id,
  };
  if (error || !message) {
    const reason = outcome.end === 'client_gone' ? 'cancelled' : undefined;
    return { failure: failureOf(error ?? noAnswer('there was none'), reason), call: made };
  }
  const read = readAnswer(message, prompt);
  return 'labels' in read ? { choice: read, call: made } : { fault: read, call: made };
}

function cancelled(): ApiError {
  return new ApiError('api_error', 'Nobody waited for this answer any more.', { logged: 'client_gone' });
}

function isCrowded({ failure }: Called): boolean {
  const reason = refusalIn(failure?.error)?.reason;
  return reason === 'concurrency' || reason === 'held';
}

function refusalIn(error: ApiError | undefined): Refusal | undefined {
  const cause = error?.cause as Partial<Refusal> | undefined;
  return cause?.kind === 'refused' ? (cause as Refusal) : undefined;
}

function failureOf(error: ApiError, known?: Reason): Failure {
  const refusal = refusalIn(error);
  const seconds = Number(error.headers['retry-after'] ?? Number.NaN);
  const after = Number.isFinite(seconds) ? Date.now() + seconds * RETRY_MS : null;
  const retryAt = refusal ? refusal.resetsAt : after;
  const reason = known ?? reasonOf(error, refusal);
  return { reason, error, retryAt: reason === 'input' || reason === 'operator' ? null : retryAt };
}

function reasonOf({ type, headers }: ApiError, refusal: Refusal | undefined): Reason {
  switch (refusal?.reason) {
    case 'model':
    case 'unpriced':
      return 'operator';
    // More than the whole limit: no reset lets it through, but its admin can.
    case 'spend':
      return refusal.never ? 'operator' : 'budget';
    case 'rate':
      return refusal.never ? 'input' : 'limited';
    case 'concurrency':
    case 'held':
      return 'limited';
  }
  switch (type) {
    case 'invalid_request_error':
    case 'request_too_large':
      return 'input';
    case 'rate_limit_error':
    case 'billing_error':
      return 'limited';
    case 'api_error':
      return headers['x-should-retry'] === 'false' ? 'operator' : 'unavailable';
    case 'overloaded_error':
    case 'timeout_error':
    case 'conflict_error':
      return 'unavailable';
    default:
      return 'operator';
  }
}

function done(task: Task, result: Classified['result'], calls: readonly Call[]): Outcome {
  return { outcome: 'classified', result, ...totalOf(task, calls) };
}

function failed(task: Task, failure: Failure, calls: readonly Call[]): Outcome {
  return { outcome: 'unclassified', ...failure, ...totalOf(task, calls) };
}

function totalOf({ model }: Task, calls: readonly Call[]) {
  const sum = (kind: keyof ClassifyUsage) => calls.reduce((total, { usage }) => total + Number(usage?.[kind] ?? 0), 0);
  return {
    model,
    usage: {
      input_tokens: sum('input_tokens'),
      output_tokens: sum('output_tokens'),
      cache_read_input_tokens: sum('cache_read_input_tokens'),
      cache_creation_input_tokens: sum('cache_creation_input_tokens'),
    },
    nanodollars: calls.reduce((total, { nanodollars }) => total + nanodollars, 0),
    headers: calls.at(-1)?.headers ?? {},
    upstreamRequestId: calls.at(-1)?.upstreamRequestId,
  };
}
