/** Requests whose upstreams hang, break and fail, under any schedule: each try has a hold of its own, and no limit is passed. */
import fc from 'fast-check';
import { UpstreamExchange } from '#edge/claude/exchange.ts';
import type { RequestOutcome } from '#edge/claude/outcome.ts';
import { createConfiguredUpstreams } from '#edge/claude/providers/entry.ts';
import type { Upstream } from '#edge/claude/upstream.ts';
import { getPoolState } from '#edge/claude/upstreams/pool.ts';
import { parseSettingsOnce, type Settings } from '#edge/config/settings.ts';
import type { JsonBody } from '#edge/kit/http/body/json-body.ts';
import { ApiError } from '#edge/kit/http/errors.ts';
import { BilledRequest } from '#edge/money/admission/billed-request.ts';
import type { RequestToBill } from '#edge/money/admission/request-to-bill.ts';
import { env, findHost, runInWorld } from './bindings.ts';
import { callingHost, type Host, InvariantViolation } from './host.ts';
import { mishaps } from './mishaps.ts';
import { findFailure } from './property.ts';
import { ByteStream, createByteStreamResponse } from './streams.ts';
import { type Mishaps, NO_MISHAPS, type Scheduler, World } from './world.ts';

/** What an upstream does. All but the first and the last may have run, and are billed. */
const UPSTREAM_ACTIONS = ['answers', 'hangs', 'resets', 'fails', 'breaks', 'is overloaded'] as const;
type UpstreamAction = (typeof UPSTREAM_ACTIONS)[number];

interface RequestLimits {
  maxTokens: number;
  /** What the request itself may cost, as a part of what one try can. */
  mostShare: number | undefined;
}

interface Scenario extends Mishaps {
  asked: readonly RequestLimits[];
  /** What the first upstream does, call by call; then it answers. */
  first: readonly UpstreamAction[];
  /** The same of the second one. Default: it answers whatever comes. */
  second: readonly UpstreamAction[];
  /** In USD, a day. Default: no limit. */
  limit: number | undefined;
  /** Whether nothing else goes wrong. */
  isCalm: boolean;
}

const MODEL = 'claude-opus-5-5';
const ACCOUNT = 'alice';
const STEPS = 600;
const REST_MS = 60 * 60_000;
/** Before the day is over, and its rows are too old. */
const MAX_DURATION_MS = 8 * REST_MS;
const FIRST_BYTE_MS = 3_000;
/** Milliseconds that a try takes until it has failed. */
const FAILURE_MS = 200;
const MAX_BILLED_TRIES = 3;
const USAGE = { input_tokens: 20, output_tokens: 5 };
/** What the API bills for the prompt and what it has begun to write, at its own prices; nanodollars. */
const BILLED_NANODOLLARS = 20 * 4_000 + 5 * 20_000;

/** A limit that is enough for all that is asked. */
const AMPLE_LIMIT = 100;
/** A request that has taken no longer has met no other end than those of its upstreams. */
const SHORT_REQUEST_MS = 6_000;

const deeds = fc.array(fc.constantFrom(...UPSTREAM_ACTIONS), { maxLength: 6 });
const scenarios: fc.Arbitrary<Scenario> = fc.record({
  asked: fc.array(
    fc.record({
      maxTokens: fc.constantFrom(300, 4_096, 128_000),
      mostShare: fc.constantFrom(undefined, undefined, 1.05, 1.5),
    }),
    { minLength: 1, maxLength: 3 },
  ),
  first: deeds,
  second: fc.oneof(fc.constant([]), deeds),
  limit: fc.constantFrom(undefined, AMPLE_LIMIT, 0.2, 0.03),
  isCalm: fc.boolean(),
  ...mishaps,
});

/** Looks for a schedule under which something does not hold. */
export const findFailingSchedule = (runs: number) => findFailure(scenarios, runScenario, runs);

/** Runs a scenario in the order that a scheduler chooses, and looks at the invariants after every step. */
async function runScenario(scheduler: Scheduler, scenario: Scenario): Promise<void> {
  const world = new World(scheduler, scenario.isCalm ? NO_MISHAPS : scenario);
  await runInWorld(world, {}, async () => {
    const requests = new UpstreamRequests(world, findHost('ACCOUNT', ACCOUNT), scenario);
    const checkInvariants = () => requests.check();
    world.stopTimeAfter(MAX_DURATION_MS);
    requests.issue();
    await world.runSteps(STEPS, checkInvariants);
    await world.runToRest(REST_MS, checkInvariants);
    requests.checkAtRest();
  });
}

/** One of the requests, with the rows of the ledger that have paid for what may have run. */
interface RequestProgress {
  maxCost: number | undefined;
  paidRowIds: Set<string>;
}

interface Row {
  id: string;
  status: string;
  hold: number;
  cost: number;
}

let worldCount = 0;

class UpstreamRequests {
  readonly #world: World;
  readonly #account: Host;
  readonly #scenario: Scenario;
  readonly #settings: Settings;
  readonly #upstream: Upstream;
  readonly #progressById = new Map<string, RequestProgress>();
  #billedTries = 0;

  constructor(world: World, account: Host, scenario: Scenario) {
    this.#world = world;
    this.#account = account;
    this.#scenario = scenario;
    worldCount += 1;
    const { limit } = scenario;
    // What an isolate knows of its upstreams goes by their addresses.
    const upstreams = ['first', 'second'].map((name) => ({
      name,
      kind: 'anthropic',
      base_url: `https://${name}.n${worldCount}.test`,
      first_byte_ms: FIRST_BYTE_MS,
    }));
    this.#settings = parseSettingsOnce({
      ...env,
      UPSTREAMS: JSON.stringify(upstreams),
      UPSTREAM_FIRST_KEY: 'key-of-the-first',
      UPSTREAM_SECOND_KEY: 'key-of-the-second',
      UPSTREAM_MAX_RETRIES: '2',
      DEFAULT_LIMITS: JSON.stringify(limit === undefined ? {} : { usd_per_day: limit }),
    });
    this.#upstream = this.#createUpstreams({ first: [...scenario.first], second: [...scenario.second] });
  }

  /** Issues the requests one after the other, without waiting for what comes of them. */
  issue(): void {
    void (async () => {
      for (const [nth, asked] of this.#scenario.asked.entries()) {
        await this.#world.waitForTurn(`client asks for ${nth + 1}`);
        const id = `req_${String(nth + 1).padStart(26, '0')}`;
        const host = this.#world.getHost('request', id, () => ({ run: () => this.#admitAndSend(id, asked) }));
        host.invoke('run', []).catch(() => {});
      }
    })();
  }

  check(): void {
    const rows = this.#readRows();
    const { limit } = this.#scenario;
    if (limit !== undefined && sumRows(rows) > limit * 1e9)
      throw new InvariantViolation(`overspent: ${JSON.stringify(rows)}`);
    for (const [id, { maxCost: most }] of this.#progressById) {
      const own = rowsOfRequest(rows, id);
      if (most !== undefined && sumRows(own) > most)
        throw new InvariantViolation(`beyond ${most}: ${JSON.stringify(own)}`);
    }
  }

  /** Nothing is held, and what was billed is booked. */
  checkAtRest(): void {
    const rows = this.#readRows();
    if (rows.some(({ status }) => status === 'held'))
      throw new InvariantViolation(`held in the end: ${JSON.stringify(rows)}`);
    if (sumRows(rows) < this.#billedTries)
      throw new InvariantViolation(`${this.#billedTries} were billed: ${JSON.stringify(rows)}`);
  }

  async #admitAndSend(requestId: string, { maxTokens, mostShare }: RequestLimits): Promise<void> {
    const most = mostShare === undefined ? undefined : Math.floor(mostShare * (maxTokens * 22_000 + 2_000_000));
    this.#progressById.set(requestId, { maxCost: most, paidRowIds: new Set() });
    const startedAt = this.#world.clock.now;
    const status = await this.#sendRequest(requestId, maxTokens, most);
    const { limit, second, isCalm } = this.#scenario;
    const isPaid = (limit ?? AMPLE_LIMIT) >= AMPLE_LIMIT && most === undefined;
    const isSoon = this.#world.clock.now - startedAt <= SHORT_REQUEST_MS;
    if (isCalm && isPaid && isSoon && second.length === 0 && status !== 200)
      this.#world.fail(`${requestId} ended with ${status}, though the second upstream is well`);
  }

  async #sendRequest(requestId: string, maxTokens: number, maxCost: number | undefined): Promise<number> {
    const settings = this.#settings;
    const upstream = this.#upstream;
    const json = {
      model: MODEL,
      max_tokens: maxTokens,
      stream: true,
      messages: [{ role: 'user', content: requestId }],
    };
    const text = JSON.stringify(json);
    const body: JsonBody = { bytes: new TextEncoder().encode(text), text, json };
    const identity = { account: ACCOUNT, scopes: new Set() } as unknown as RequestToBill['identity'];
    const billed = new BilledRequest(
      {
        requestId,
        identity,
        accounts: env,
        store: env.STORE,
        settings,
        upstream,
        body,
        model: MODEL,
        route: 'messages',
        headers: {},
        streams: true,
        costLimit: maxCost,
        waitUntil: (work) => void work.catch(() => {}),
      },
      { modelInBody: MODEL },
    );
    const exchange = new UpstreamExchange({ upstream, settings });
    const tried = () => exchange.createOutcome(exchange.createUnusableReport('upstream_unreachable'), 'cut');
    let outcome: RequestOutcome | undefined;
    try {
      await billed.reserve();
      const call = {
        method: 'POST',
        path: '/v1/messages',
        headers: {},
        body: billed.createBody,
        routing: billed.routing,
      };
      const { ok, status } = await exchange.sendToUpstream(call, { payment: billed, createFailedOutcome: tried });
      const ended = { model: MODEL, usage: USAGE, stop_reason: 'end_turn', bytes: 1, error_type: undefined };
      const whole = exchange.createOutcome({ ...ended, completed: true }, 'complete');
      outcome = ok ? whole : exchange.createOutcome(exchange.createUnusableReport('api_error'), 'error');
      return status;
    } catch (thrown) {
      if (!(thrown instanceof ApiError)) throw thrown;
      outcome = tried();
      return thrown.status;
    } finally {
      exchange.closeExchange();
      if (outcome) await billed.attempts.at(-1)?.settle(outcome).done;
    }
  }

  /** @returns two upstreams, each of which does one of its deeds at each call, and answers when it has no more */
  #createUpstreams(pendingActions: Record<string, UpstreamAction[]>): Upstream {
    const fetch: Upstream['fetch'] = (url, { body, signal }) =>
      new Promise((resolve, reject) => {
        const rejectOnAbort = () => reject(signal?.reason);
        signal?.addEventListener('abort', rejectOnAbort, { once: true });
        const name = new URL(url).hostname.split('.')[0] ?? '';
        const text = typeof body === 'string' ? body : new TextDecoder().decode(body as Uint8Array);
        callingHost()?.sendAfterCommit(() => {
          // A count costs nothing.
          if (url.endsWith('count_tokens')) return resolve(Response.json({ input_tokens: USAGE.input_tokens }));
          const deed = (!this.#world.isFreeOfMishaps && pendingActions[name]?.shift()) || 'answers';
          if (deed !== 'is overloaded') this.#noteBilled(/req_\d+/.exec(text)?.[0] ?? '');
          if (deed === 'answers') resolve(createAnswer());
          else if (deed !== 'hangs') void this.#failTry(name, deed).then(resolve, reject);
        });
      });
    const settings = this.#settings;
    const pool = { all: createConfiguredUpstreams(settings), models: settings.models, fetchOf: () => fetch };
    const known = getPoolState(settings.UPSTREAMS);
    return { baseURL: '', apiKey: '', fetch, isSimulated: false, pool: { ...pool, ...known } };
  }

  async #failTry(name: string, deed: Exclude<UpstreamAction, 'answers' | 'hangs'>): Promise<Response> {
    await this.#world.hop(`${name} ${deed}`);
    // Sooner it cannot have run.
    this.#world.clock.now += FAILURE_MS;
    if (deed === 'resets') throw new Error('Network connection lost.');
    if (deed === 'fails') return new Response('<html>', { status: 502 });
    if (deed === 'breaks') {
      const body = new ByteStream();
      body.break(new Error('Network connection lost.'));
      return createByteStreamResponse(body, { 'content-type': 'text/event-stream' });
    }
    return Response.json({ type: 'error', error: { type: 'overloaded_error', message: 'No.' } }, { status: 529 });
  }

  /** Notes what is billed for a try, which has a hold of its own. */
  #noteBilled(id: string): void {
    this.#billedTries += BILLED_NANODOLLARS;
    const course = this.#progressById.get(id);
    const rows = this.#readRows();
    const payer = rowsOfRequest(rows, id).find((row) => row.hold > 0 && !course?.paidRowIds.has(row.id));
    if (!payer) this.#world.fail(`${id} has gone up without a hold: ${JSON.stringify(rows)}`);
    else course?.paidRowIds.add(payer.id);
    const { size = 0 } = course?.paidRowIds ?? {};
    if (size > MAX_BILLED_TRIES) this.#world.fail(`${id} may have run ${size} times`);
  }

  #readRows(): Row[] {
    const { storage } = this.#account;
    if (!storage.hasTable('ledger')) return [];
    return storage.exec('select id, status, hold, cost from ledger', []).toArray() as unknown as Row[];
  }
}

function createAnswer(): Response {
  const body = new ByteStream();
  const message = { id: 'msg_1', type: 'message', role: 'assistant', model: MODEL, content: [], usage: USAGE };
  body.write(
    new TextEncoder().encode(`event: message_start\ndata: ${JSON.stringify({ type: 'message_start', message })}\n\n`),
  );
  body.close();
  return createByteStreamResponse(body, { 'content-type': 'text/event-stream' });
}

function rowsOfRequest(rows: readonly Row[], id: string): Row[] {
  return rows.filter((row) => row.id === id || row.id.startsWith(`${id}.`));
}

function sumRows(rows: readonly Row[]): number {
  return rows.reduce((sum, { status, hold, cost }) => sum + (status === 'held' ? hold : cost), 0);
}
