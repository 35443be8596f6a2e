import type { JsonObject } from '../api-rules/json.ts';
import { composeMessage, validateMessageAndPlanCache } from './answer/compose-message.ts';
import { createMessageBody, createMessageEvents } from './answer/message-events.ts';
import type { AnswerMessageSource } from './answer/message-usage.ts';
import { BatchesApi } from './batches/batches-api.ts';
import { createBodyStream, createFaultyChunkStream, type PacedBodyPart } from './body-stream.ts';
import {
  createCompactionUnavailableError,
  createRequestedStatusError,
  LimitedFaultCounter,
  parseFaultsHeader,
  type RequestedFaults,
} from './faults.ts';
import { FilesApi } from './files/files-api.ts';
import { sleepUnlessAborted } from './pause.ts';
import { CacheDiagnoses } from './prompt/cache-diagnoses.ts';
import { createPromptBlocks, sumPromptTokens } from './prompt/prompt-blocks.ts';
import { PromptCache, placeAutomaticBreakpoint } from './prompt/prompt-cache.ts';
import {
  computeDigest,
  createApiIdentifier,
  createRandom,
  type Digest,
  digestToHex,
  type RandomSource,
} from './random/digest.ts';
import { RateLimits } from './rate-limits.ts';
import { parseBetaHeader } from './request/betas.ts';
import { findLeadingSummary } from './request/compaction-blocks.ts';
import { ApiError, createInvalidRequestError } from './request/errors.ts';
import { parseCountTokensRequest } from './request/message-params.ts';
import type { RequestProtocol, RequestValidationContext } from './request/message-request.ts';
import { createModelsPage, getModelResponse, type SimulatedModel } from './request/models.ts';
import { readJsonObjectBody } from './request/request-body.ts';
import { requireRoute, type SimulatorRoute } from './routes.ts';
import { MemoryStore, type SimulatorStore } from './store/store.ts';

export type { SimulatedModel } from './request/models.ts';
export type { SimulatorStore } from './store/store.ts';

export interface SimulatorOptions {
  models: readonly SimulatedModel[];
  /** Finds what the API rejects in the schemas of a request's body, in its words. Default: it takes any schema. */
  refusedSchemas?: RequestValidationContext['refusedSchemas'] | undefined;
  /** Time to the first token, in milliseconds. Default 0. */
  ttftMs?: number | undefined;
  /** The pace of answers, in tokens per second. Default 0: as fast as possible. */
  tokensPerSecond?: number | undefined;
  /** How long all items of a batch take, in milliseconds. Default 0: it has ended at the next request for it. */
  batchMs?: number | undefined;
  /** Where batches and files are kept. Default: in memory, with the simulator. */
  store?: SimulatorStore | undefined;
  /** Whether the request header `sluice-simulate` makes faults (its grammar: `RequestedFaults` in faults.ts). Default false: it is ignored. */
  faults?: boolean | undefined;
  /** The seed of answers and signatures, besides the request. */
  seed?: string | undefined;
  /** Whether its accounts are of 2026-08-31 or later: the API then binds more thinking to its conversation. Default false. */
  newAccounts?: boolean | undefined;
  /** The clock, in milliseconds since the epoch, for retirement and the lifetimes of the prompt cache. Default `Date.now`. */
  now?: (() => number) | undefined;
}

/** Answers a request as the Claude API would. It rejects only as `fetch` does: if the request is aborted, or for a fault. */
export type Simulator = (request: Request) => Promise<Response>;

function requireCredential(headers: Headers): string {
  const key = headers.get('x-api-key')?.trim();
  if (key) return key;
  const [, token] = /^bearer\s+(\S.*)$/i.exec(headers.get('authorization')?.trim() ?? '') ?? [];
  if (token !== undefined) return token;
  throw new ApiError(401, 'x-api-key header is required');
}

function requireBrowserAccessHeader(headers: Headers): void {
  if (headers.get('origin') === null) return;
  if (headers.get('anthropic-dangerous-direct-browser-access') === 'true') return;
  throw new ApiError(401, "CORS requests must set 'anthropic-dangerous-direct-browser-access' header");
}

function parseProtocolHeaders(headers: Headers): RequestProtocol {
  const version = headers.get('anthropic-version');
  if (version === null || version === '') throw createInvalidRequestError('anthropic-version: header is required');
  if (version !== '2023-06-01' && version !== '2026-10-21') {
    throw createInvalidRequestError(`anthropic-version: "${version.slice(0, 100)}" is not a valid version`);
  }
  const betas = parseBetaHeader(headers.get('anthropic-beta'));
  return { version, betas, profile: headers.get('anthropic-user-profile-id') ?? undefined };
}

interface SimulatedCall {
  request: Request;
  account: string;
  startedAt: number;
  faults: RequestedFaults;
  headers: Record<string, string>;
}

class SimulatedApi {
  readonly #options: SimulatorOptions;
  readonly #seed: Digest;
  readonly #cache = new PromptCache();
  readonly #diagnoses = new CacheDiagnoses();
  readonly #rates = new RateLimits();
  readonly #faultCounter = new LimitedFaultCounter();
  readonly #batches: BatchesApi;
  readonly #files: FilesApi;
  #callCount = 0;

  constructor(options: SimulatorOptions) {
    this.#options = options;
    this.#seed = computeDigest(`sluice-simulator:${options.seed ?? ''}`);
    const store = options.store ?? new MemoryStore();
    this.#batches = new BatchesApi(store);
    this.#files = new FilesApi(store);
  }

  #getNow(): number {
    return (this.#options.now ?? Date.now)();
  }

  async handleRequest(request: Request): Promise<Response> {
    const startedAt = this.#getNow();
    // Include the start time, so that the ids differ from those of another simulator, or of this one before a restart.
    const nonce = computeDigest(`${startedAt}:${this.#callCount++}`, this.#seed);
    const requestId = createApiIdentifier('req_', nonce);
    const headers = {
      'sluice-upstream': 'simulator',
      'request-id': requestId,
      'anthropic-organization-id': digestToHex(this.#seed).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    };
    try {
      request.signal.throwIfAborted();
      return await this.#dispatchRequest(request, startedAt, nonce, headers);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const all = { ...headers, 'content-type': 'application/json', ...error.headers };
      return new Response(error.toEnvelopeJson(requestId), { status: error.status, headers: all });
    }
  }

  async #dispatchRequest(
    request: Request,
    startedAt: number,
    nonce: Digest,
    headers: Record<string, string>,
  ): Promise<Response> {
    const url = new URL(request.url);
    const route = requireRoute(request.method, url.pathname);
    requireBrowserAccessHeader(request.headers);
    const account = digestToHex(computeDigest(requireCredential(request.headers)));
    const protocol = parseProtocolHeaders(request.headers);
    const faults = await this.#applyEarlyFaults(request);
    const call: SimulatedCall = { request, account, startedAt, faults, headers };
    const { models } = this.#options;
    if (route.name === 'models') return createJsonResponse(createModelsPage(models, url.searchParams, startedAt), call);
    if (route.name === 'model') return createJsonResponse(getModelResponse(models, route.id, startedAt), call);
    const { newAccounts = false, refusedSchemas = () => [] } = this.#options;
    const judgement = { models, protocol, now: startedAt, seed: this.#seed, account, newAccounts, refusedSchemas };
    if (route.name === 'batches') return await this.#handleBatches(route, url, judgement, nonce, call);
    if (route.name === 'files') return await this.#handleFiles(route, url, nonce, call);
    const body = await readJsonObjectBody(request);
    return route.name === 'count'
      ? this.#handleCountTokens(body, judgement, call)
      : this.#handleMessage(body, judgement, nonce, call);
  }

  async #handleBatches(
    { does, id }: Extract<SimulatorRoute, { name: 'batches' }>,
    url: URL,
    judgement: RequestValidationContext,
    nonce: Digest,
    call: SimulatedCall,
  ): Promise<Response> {
    const [before = ''] = url.pathname.split('/v1/', 1);
    const about = { owner: getStorageOwner(call, url), base: url.origin + before, judgement };
    const durationMs = call.faults['batch-ms'] ?? this.#options.batchMs ?? 0;
    const making = { durationMs, nonce, obeysMarks: this.#options.faults === true };
    if (does === 'results') {
      const results = await this.#batches.streamBatchResults(id, about);
      return createStreamResponse(results, { 'content-type': 'application/x-jsonl' }, call);
    }
    const answers = {
      create: () => this.#batches.createBatch(call.request, about, making),
      list: () => this.#batches.listBatches(url.searchParams, about),
      retrieve: () => this.#batches.retrieveBatch(id, about),
      cancel: () => this.#batches.cancelBatch(id, about),
      delete: () => this.#batches.deleteBatch(id, about),
    };
    return createJsonResponse(await answers[does](), call);
  }

  async #handleFiles(
    { does, id }: Extract<SimulatorRoute, { name: 'files' }>,
    url: URL,
    nonce: Digest,
    call: SimulatedCall,
  ): Promise<Response> {
    const about = { owner: getStorageOwner(call, url), now: call.startedAt };
    if (does === 'content') {
      const { content, headers } = await this.#files.downloadFile(id, about);
      return createStreamResponse(content, headers, call);
    }
    const answers = {
      upload: () =>
        this.#files.uploadFile(call.request, about, { nonce, downloadable: call.faults.downloadable === true }),
      list: () => this.#files.listFiles(url.searchParams, about),
      retrieve: () => this.#files.retrieveFile(id, about),
      delete: () => this.#files.deleteFile(id, about),
    };
    return createJsonResponse(await answers[does](), call);
  }

  /** Does the faults that come before any answer. @returns all faults of the request, for the answer itself */
  async #applyEarlyFaults(request: Request): Promise<RequestedFaults> {
    const value = this.#options.faults ? request.headers.get('sluice-simulate') : null;
    if (value === null) return {};
    const faults = this.#faultCounter.getRemainingFaults(parseFaultsHeader(value));
    if (faults['slow-start'] !== undefined) await sleepUnlessAborted(faults['slow-start'], request.signal);
    if (faults.network) throw new TypeError('fetch failed: the simulator lost the network');
    const error = createRequestedStatusError(faults);
    if (error !== undefined) throw error;
    return faults;
  }

  #handleCountTokens(body: JsonObject, judgement: RequestValidationContext, call: SimulatedCall): Response {
    const prompt = parseCountTokensRequest(body, judgement);
    const blocks = createPromptBlocks(prompt);
    placeAutomaticBreakpoint(blocks, prompt.automaticCaching);
    return createJsonResponse({ input_tokens: sumPromptTokens(blocks) }, call);
  }

  async #handleMessage(
    body: JsonObject,
    judgement: RequestValidationContext,
    nonce: Digest,
    call: SimulatedCall,
  ): Promise<Response> {
    const judged = validateMessageAndPlanCache(body, judgement, this.#cache, call.account);
    const { request, plan, input } = judged;
    const { answer: text, 'stop-reason': stopReason, compaction: fault, thinking } = call.faults;
    const compacts = request.compaction !== undefined || findLeadingSummary(request.messages) !== undefined;
    if (fault === 'unavailable' && compacts) throw createCompactionUnavailableError(call.faults);
    const compaction = fault === 'unavailable' ? undefined : fault;
    const composing = { seed: this.#seed, nonce, text, stopReason, compaction, thinking };
    const { message: composed, identity } = composeMessage(body, judged, composing);
    const named = { owner: call.account, id: composed.id };
    const diagnostics = this.#diagnoses.diagnose(request, plan.usage, body.diagnostics, named);
    const message = { ...composed, diagnostics };
    const { answer } = message;
    const used = { input: input - plan.usage.read, output: answer.outputTokens, isFast: request.speed === 'fast' };
    const limits = this.#rates.countRequest(call.account, used, call.startedAt);
    const pace = {
      ttftMs: call.faults.ttft ?? this.#options.ttftMs ?? 0,
      tokensPerSecond: call.faults.tps ?? this.#options.tokensPerSecond ?? 0,
    };
    const answered = { ...call, headers: { ...call.headers, ...limits } };

    if (request.stream) {
      const random = createRandom(identity);
      const stream = createBodyStream(generateEventParts(message), pace, {
        ...createBodyOptions(call, random),
        onFirstByte: plan.commitToCache,
      });
      const headers = {
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-cache',
        ...answered.headers,
      };
      return new Response(stream, { headers });
    }
    const written = [...createMessageEvents(message)].reduce((sum, { tokens }) => sum + tokens, 0);
    const writing = pace.tokensPerSecond > 0 ? (written / pace.tokensPerSecond) * 1000 : 0;
    if (pace.ttftMs + writing >= 1) await sleepUnlessAborted(pace.ttftMs + writing, call.request.signal);
    plan.commitToCache();
    return createJsonResponse(createMessageBody(message), answered);
  }
}

function* generateEventParts(message: AnswerMessageSource): Generator<PacedBodyPart> {
  let hasContent = false;
  for (const { name, data, tokens } of createMessageEvents(message)) {
    const isFirstContent: boolean = !hasContent && name === 'content_block_start';
    hasContent ||= isFirstContent;
    yield { text: `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`, tokens, isFirstContent };
  }
}

/** @returns how the body of an answer breaks, and who reads it. */
function createBodyOptions({ faults, request }: SimulatedCall, random: RandomSource) {
  return { faults, random, signal: request.signal };
}

function createJsonResponse(value: Record<string, unknown>, call: SimulatedCall): Response {
  const text = JSON.stringify(value);
  const all = { ...call.headers, 'content-type': 'application/json' };
  const part = { text, tokens: 0, isFirstContent: false };
  const unpaced = { ttftMs: 0, tokensPerSecond: 0 };
  const isPlain = Object.keys(call.faults).length === 0;
  const body = isPlain
    ? text
    : createBodyStream([part], unpaced, createBodyOptions(call, createRandom(computeDigest(text))));
  return new Response(body, { headers: all });
}

/** @returns the owner of the batches and files that a call is about. Each address has its own, like each service. */
function getStorageOwner({ account }: SimulatedCall, { host }: URL): string {
  return digestToHex(computeDigest(host, computeDigest(account)));
}

function createStreamResponse(
  source: AsyncGenerator<Uint8Array>,
  ownHeaders: Record<string, string>,
  call: SimulatedCall,
): Response {
  const body = createFaultyChunkStream(source, createBodyOptions(call, createRandom(computeDigest(call.request.url))));
  return new Response(body, { headers: { ...call.headers, ...ownHeaders } });
}

/**
 * Makes a simulator of the Claude API in this process: messages (JSON and server-sent events), token counts, models, batches
 * and files, with the API's validation, prompt-cache accounting and headers. It answers with sentences about itself, calls
 * the tools that it is offered, and gives equal answers to equal requests. Its state (prompt cache, rates) is in memory; batches
 * and files are in its store.
 */
export function createSimulator(options: SimulatorOptions): Simulator {
  const api = new SimulatedApi(options);
  return (request) => api.handleRequest(request);
}
