import { composeMessage, judgeMessage } from './answer/compose-message.ts';
import { createMessageEvents, toMessageBody } from './answer/message-events.ts';
import type { AnsweredMessage } from './answer/message-usage.ts';
import { BatchesApi } from './batches/batches-api.ts';
import { type BodyPart, createBodyStream, createChunkStream } from './body-stream.ts';
import { createCompactionError, createStatusError, FaultCounter, type Faults, parseFaults } from './faults.ts';
import { FilesApi } from './files/files-api.ts';
import { pause } from './pause.ts';
import { listPromptBlocks, sumPromptTokens } from './prompt/prompt-blocks.ts';
import { PromptCache, placeBreakpoints } from './prompt/prompt-cache.ts';
import {
  computeDigest,
  createIdentifier,
  createRandom,
  type Digest,
  digestToHex,
  type Random,
} from './random/digest.ts';
import { RateLimits } from './rate-limits.ts';
import { readBetas } from './request/betas.ts';
import { findSummary } from './request/compaction-blocks.ts';
import { ApiError, invalidRequestError } from './request/errors.ts';
import type { JsonObject } from './request/json.ts';
import { readCountRequest } from './request/message-params.ts';
import type { Judgement, Protocol } from './request/message-request.ts';
import { describeModel, listModels, type SimulatedModel } from './request/models.ts';
import { readJsonObject } from './request/request-body.ts';
import { findRoute, type Route } from './routes.ts';
import { MemoryStore, type SimulatorStore } from './store/store.ts';

export type { SimulatedModel } from './request/models.ts';
export type { SimulatorStore } from './store/store.ts';

export interface SimulatorOptions {
  models: readonly SimulatedModel[];
  /** Finds what the API refuses in the schemas of a request's body, in its words. Default: it takes any schema. */
  refusedSchemas?: Judgement['refusedSchemas'] | undefined;
  /** Time to the first token, in milliseconds. Default 0. */
  ttftMs?: number | undefined;
  /** The pace of answers, in tokens per second. Default 0: as fast as possible. */
  tokensPerSecond?: number | undefined;
  /** How long all items of a batch take, in milliseconds. Default 0: it has ended at the next request for it. */
  batchMs?: number | undefined;
  /** Where batches and files are kept. Default: in memory, with the simulator. */
  store?: SimulatorStore | undefined;
  /** Whether the request header `sluice-simulate` makes faults (its grammar: `Faults` in faults.ts). Default false: it is ignored. */
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

function credentialOf(headers: Headers): string {
  const key = headers.get('x-api-key')?.trim();
  if (key) return key;
  const [, token] = /^bearer\s+(\S.*)$/i.exec(headers.get('authorization')?.trim() ?? '') ?? [];
  if (token !== undefined) return token;
  throw new ApiError(401, 'x-api-key header is required');
}

function checkBrowser(headers: Headers): void {
  if (headers.get('origin') === null) return;
  if (headers.get('anthropic-dangerous-direct-browser-access') === 'true') return;
  throw new ApiError(401, "CORS requests must set 'anthropic-dangerous-direct-browser-access' header");
}

function readProtocol(headers: Headers): Protocol {
  const version = headers.get('anthropic-version');
  if (version === null || version === '') throw invalidRequestError('anthropic-version: header is required');
  if (version !== '2023-06-01' && version !== '2026-10-21') {
    throw invalidRequestError(`anthropic-version: "${version.slice(0, 100)}" is not a valid version`);
  }
  const betas = readBetas(headers.get('anthropic-beta'));
  return { version, betas, profile: headers.get('anthropic-user-profile-id') ?? undefined };
}

interface Call {
  request: Request;
  account: string;
  startedAt: number;
  faults: Faults;
  headers: Record<string, string>;
}

class SimulatedApi {
  readonly #options: SimulatorOptions;
  readonly #seed: Digest;
  readonly #cache = new PromptCache();
  readonly #rates = new RateLimits();
  readonly #faultCounter = new FaultCounter();
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

  #now(): number {
    return (this.#options.now ?? Date.now)();
  }

  async answer(request: Request): Promise<Response> {
    const startedAt = this.#now();
    // The time is part of it, so that another simulator, or one that was started again, gives other ids.
    const nonce = computeDigest(`${startedAt}:${this.#callCount++}`, this.#seed);
    const requestId = createIdentifier('req_', nonce);
    const headers = {
      'sluice-upstream': 'simulator',
      'request-id': requestId,
      'anthropic-organization-id': digestToHex(this.#seed).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-'),
    };
    try {
      request.signal.throwIfAborted();
      return await this.#dispatch(request, startedAt, nonce, headers);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      const all = { ...headers, 'content-type': 'application/json', ...error.headers };
      return new Response(error.toEnvelope(requestId), { status: error.status, headers: all });
    }
  }

  async #dispatch(
    request: Request,
    startedAt: number,
    nonce: Digest,
    headers: Record<string, string>,
  ): Promise<Response> {
    const url = new URL(request.url);
    const route = findRoute(request.method, url.pathname);
    checkBrowser(request.headers);
    const account = digestToHex(computeDigest(credentialOf(request.headers)));
    const protocol = readProtocol(request.headers);
    const faults = await this.#applyEarlyFaults(request);
    const call: Call = { request, account, startedAt, faults, headers };
    const { models } = this.#options;
    if (route.name === 'models') return toJsonResponse(listModels(models, url.searchParams, startedAt), call);
    if (route.name === 'model') return toJsonResponse(describeModel(models, route.id, startedAt), call);
    const { newAccounts = false, refusedSchemas = () => [] } = this.#options;
    const judgement = { models, protocol, now: startedAt, seed: this.#seed, account, newAccounts, refusedSchemas };
    if (route.name === 'batches') return await this.#answerBatches(route, url, judgement, nonce, call);
    if (route.name === 'files') return await this.#answerFiles(route, url, nonce, call);
    const body = await readJsonObject(request);
    return route.name === 'count'
      ? this.#answerCount(body, judgement, call)
      : this.#answerMessage(body, judgement, nonce, call);
  }

  async #answerBatches(
    { does, id }: Extract<Route, { name: 'batches' }>,
    url: URL,
    judgement: Judgement,
    nonce: Digest,
    call: Call,
  ): Promise<Response> {
    const [before = ''] = url.pathname.split('/v1/', 1);
    const about = { owner: ownerOf(call, url), base: url.origin + before, judgement };
    const durationMs = call.faults['batch-ms'] ?? this.#options.batchMs ?? 0;
    const making = { durationMs, nonce, obeysMarks: this.#options.faults === true };
    if (does === 'results') {
      const results = await this.#batches.results(id, about);
      return streamResponse(results, { 'content-type': 'application/x-jsonl' }, call);
    }
    const answers = {
      create: () => this.#batches.create(call.request, about, making),
      list: () => this.#batches.list(url.searchParams, about),
      retrieve: () => this.#batches.retrieve(id, about),
      cancel: () => this.#batches.cancel(id, about),
      delete: () => this.#batches.delete(id, about),
    };
    return toJsonResponse(await answers[does](), call);
  }

  async #answerFiles(
    { does, id }: Extract<Route, { name: 'files' }>,
    url: URL,
    nonce: Digest,
    call: Call,
  ): Promise<Response> {
    const about = { owner: ownerOf(call, url), now: call.startedAt };
    if (does === 'content') {
      const { content, headers } = await this.#files.content(id, about);
      return streamResponse(content, headers, call);
    }
    const answers = {
      upload: () => this.#files.upload(call.request, about, { nonce, downloadable: call.faults.downloadable === true }),
      list: () => this.#files.list(url.searchParams, about),
      retrieve: () => this.#files.retrieve(id, about),
      delete: () => this.#files.delete(id, about),
    };
    return toJsonResponse(await answers[does](), call);
  }

  /** Does the faults that come before any answer. @returns all faults of the request, for the answer itself */
  async #applyEarlyFaults(request: Request): Promise<Faults> {
    const value = this.#options.faults ? request.headers.get('sluice-simulate') : null;
    if (value === null) return {};
    const faults = this.#faultCounter.next(parseFaults(value));
    if (faults['slow-start'] !== undefined) await pause(faults['slow-start'], request.signal);
    if (faults.network) throw new TypeError('fetch failed: the simulator lost the network');
    const error = createStatusError(faults);
    if (error !== undefined) throw error;
    return faults;
  }

  #answerCount(body: JsonObject, judgement: Judgement, call: Call): Response {
    const prompt = readCountRequest(body, judgement);
    const blocks = listPromptBlocks(prompt);
    placeBreakpoints(blocks, prompt.automaticCaching);
    return toJsonResponse({ input_tokens: sumPromptTokens(blocks) }, call);
  }

  async #answerMessage(body: JsonObject, judgement: Judgement, nonce: Digest, call: Call): Promise<Response> {
    const judged = judgeMessage(body, judgement, this.#cache, call.account);
    const { request, plan, input } = judged;
    const { answer: text, 'stop-reason': stopReason, compaction: fault, thinking } = call.faults;
    const compacts = request.compaction !== undefined || findSummary(request.messages) !== undefined;
    if (fault === 'unavailable' && compacts) throw createCompactionError(call.faults);
    const compaction = fault === 'unavailable' ? undefined : fault;
    const composing = { seed: this.#seed, nonce, text, stopReason, compaction, thinking };
    const { message, identity } = composeMessage(body, judged, composing);
    const { answer } = message;
    const used = { input: input - plan.usage.read, output: answer.outputTokens, isFast: request.speed === 'fast' };
    const limits = this.#rates.count(call.account, used, call.startedAt);
    const pace = {
      ttftMs: call.faults.ttft ?? this.#options.ttftMs ?? 0,
      tokensPerSecond: call.faults.tps ?? this.#options.tokensPerSecond ?? 0,
    };
    const answered = { ...call, headers: { ...call.headers, ...limits } };

    if (request.stream) {
      const random = createRandom(identity);
      const stream = createBodyStream(toEventParts(message), pace, {
        ...bodyOptionsOf(call, random),
        onFirstByte: plan.commit,
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
    if (pace.ttftMs + writing >= 1) await pause(pace.ttftMs + writing, call.request.signal);
    plan.commit();
    return toJsonResponse(toMessageBody(message), answered);
  }
}

function* toEventParts(message: AnsweredMessage): Generator<BodyPart> {
  let hasContent = false;
  for (const { name, data, tokens } of createMessageEvents(message)) {
    const isFirstContent: boolean = !hasContent && name === 'content_block_start';
    hasContent ||= isFirstContent;
    yield { text: `event: ${name}\ndata: ${JSON.stringify(data)}\n\n`, tokens, isFirstContent };
  }
}

/** @returns how the body of an answer breaks, and who reads it. */
function bodyOptionsOf({ faults, request }: Call, random: Random) {
  return { faults, random, signal: request.signal };
}

function toJsonResponse(value: Record<string, unknown>, call: Call): Response {
  const text = JSON.stringify(value);
  const all = { ...call.headers, 'content-type': 'application/json' };
  const part = { text, tokens: 0, isFirstContent: false };
  const unpaced = { ttftMs: 0, tokensPerSecond: 0 };
  const isPlain = Object.keys(call.faults).length === 0;
  const body = isPlain
    ? text
    : createBodyStream([part], unpaced, bodyOptionsOf(call, createRandom(computeDigest(text))));
  return new Response(body, { headers: all });
}

/** @returns the owner of the batches and files that a call is about. Each address has its own, like each service. */
function ownerOf({ account }: Call, { host }: URL): string {
  return digestToHex(computeDigest(host, computeDigest(account)));
}

function streamResponse(source: AsyncGenerator<Uint8Array>, ownHeaders: Record<string, string>, call: Call): Response {
  const body = createChunkStream(source, bodyOptionsOf(call, createRandom(computeDigest(call.request.url))));
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
  return (request) => api.answer(request);
}
