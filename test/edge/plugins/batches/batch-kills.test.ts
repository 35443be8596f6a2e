/** Batches under kills: of the edge, of the batch's object, of the account's, at each step from the journal to the delivery. */
import { abortAllDurableObjects, runDurableObjectAlarm, runInDurableObject } from 'cloudflare:test';
import { env } from 'cloudflare:workers';
import { expect, test, vi } from 'vitest';
import { computeCost, toUsd } from '#edge/claude/pricing/cost.ts';
import type { Upstream } from '#edge/claude/upstream.ts';
import { parseSettings } from '#edge/config/settings.ts';
import { getAccountStub, getBatchStub, getInboxStub } from '#edge/durable/stubs.ts';
import { bodyMemory } from '#edge/kit/http/body-memory.ts';
import type { Bindings } from '#edge/kit/plugins/bindings.ts';
import { Account } from '#edge/money/account/account.ts';
import type { MessageBatch } from '#edge/money/lists/batches-answers.schema.ts';
import { Batch } from '#edge/plugins/batches/batch.ts';
import { BatchJournalStore } from '#edge/plugins/batches/batch-record.ts';
import { createTestApp, type TestApp } from '#test/support/app.ts';
import { createFakeBatchApi } from '#test/support/batch-api.ts';
import { eventually } from '#test/support/eventually.ts';
import { forgetDeadWorker } from '#test/support/pending-work.ts';
import { bearerHeader, createToken, DEPLOYED_VARS } from '#test/support/tokens.ts';
import { yieldToEventLoop } from '#test/support/yield-to-event-loop.ts';

const bindings = env as unknown as Bindings;
const PATH = '/v1/messages/batches';
const ORDERS = 50;
const ITEMS = 10_000;
const PARAMS = { model: 'claude-sonnet-5-5', max_tokens: 100, messages: [{ role: 'user', content: 'Say something' }] };
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;

/** Where something dies while a batch is made. */
const MAKING = [
  'journal: the object dies',
  'journal: the edge dies',
  'hold: the account dies',
  'hold: the edge dies',
  'last byte: the object dies',
  'last byte: the edge dies',
  'lost answer: the connection breaks',
  'lost answer: the edge dies',
  'lost answer: the object dies',
] as const;
/** Where something dies once it is made. */
const SETTLING = [
  'poll: the object dies',
  'mid-settlement: the object dies in the middle of the results',
  'mid-settlement: the account dies with its reply',
  'mid-settlement: the object dies once the account has settled',
  'delivery: the object dies once it is told',
] as const;
/** Those after which the upstream has a batch, and has told nobody. */
const UNANSWERED: ReadonlySet<string | undefined> = new Set([
  'lost answer: the connection breaks',
  'lost answer: the edge dies',
]);
type Point = (typeof MAKING)[number] | (typeof SETTLING)[number];

/** One caller's batch: each has an account of its own, so that a kill finds it. */
interface Order {
  account: string;
  ids: string[];
  making: Point | undefined;
  settling: Point;
  /** The id that the edge has answered. */
  batch?: string;
}

/** Some have as many items as others: whether these were made cannot be told apart. */
function ordersOf(): Order[] {
  const each = ITEMS / ORDERS;
  return Array.from({ length: ORDERS }, (_, nth) => {
    // Two that are never made are as large as no other.
    const own = nth === 25 ? 30 : nth === 35 ? -30 : 0;
    const more = Math.floor(nth / 10) * (nth % 2 === 0 ? 1 : -1) + own;
    const kind = (at: number) => (at % 97 === 0 ? 'err' : at % 89 === 0 ? 'exp' : 'item');
    return {
      account: `a${nth}`,
      ids: Array.from({ length: each + more }, (_, at) => `${kind(at)}-${at}-of-${nth}`),
      making: MAKING[nth % (MAKING.length + 1)],
      settling: SETTLING[nth % SETTLING.length] as Point,
    };
  });
}

const never = () => new Promise<never>(() => {});

async function stored(object: Batch | Account): Promise<void> {
  await (object as unknown as { ctx: DurableObjectState }).ctx.storage.sync();
}

class Killer {
  /** How often something has died, by point. */
  readonly counts = new Map<Point, number>();
  readonly #orders: readonly Order[];
  readonly #pending = new Map<string, Set<Point>>();
  /** Which account a batch of the edge is of, and the object that runs. */
  readonly accounts = new Map<string, string>();
  readonly objects = new Map<string, Batch>();
  /** When the last byte of each was let go. */
  readonly closedAt = new Map<string, number>();
  /** The batches that have nothing left to do. */
  readonly atRest = new Set<string>();
  /** Whose batch the edge is sending. */
  sending = '';
  /** Who is to die now. */
  #dying: 'edge' | 'objects' | undefined;

  constructor(orders: readonly Order[]) {
    this.#orders = orders;
    for (const { account, making, settling } of orders) {
      this.#pending.set(account, new Set(making === undefined ? [settling] : [making, settling]));
    }
  }

  get orders(): readonly Order[] {
    return this.#orders;
  }

  /** @returns whether it is time to die here, for this account's batch: once. */
  at(point: Point, account: string | undefined): boolean {
    if (account === undefined || !this.#pending.get(account)?.delete(point)) return false;
    this.counts.set(point, (this.counts.get(point) ?? 0) + 1);
    return true;
  }

  /**
   * Waits for something, and kills meanwhile who is to die. No object can kill itself: the runtime would crash.
   *
   * @returns `died` where the edge died, or the work with its object
   */
  async during<T>(work: Promise<T>): Promise<T | 'died'> {
    let result: { value: T | 'died' } | undefined;
    work.then(
      (value) => {
        result = { value };
      },
      () => {
        result = { value: 'died' };
      },
    );
    while (result === undefined) {
      // No promise of an object that dies wakes anybody.
      await yieldToEventLoop();
      const dying = this.#dying;
      this.#dying = undefined;
      if (dying === 'objects') await abortAllDurableObjects();
      if (dying === 'edge') {
        // What its isolate had in memory is gone.
        bodyMemory.takenBytes = 0;
        bodyMemory.bytesByCaller.clear();
        forgetDeadWorker();
        return 'died';
      }
    }
    return result.value;
  }

  /** The edge dies: whoever has called it is never answered, and nothing that it would do is done. */
  async edge(): Promise<never> {
    this.#dying = 'edge';
    return await never();
  }

  /** This object dies, and all others with it: what is stored lasts, whoever waits for them gets an error. */
  async die(object: Batch | Account): Promise<never> {
    await stored(object);
    this.#dying = 'objects';
    return await never();
  }
}

type Method = (...args: never[]) => unknown;

/** Puts something around a method of a kind of object, until the test ends. */
function around<Of extends object>(
  prototype: Of,
  name: keyof Of & string,
  wrap: (object: Of, run: () => unknown, args: readonly unknown[]) => unknown,
): void {
  const methods = prototype as unknown as Record<string, Method>;
  const original = methods[name] as (this: Of, ...args: unknown[]) => unknown;
  vi.spyOn(methods, name).mockImplementation(function (this: unknown, ...args: unknown[]) {
    return wrap(this as Of, () => original.apply(this as Of, args), args);
  } as Method);
}

/** Has each method die where the killer says so. */
function arm(killer: Killer): void {
  const isTime = (point: Point, batch: string) => killer.at(point, killer.accounts.get(batch));
  around(Batch.prototype, 'storeOpening', async (object, run, [opening]) => {
    const { id, account } = opening as { id: string; account: string };
    killer.accounts.set(id, account);
    run();
    if (isTime('journal: the object dies', id)) return await killer.die(object);
  });
  around(Account.prototype, 'admitBatchJson', async (object, run, [order]) => {
    const { batch } = JSON.parse(String(order)) as { batch: string };
    const decision = await run();
    if (isTime('hold: the account dies', batch)) return await killer.die(object);
    return decision;
  });
  around(Batch.prototype, 'recordLastByteSent', async (object, run) => {
    const batch = idOf(object);
    const may = await run();
    killer.closedAt.set(batch, (object as unknown as { now(): number }).now());
    if (isTime('last byte: the object dies', batch)) return await killer.die(object);
    return may;
  });
  around(Batch.prototype, 'acceptCreateResponse', async (object, run) => {
    if (isTime('lost answer: the object dies', idOf(object))) return await killer.die(object);
    return await run();
  });
  around(Account.prototype, 'settleBatchJson', async (object, run, [settlement]) => {
    const { batch, rows } = JSON.parse(String(settlement)) as { batch: string; rows: { status: string }[] };
    run();
    const isComplete = rows.every(({ status }) => status === 'complete');
    if (isComplete && isTime('mid-settlement: the account dies with its reply', batch)) return await killer.die(object);
  });
  around(BatchJournalStore.prototype, 'callOwnerAccount', async (record, run) => {
    const before = record.currentJournal;
    const result = await run();
    const object = killer.objects.get(before?.id ?? '');
    const point = 'mid-settlement: the object dies once the account has settled';
    if (object && before?.phase === 'running' && !before.owes.includes('report') && isTime(point, before.id))
      return await killer.die(object);
    return result;
  });
}

/** What the edge calls its objects by: it dies behind the answer to a call, where the killer says so. */
function bindingsOf(killer: Killer): Pick<Bindings, 'ACCOUNT' | 'BATCH'> {
  const points: Record<string, Point> = {
    storeOpening: 'journal: the edge dies',
    admitBatchJson: 'hold: the edge dies',
    recordLastByteSent: 'last byte: the edge dies',
  };
  const call = async (object: Record<string, Method>, name: string, args: never[]) => {
    const result = await object[name]?.(...args);
    const point = points[name];
    if (point !== undefined && killer.at(point, killer.sending)) return await killer.edge();
    return result;
  };
  const stubOf = (stub: unknown) =>
    new Proxy(stub as Record<string, Method>, {
      get: (object, name) =>
        // A stub that is returned by an async function is asked whether it is a promise.
        typeof name === 'string' && name !== 'then' ? (...args: never[]) => call(object, name, args) : undefined,
    });
  const wrap = <Namespace extends object>(namespace: Namespace): Namespace =>
    new Proxy(namespace, {
      get: (object, name) => {
        const method = (object as Record<string | symbol, Method>)[name];
        if (name === 'get') return (...args: never[]) => stubOf(method?.apply(object, args));
        return typeof method === 'function' ? method.bind(object) : method;
      },
    });
  return { ACCOUNT: wrap(bindings.ACCOUNT), BATCH: wrap(bindings.BATCH) };
}

function idOf(object: Batch): string {
  const state = object.readBatchState();
  return state.kind === 'known' ? state.batch.id : '';
}

test(`${ITEMS} batch items under kills are billed once at half price, each batch delivered under one event id`, async () => {
  const orders = ordersOf();
  const killer = new Killer(orders);
  const byItem = new Map(orders.flatMap((order) => order.ids.map((id) => [id, order])));
  const told = new Map<string, { id: string | null; text: string }[]>();
  let late = 0;
  const api = createFakeBatchApi({ now: () => Date.now() + late });

  const upstreamBatch = (path: string) => api.batches.get(/batches\/([^/?]+)/.exec(path)?.[1] ?? '');
  const accountAt = (path: string) => byItem.get(upstreamBatch(path)?.items[0]?.id ?? '')?.account;

  const app: TestApp = createTestApp(
    async ({ method, url, text }) => {
      const response = api.handle(method, url.pathname + url.search, text);
      if (method !== 'POST') return response;
      const account = byItem.get(/"custom_id":"([^"]+)"/.exec(text)?.[1] ?? '')?.account;
      if (killer.at('lost answer: the connection breaks', account)) throw new Error('connection reset');
      if (killer.at('lost answer: the edge dies', account)) return await killer.edge();
      return response;
    },
    // Who is dead gives up waiting no more: it would give back memory that its isolate has lost.
    { ...DEPLOYED_VARS, ...bindingsOf(killer), UPSTREAM_TIMEOUT_MS: '86400000' },
  );
  const settings = parseSettings({
    ...DEPLOYED_VARS,
    ANTHROPIC_API_KEY: 'key',
    UPSTREAM_MAX_RETRIES: '0',
    BATCH_DELIVER_URL: 'https://hooks.example.com/ended',
    DELIVERY_SIGNING_SECRET: `whsec_${btoa('the-secret-of-the-deliveries-of-tests')}`,
  });
  arm(killer);
  const inside = Batch.prototype as unknown as { now(): number; settings(): unknown; upstream(): Upstream };
  around(inside, 'now', () => Date.now() + late);
  around(inside, 'settings', () => settings);
  around(inside, 'upstream', (of) => {
    const object = of as unknown as Batch;
    killer.objects.set(idOf(object), object);
    const fetch: Upstream['fetch'] = async (url, { method = '' }) => {
      const path = url.slice('https://api.anthropic.com'.length);
      const response = api.handle(method, path, '');
      if (path.endsWith('/results')) {
        if (!killer.at('mid-settlement: the object dies in the middle of the results', accountAt(path)))
          return response;
        const [first = ''] = (await response.text()).split(/(?<=\n.*\n)/);
        return new Response(cutBy(first, () => killer.die(object)));
      }
      if (method === 'GET' && killer.at('poll: the object dies', accountAt(path))) return await killer.die(object);
      return response;
    };
    return { baseURL: 'https://api.anthropic.com', apiKey: 'key', simulated: false, fetch };
  });
  vi.spyOn(globalThis, 'fetch').mockImplementation(async (_, init) => {
    const text = await new Response(init?.body ?? '').text();
    const { batch } = JSON.parse(text) as { batch: MessageBatch };
    const all = told.get(batch.id) ?? [];
    told.set(batch.id, [...all, { id: new Headers(init?.headers).get('webhook-id'), text }]);
    const object = killer.objects.get(batch.id);
    const account = killer.accounts.get(batch.id);
    if (object && killer.at('delivery: the object dies once it is told', account)) return await killer.die(object);
    return new Response(null, { status: 204 });
  });

  // Each caller sends its batch until it is answered, as an SDK does.
  for (const order of orders) {
    order.batch = await send(app, killer, order, () => {
      late += 6 * 60_000;
    });
  }
  expect(orders.every(({ batch }) => batch !== undefined)).toBe(true);

  // What got no answer is told as unknown, while the upstream still works; then all of it ends.
  late += 11 * MINUTE_MS;
  await wakeAll(killer);
  const isMade = ({ making }: Order) => making !== 'last byte: the edge dies';
  const isKnown = (order: Order) => isMade(order) && !UNANSWERED.has(order.making);
  const unknown = orders.filter((order) => !isKnown(order));
  let open = 0;
  for (const order of unknown) {
    const shown = await readAs(app, order);
    // By those that were lost first the list was read in this wake.
    if (shown.processing_status === 'ended') continue;
    open += 1;
    expect(shown.unknown).toContain(order.batch);
    expect((await standingOf(order.account)).day.held_usd).toBeGreaterThan(0);
  }
  expect(open).toBeGreaterThan(UNANSWERED.size);
  api.end();
  // What the list cannot have is held for a day, and then given back.
  const mayBeMade = ({ batch = '', ids }: Order) => {
    const at = killer.closedAt.get(batch) ?? 0;
    return [...api.batches.values()].some(
      ({ items, createdAt }) =>
        items.length === ids.length && createdAt > at - 2 * MINUTE_MS && createdAt < at + 15 * MINUTE_MS,
    );
  };
  const absent = unknown.filter((order) => !mayBeMade(order));
  expect(absent.length).toBeGreaterThan(0);
  expect(absent.filter(isMade)).toEqual([]);
  late += 10 * MINUTE_MS;
  await wakeUntilAtRest(killer, absent.length);
  for (const { account } of absent) expect((await standingOf(account)).day.held_usd).toBeGreaterThan(0);
  late += 26 * HOUR_MS;
  await wakeUntilAtRest(killer, 0);
  expect(told.size).toBe(orders.length);

  // biome-ignore lint/suspicious/noConsole: where kills hit is what this test shows.
  console.info(tableOf(killer));
  for (const point of [...MAKING, ...SETTLING]) expect(killer.counts.get(point), point).toBeGreaterThanOrEqual(5);

  // The upstream has each batch once, and each is somebody's.
  const had = [...api.batches.values()].map(({ items }) => byItem.get(items[0]?.id ?? ''));
  expect(new Set(had)).toEqual(new Set(orders.filter(isMade)));
  expect(had).toHaveLength(orders.filter(isMade).length);
  // Its bill, by a sum of this test's own: half of the list price of each item that has succeeded.
  const models = parseSettings({}).models;
  let billed = 0;
  for (const [id, { items }] of api.batches) {
    const order = byItem.get(items[0]?.id ?? '');
    if (order === undefined || !isKnown(order)) continue;
    for (const { model, usage } of api.usagesOf(id)) {
      billed += Math.ceil(computeCost({ ...usage, service_tier: 'standard' }, models.findPriceRow(model).row) / 2);
    }
  }
  expect(billed).toBeGreaterThan(0);
  let settled = 0;
  let items = 0;
  for (const order of orders) {
    const { account, batch = '', ids } = order;
    const standing = await standingOf(account);
    expect(standing.day, account).toMatchObject({ held_usd: 0 });
    const rows = (await getAccountStub(bindings, {}, account).listRequests({})).data;
    const own = rows.filter((row) => row.batch === batch);
    expect(own, account).toHaveLength(1);
    // What was begun and not sent has cost nothing.
    for (const row of rows) if (row.batch !== batch) expect(row).toMatchObject({ status: 'unsent', cost_usd: 0 });
    const cost = rows.reduce((sum, { cost_usd }) => sum + (cost_usd ?? 0), 0);
    if (isKnown(order)) settled += cost;
    else if (mayBeMade(order)) expect(own[0]).toMatchObject({ status: 'unknown', estimated: true, cost_usd: cost });
    else expect(own[0]).toMatchObject({ status: 'unsent', cost_usd: 0 });
    const shown = await readAs(app, order);
    const { succeeded, errored, canceled, expired, processing } = shown.request_counts;
    expect(succeeded + errored + canceled + expired, account).toBe(ids.length);
    expect(processing).toBe(0);
    items += ids.length;
    const list = await app.fetch(PATH, { headers: bearerHeader(await createToken(account)) });
    expect(((await list.json()) as { data: MessageBatch[] }).data).toEqual([shown]);
    // It is told until that was noted, always under one id and in the same words.
    const deliveries = told.get(batch) ?? [];
    expect(new Set(deliveries.map(({ id }) => id)), account).toEqual(new Set([`evt_${batch}`]));
    expect(new Set(deliveries.map(({ text }) => text)).size).toBe(1);
    const results = await app.fetch(`${PATH}/${batch}/results`, { headers: bearerHeader(await createToken(account)) });
    expect(results.ok).toBe(isKnown(order));
    if (!results.ok) continue;
    const answered = (await results.text()).trim().split('\n');
    expect(new Set(answered.map((line) => (JSON.parse(line) as { custom_id: string }).custom_id))).toEqual(
      new Set(ids),
    );
  }
  expect(items).toBe(ITEMS);
  expect(toUsd(Math.round(settled * 1e9))).toBe(toUsd(billed));
  // Each that is unknown is one alert, and what was begun and not sent is forgotten.
  const alerts = (await getInboxStub(bindings, {}, 'alert').listAlerts({ limit: 100 })).data;
  expect(alerts.map(({ subject }) => subject).sort()).toEqual(unknown.map(({ batch = '' }) => batch).sort());
  for (const [batch, account] of killer.accounts) {
    const state = await getBatchStub(bindings, {}, { account, id: batch }).readBatchState();
    expect(state.kind).toBe(orders.some((order) => order.batch === batch) ? 'known' : 'none');
  }
});

function tableOf({ counts }: Killer): string {
  return [...counts].map(([point, count]) => `${String(count).padStart(4)}  ${point}`).join('\n');
}

/** A body of which the first part comes, and then what kills its reader. */
function cutBy(first: string, kill: () => Promise<never>): ReadableStream<Uint8Array> {
  let isFirst = true;
  return new ReadableStream({
    async pull(controller) {
      if (!isFirst) await kill();
      isFirst = false;
      controller.enqueue(new TextEncoder().encode(first));
    },
  });
}

/** Sends an order's batch until it is answered. @param onLate called where it has to wait for what died before */
async function send(app: TestApp, killer: Killer, order: Order, onLate: () => void): Promise<string> {
  const { account, ids } = order;
  const body = { requests: ids.map((custom_id) => ({ custom_id, params: PARAMS })) };
  const headers = { ...bearerHeader(await createToken(account)), 'idempotency-key': `order of ${account}` };
  for (let tries = 0; tries < 20; tries += 1) {
    killer.sending = account;
    const response = await killer.during(app.post(PATH, body, headers));
    if (response === 'died') continue;
    if (response.ok) return ((await response.json()) as MessageBatch).id;
    const text = await response.text();
    const [unknown] = /msgbatch_\w{26}/.exec(text) ?? [];
    if (response.status === 504 && unknown) return unknown;
    expect(response.status, text).toBe(503);
    onLate();
    for (const [batch, of] of killer.accounts) if (of === account) await wake(killer, batch, account);
  }
  throw new Error(`${account} gave up`);
}

/** Has every batch's object that there was do what is due, unless it is at rest. */
async function wakeAll(killer: Killer): Promise<void> {
  for (const [batch, account] of killer.accounts) {
    if (killer.atRest.has(batch)) continue;
    const died = await wake(killer, batch, account);
    const state = await getBatchStub(bindings, {}, { account, id: batch }).readBatchState();
    const hasEnded = state.kind === 'none' || (state.kind === 'known' && state.batch.processing_status === 'ended');
    // Its alarm has ended by itself after it had ended: all that it owed is done.
    if (hasEnded && !died) killer.atRest.add(batch);
  }
}

/** Has all of them come to rest but some. */
async function wakeUntilAtRest(killer: Killer, but: number): Promise<void> {
  await eventually(async () => {
    await wakeAll(killer);
    expect(killer.accounts.size - killer.atRest.size).toBe(but);
  });
}

/**
 * Has a batch's object do what is due. The platform has an alarm come again whose object died in it; the tests' own way to
 * have it come does not.
 *
 * @returns whether the object died
 */
async function wake(killer: Killer, batch: string, account: string): Promise<boolean> {
  const stub = () => getBatchStub(bindings, {}, { account, id: batch });
  if ((await killer.during(runDurableObjectAlarm(stub()))) !== 'died') return false;
  await runInDurableObject(stub(), (_, { storage }) => storage.setAlarm(Date.now() + HOUR_MS));
  return true;
}

async function readAs(app: TestApp, { account, batch }: Order): Promise<MessageBatch> {
  return await (await app.fetch(`${PATH}/${batch}`, { headers: bearerHeader(await createToken(account)) })).json();
}

const standingOf = (account: string) => getAccountStub(bindings, {}, account).getQuotaReport({});
