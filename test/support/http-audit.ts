/** An audited Claude API over HTTP: it answers each case until the end of that, and then does nothing more. */
import type { RequestListener, ServerResponse } from 'node:http';
import { expect } from 'vitest';
import { isObject } from '#edge/kit/json/object.ts';
import type { LedgerRow, QuotaReport, UsageReport } from '#edge/money/account/usage-answers.schema.ts';
import type { Answer, End } from './audit.ts';
import type { Edge } from './edge.ts';
import { bearerHeader, createToken } from './tokens.ts';
import { type FakeUpstream, type ReceivedRequest, startUpstream } from './upstream.ts';

/** A request, and how its answer ends. Its account and its conversation have its name. */
export interface HttpCase {
  name: string;
  answer: Answer;
  end: End | 'complete';
  /** When it ends, in milliseconds since the API has the request. */
  endsAt: number;
  /** Whether not even headers are sent. */
  lacksHeaders?: boolean;
  /** Until when the API answers after a stop before the first event: the edge reads until that. */
  answersUntil?: number;
  /** The tokens that count_tokens returns for its prompt. Default: prompts are not counted. */
  count?: number;
}

/** A case that the API knows. */
interface KnownCase {
  one: HttpCase;
  /** Settles when everything before the end has been sent, with how many events that was. */
  sent: PromiseWithResolvers<number>;
  /** Settles when its turn has been stopped. */
  stopped: PromiseWithResolvers<void>;
  response?: ServerResponse;
}

/** A case that has begun. */
interface BegunCase {
  /** Disconnects its caller. */
  leave: () => void;
  /** Settles when the caller's response has ended, in whatever way. */
  over: Promise<void>;
}

export const wait = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, Math.max(0, milliseconds)));

export const toNanodollars = (usd = 0) => Math.round(usd * 1e9);

const isWhole = ({ answer }: HttpCase) => answer.body.stream === false;

/** The API, and the requests with which it is called. */
export class AuditedApi {
  readonly #cases = new Map<string, KnownCase>();
  readonly #upstream: FakeUpstream;

  private constructor(upstream: FakeUpstream) {
    this.#upstream = upstream;
    upstream.answer = (request, response) => void this.#answer(request, response);
  }

  static async start(): Promise<AuditedApi> {
    return new AuditedApi(await startUpstream(() => undefined));
  }

  get url(): string {
    return this.#upstream.url;
  }

  /** Takes a request that has come in another way than to its URL. */
  get receive(): RequestListener {
    return this.#upstream.receive;
  }

  async stop(): Promise<void> {
    await this.#upstream.stop();
  }

  /** Takes a case. @returns it with a body whose last question begins with its name, by which requests and counts are found */
  add<T extends HttpCase>(added: T): T {
    const { answer, name } = added;
    const messages = answer.body.messages as { role: string; content: string }[];
    const last = messages.at(-1) ?? { role: 'user', content: '' };
    // It stays as long as it is billed.
    const content = `${name} ${last.content.slice(name.length + 1)}`;
    const body = { ...answer.body, messages: [...messages.slice(0, -1), { ...last, content }] };
    const one = { ...added, answer: { ...answer, body } };
    this.#cases.set(name, { one, sent: Promise.withResolvers(), stopped: Promise.withResolvers() });
    return one;
  }

  #find(name: string): KnownCase {
    const found = this.#cases.get(name);
    if (!found) throw new Error(`no such case: ${name}`);
    return found;
  }

  async #answer({ path, body }: ReceivedRequest, response: ServerResponse): Promise<void> {
    const known = this.#find(readName(JSON.parse(body.toString())));
    if (!path.includes('/count_tokens')) return await this.#play(known, response);
    const { count } = known.one;
    if (count === undefined) response.writeHead(404).end();
    else response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ input_tokens: count }));
  }

  /** Answers a request as its case says, until its end. */
  async #play(known: KnownCase, response: ServerResponse): Promise<void> {
    const { one, sent, stopped } = known;
    const { answer, end, endsAt, lacksHeaders = false, answersUntil = endsAt } = one;
    known.response = response;
    const beganAt = Date.now();
    const waitUntil = (at: number) => wait(at - (Date.now() - beganAt));
    response.socket?.setNoDelay(true);
    if (!lacksHeaders) {
      response.writeHead(200, { 'content-type': isWhole(one) ? 'application/json' : 'text/event-stream' });
      response.flushHeaders();
    }
    let events = 0;
    const writeEvents = async (from: number, until: number) => {
      for (const { at, event } of answer.actions) {
        if (event === undefined || at <= from || at > until) continue;
        await waitUntil(at);
        response.write(event);
        if (!event.startsWith('event: ping')) events += 1;
      }
      await waitUntil(until);
    };
    await writeEvents(-1, endsAt);
    sent.resolve(events);
    if (end === 'complete') response.end();
    if (answersUntil <= endsAt) return;
    await stopped.promise;
    await writeEvents(endsAt, answersUntil);
  }

  /** Sends a request, and reads its response until everything before the end has come. */
  async begin(one: HttpCase, edge: Edge): Promise<BegunCase> {
    const { name, end, answer } = one;
    const leaving = new AbortController();
    const isTurn = !isWhole(one) && ['stopped', 'killed', 'complete'].includes(end);
    const body = isTurn ? { ...answer.body, conversation: name } : answer.body;
    let events = 0;
    const read = async () => {
      const headers = { 'content-type': 'application/json', ...bearerHeader(await createToken(name)) };
      const init = { method: 'POST', headers, body: JSON.stringify(body), signal: leaving.signal };
      const response = await fetch(`${edge.url}/v1/messages`, init);
      const decoder = new TextDecoder();
      for await (const piece of response.body ?? []) {
        events += decoder.decode(piece, { stream: true }).match(/^event: (?!ping)/gm)?.length ?? 0;
      }
    };
    // It ends as the case says: by an error, too.
    const over = read().catch(() => undefined);
    const all = await this.#find(name).sent.promise;
    await expect.poll(() => events).toBeGreaterThanOrEqual(isWhole(one) ? 0 : all);
    return { leave: () => leaving.abort(), over };
  }

  /** Stops the turn of a case. */
  async stopTurn({ name }: HttpCase, edge: Edge): Promise<void> {
    await readJson(edge, `/conversations/${name}/stop`, name, { method: 'POST' });
    this.#find(name).stopped.resolve();
  }

  /** Breaks the connection over which a case is answered. */
  cut({ name }: HttpCase): void {
    this.#find(name).response?.destroy();
  }
}

/** @returns the name with which the last question of a body begins */
function readName({ messages }: { messages: { content: unknown }[] }): string {
  const content = messages.at(-1)?.content;
  const [first] = Array.isArray(content) ? content : [{ text: content }];
  return isObject(first) ? (String(first.text).split(' ', 1)[0] ?? '') : '';
}

async function reach(edge: Edge, path: string, account: string, init: RequestInit = {}): Promise<Response> {
  const headers = {
    'content-type': 'application/json',
    ...bearerHeader(await createToken(account, ['admin', 'messages'])),
  };
  return await fetch(edge.url + path, { ...init, headers });
}

export async function readJson<T>(edge: Edge, path: string, account: string, init: RequestInit = {}): Promise<T> {
  return (await (await reach(edge, path, account, init)).json()) as T;
}

/** @returns what an account has spent, by each part of Sluice that sums it up; nanodollars */
async function readSums(edge: Edge, account: string): Promise<Record<string, number>> {
  const { data } = await readJson<{ data: LedgerRow[] }>(edge, `/usage/requests?account=${account}`, account);
  const { day, total } = await readJson<QuotaReport>(edge, `/accounts/${account}`, account);
  const usage = await readJson<UsageReport>(edge, `/usage?account=${account}`, account);
  const csv = await (await reach(edge, `/usage?account=${account}&group_by=model&format=csv`, account)).text();
  const [names = [], ...lines] = csv
    .trim()
    .split('\r\n')
    .map((line) => line.split(','));
  const column = names.indexOf('cost_usd');
  const list = await readJson<{ data: { cost_usd: number }[] }>(edge, '/conversations', account);
  const rows = data.reduce((sum, { cost_usd }) => sum + toNanodollars(cost_usd), 0);
  return {
    rows,
    day: toNanodollars(day.settled_usd),
    total: toNanodollars(total.settled_usd),
    usage: toNanodollars(usage.total.cost_usd),
    csv: lines.reduce((sum, cells) => sum + toNanodollars(Number(cells[column])), 0),
    // A relayed answer has none.
    conversation: list.data[0] ? toNanodollars(list.data[0].cost_usd) : rows,
  };
}

/** Waits until the only request of an account is settled, and all its sums are the same. @returns what it is booked at */
export async function readBooked(edge: Edge, account: string, isEstimated = true): Promise<number> {
  await expect
    .poll(async () => (await readJson<QuotaReport>(edge, `/accounts/${account}`, account)).running_requests)
    .toBe(0);
  const { data } = await readJson<{ data: LedgerRow[] }>(edge, `/usage/requests?account=${account}`, account);
  expect(data, account).toHaveLength(1);
  if (isEstimated) expect(data[0]?.estimated, account).toBe(true);
  const cost = toNanodollars(data[0]?.cost_usd);
  const same = { rows: cost, day: cost, total: cost, usage: cost, csv: cost, conversation: cost };
  // What its object tells its account of a conversation comes a moment later.
  await expect.poll(() => readSums(edge, account), { message: account }).toEqual(same);
  return cost;
}
