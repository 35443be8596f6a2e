import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { Webhook as Receiver } from 'standardwebhooks';
import { expect, inject, test, vi } from 'vitest';
import type { LedgerRow, QuotaReport } from '#edge/money/account/usage-answers.schema.ts';
import type { EventRow } from '#edge/plugins/webhooks/webhooks-answers.schema.ts';
import { createSimulator } from '#edge/toolkit/simulator.ts';
import { calendarLibrary, hasCompiler } from '#test/runner/calendar-library.ts';
import { findBrokenRule } from '#test/support/api-rules.ts';
import { computePrice, readBill } from '#test/support/bills.ts';
import { createDraw, type Draw } from '#test/support/create-draw.ts';
import { type Edge, startEdge, startEdgeAhead } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { readRequestBody, startLocalServer, toApiRequest } from '#test/support/local-server.ts';
import {
  type Answer,
  areRowsAccepted,
  expectSameRows,
  type HistoryRow,
  JSON_HEADERS,
  type ObservedEvent,
  postInit,
  type ReceivedEvent,
  RestartingEdge,
} from '#test/support/restarting-edge.ts';
import { root } from '#test/support/root.ts';
import { createToken, SECRET } from '#test/support/tokens.ts';
import { createWebhookVars } from '#test/support/webhook-vars.ts';
import { signGithub } from '../../scripts/sign-webhook.ts';

// Everything that the edge does is under way when it is killed, and whoever uses it notes what it was told. At the end all of
// that must be there, once. By day this is the file of deaths: `KILLS=200 KILLS_SEED=…` kills more often, and as a failure did.

const { KILLS = '3', KILLS_SEED = String(Math.floor(Math.random() * 1e9)) } = process.env;
const MODEL = 'claude-haiku-4-5';
const KEY = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
const GITHUB_SECRET = 'the secret of the tests';
/** No key is refused for longer than this, in seconds. */
const LONGEST_BUSY = 300;
/** No money is set aside for longer than this after a kill, in seconds. */
const LONGEST_HELD = 1_000;
/** A batch whose answer was lost, and which no list has, counts as not made after a day and an hour. */
const LONGEST_LOST = 26 * 3_600;
/** First it is told as unknown, then the list is read. */
const MOST_LOOKS = 6;
/** What a kill waits for, and how often at most. */
const MOMENTS: readonly [ObservedEvent, number][] = [
  ['event', 100],
  ['sent', 25],
  ['answer', 25],
  ['asked', 15],
  ['called', 3],
  ['delivered', 4],
];
const LABELS = ['bug', 'feature', 'question'];
/** Whether the edge has signed it. The time is not looked at: in the end the edge's clock is far ahead. */
function isSigned({ headers }: IncomingMessage, body: string): boolean {
  const [id, time, signature] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => headers[name]);
  return new Receiver(KEY).sign(String(id), new Date(Number(time) * 1_000), body) === signature;
}

/** The API: it lives on while the edge is dead, and keeps its own books. */
async function startApi(lives: RestartingEdge) {
  const simulate = createSimulator({
    ttftMs: 5,
    tokensPerSecond: 400,
    batchMs: 400,
    now: () => Date.now() + lives.aheadSeconds * 1_000,
  });
  const api = {
    /** What each answer that has ended costs, by its `request-id`, in dollars. */
    bills: new Map<string, number>(),
    /** Rules that requests have broken. */
    broken: [] as string[],
    /** How many batches were made of each body. */
    batches: new Map<string, string[]>(),
    errors: [] as string[],
  };
  const server = await startLocalServer(async (request, response) => {
    const { method = '', url = '' } = request;
    lives.noteObserved('asked');
    const left = new AbortController();
    response.on('close', () => left.abort());
    const isMessage = method === 'POST' && url.startsWith('/v1/messages?') ? true : url === '/v1/messages';
    const isBatch = method === 'POST' && /^\/v1\/messages\/batches(\?|$)/.test(url);
    const text = isMessage || isBatch ? await readRequestBody(request) : undefined;
    if (isMessage && text !== undefined) {
      const broken = findBrokenRule((JSON.parse(text) as { messages: never }).messages);
      if (broken !== undefined) api.broken.push(`${broken} in ${text}`);
    }
    const body = text ?? (method === 'POST' ? (Readable.toWeb(request) as ReadableStream) : undefined);
    const answer = await simulate(toApiRequest(request, body, left.signal));
    const id = answer.headers.get('request-id') ?? '';
    // What a kill has cut on its way up is malformed, and nobody hears of it.
    if (answer.status >= 400 && answer.status !== 404 && request.complete)
      api.errors.push(`${method} ${url}: ${await answer.clone().text()}`);
    if (isBatch && text !== undefined && answer.ok) {
      const made = (await answer.clone().json()) as { id: string };
      api.batches.set(text, [...(api.batches.get(text) ?? []), made.id]);
    }
    response.writeHead(answer.status, Object.fromEntries(answer.headers));
    response.flushHeaders();
    let told = '';
    const decoder = new TextDecoder();
    for await (const piece of answer.body ?? []) {
      if (isMessage) told += decoder.decode(piece, { stream: true });
      response.write(piece);
    }
    response.end();
    const bill = isMessage && answer.ok ? readBill(told) : undefined;
    if (bill !== undefined) api.bills.set(id, bill);
  });
  return { ...api, ...server, simulate };
}

type Api = Awaited<ReturnType<typeof startApi>>;

/** A call as a tool has got it. */
interface Call {
  webhookId: string;
  body: { tool_use_id: string; name: string; input: unknown; conversation: string };
  result: string;
}

/** Tools: each answer is another, so that one can tell which of them the edge has kept. */
async function startTools(lives: RestartingEdge, draw: Draw) {
  const calls: Call[] = [];
  const server = await startLocalServer(async (request, response) => {
    const text = await readRequestBody(request);
    if (!isSigned(request, text)) throw new Error('not signed');
    const result = `result ${calls.length} of the tool`;
    calls.push({ webhookId: String(request.headers['webhook-id']), body: JSON.parse(text), result });
    lives.noteObserved('called');
    // The edge may die while it waits.
    await lives.waitForObserved(draw(60));
    response.writeHead(200, { 'content-type': 'text/plain' }).end(result);
  });
  return { calls, ...server };
}

/** Somebody to whom the edge delivers. */
async function startReceiver(lives: RestartingEdge, draw: Draw) {
  /** All that came under each id, refused ones too. */
  const told = new Map<string, Set<string>>();
  let unsigned = 0;
  const server = await startLocalServer(async (request, response) => {
    const text = await readRequestBody(request);
    if (!isSigned(request, text)) unsigned += 1;
    const id = String(request.headers['webhook-id']);
    const isFirst = !told.has(id);
    told.set(id, (told.get(id) ?? new Set()).add(text));
    lives.noteObserved('delivered');
    response.writeHead(isFirst && draw(8) === 0 ? 500 : 204).end();
  });
  return { told, unsigned: () => unsigned, ...server };
}

type Told = Awaited<ReturnType<typeof startReceiver>>;

/** What is answered 503 or 409, and is sent again later. */
interface Refused {
  what: string;
  again(): Promise<Answer>;
  accept(answer: Answer): void;
}

/** So often a turn goes on after a crash. */
const MOST_TIMES = 10;

/** Those who use the edge, what they know, and what each does again and again until the kills are over. */
class Callers {
  readonly #lives: RestartingEdge;
  readonly #draw: Draw;
  readonly #toolUrl: string;
  #number = 0;
  /** The history of each conversation, as it was last read when nothing ran. */
  readonly rows = new Map<string, HistoryRow[]>();
  readonly turns: { conversation: string; turn: string; retries: boolean }[] = [];
  readonly decisions: { conversation: string; turn: string; approval: string; call: string; decision: Decision }[] = [];
  readonly batches: { id: string; items: string[]; key: string }[] = [];
  readonly classifications: { id: string; inputs: string[] }[] = [];
  /** Names of files by their ids; undefined where they were deleted. */
  readonly files = new Map<string, string | undefined>();
  readonly namesTried: string[] = [];
  readonly events = new Set<string>();
  readonly requests: string[] = [];
  readonly refused: Refused[] = [];
  backups = { whole: 0, cut: 0 };
  interrupted = 0;
  resumed = 0;

  constructor(lives: RestartingEdge, draw: Draw, toolUrl: string) {
    this.#lives = lives;
    this.#draw = draw;
    this.#toolUrl = toolUrl;
  }

  all(): (() => Promise<void>)[] {
    return [
      () => this.#talk('talk', {}),
      () => this.#talk('think', { max_tokens: 1_500, thinking: { type: 'enabled', budget_tokens: 1_024 } }),
      () => this.#background(),
      () => this.#run(),
      () => this.#approve(),
      () => this.#batch(),
      () => this.#classifyMany(),
      () => this.#classifyOne(),
      () => this.#file(),
      () => this.#hook(),
      () => this.#backup(),
    ];
  }

  /** @returns how much was acknowledged of each kind */
  acknowledged(): number[] {
    const { turns, decisions, batches, classifications, files, events, requests } = this;
    return [
      turns.length,
      decisions.length,
      batches.length,
      classifications.length,
      files.size,
      events.size,
      requests.length,
    ];
  }

  #next(): number {
    this.#number += 1;
    return this.#number;
  }

  /** Says something, and follows it through every kill until it has ended. @returns its turn */
  async #follow(conversation: string, content: string, more: object): Promise<{ turn: string; isWhole: boolean }> {
    const body = { model: MODEL, max_tokens: 400, conversation, messages: [{ role: 'user', content }], ...more };
    const asking = {
      ...postInit(body),
      headers: { ...JSON_HEADERS, 'idempotency-key': `${conversation}-${this.#next()}` },
    };
    const shown: ReceivedEvent[] = [];
    for (;;) {
      const last = shown.at(-1)?.id;
      const resuming = { headers: { 'last-event-id': last ?? '' } };
      const { status, events, text, isCut } =
        last === undefined
          ? await this.#lives.readStream('/messages', asking)
          : await this.#lives.readStream(`/conversations/${conversation}/stream`, resuming);
      if (status === 0) continue;
      if (last !== undefined) this.resumed += 1;
      if (last === undefined && status === 503 && !isCut) continue;
      expect(status, text).toBe(200);
      for (const event of events) {
        expect(placeOf(event).turn, 'a resumed stream is of the same turn').toBe(placeOf(shown[0] ?? event).turn);
        const before = shown.at(-1);
        expect(placeOf(event).number, 'no event comes twice').toBeGreaterThan(before ? placeOf(before).number : 0);
        shown.push(event);
      }
      const end = shown.at(-1)?.event ?? '';
      if (end === 'error' && shown.every(({ event }) => event === 'error' || event === 'ping')) {
        // A turn that has failed before it said anything is none.
        shown.length = 0;
        continue;
      }
      if (end === 'message_stop' || end === 'error') break;
      const { lastLogLines: lastLines } = this.#lives;
      expect(isCut, `only a kill cuts a stream, here after ${shown.at(-1)?.id}: ${text}${lastLines}`).toBe(true);
    }
    const { turn } = placeOf(shown[0] as ReceivedEvent);
    const isWhole = shown.at(-1)?.event === 'message_stop';
    if (!isWhole) this.interrupted += 1;
    await this.#compare({ conversation, turn, content }, shown);
    return { turn, isWhole };
  }

  /** Compares what was shown of a turn that has ended with what is kept of it. */
  async #compare(
    { conversation, turn, content }: { conversation: string; turn: string; content: string },
    shown: readonly ReceivedEvent[],
  ): Promise<void> {
    const log = await this.#whole(`/conversations/${conversation}/stream?after=${turn}-0`);
    const kept = new Map(log.map((event) => [event.id, event.frame]));
    expect(kept.size, 'each event is there once').toBe(log.length);
    const ids = new Set(shown.map(({ id }) => id));
    expect(
      log.filter(({ id }) => !ids.has(id)).map(({ frame }) => frame),
      'who resumes gets all',
    ).toEqual([]);
    for (const { id, event, frame } of shown) {
      // What was said in the last seconds may be lost, with what frames it; nothing else, and no number stands for two events.
      if (kept.has(id) || !event.startsWith('content_block_')) expect(kept.get(id)).toBe(frame);
    }
    const all = await this.#readRows(conversation);
    const rows = all.filter((row) => row.turn === turn);
    // A question that was kept without an answer is not stored again; and where this turn was killed without a word, too, it has
    // no row of its own.
    const [first] = rows;
    const asked = all.slice(0, first ? all.indexOf(first) + 1 : all.length).findLast(({ role }) => role === 'user');
    expect(asked?.content).toBe(content);
    expect(textOfRows(rows), JSON.stringify({ rows, log })).toBe(textOfEvents(log));
  }

  async #whole(path: string): Promise<ReceivedEvent[]> {
    for (;;) {
      const { status, events, text, isCut } = await this.#lives.readStream(path);
      if (isCut) continue;
      expect(status, text).toBe(200);
      return events;
    }
  }

  /** @returns the history, which still begins as it did before */
  async #readRows(conversation: string): Promise<HistoryRow[]> {
    const path = `/conversations/${conversation}/messages?limit=1000`;
    const { data } = await this.#lives.getJson<{ data: HistoryRow[] }>(path);
    const before = this.rows.get(conversation) ?? [];
    expectSameRows(data.slice(0, before.length), before, conversation);
    expect(new Set(data.map(({ id }) => id)).size, 'no message twice').toBe(data.length);
    // While calls wait for a person, they have no results, and nothing else goes up.
    const { data: waiting } = await this.#lives.getJson<{ data: unknown[] }>(
      `/conversations/${conversation}/approvals`,
    );
    if (waiting.length === 0) expect(areRowsAccepted(data), conversation).toBeUndefined();
    this.rows.set(conversation, data);
    return data;
  }

  async #talk(kind: string, more: object): Promise<void> {
    const conversation = `${kind}-${this.#next()}`;
    for (let turns = 0; turns < 4 && !this.#lives.hasStoppedKilling; turns += 1) {
      await this.#follow(conversation, `Turn ${turns}: tell me about the sea`, more);
    }
  }

  async #background(): Promise<void> {
    const conversation = `back-${this.#next()}`;
    const retries = this.#draw(2) === 0;
    const content = 'Tell me about rivers';
    const body = { model: MODEL, max_tokens: 300, conversation, messages: [{ role: 'user', content }] };
    const init = {
      ...postInit({ ...body, background: true, ...(retries ? { retry: true } : {}) }),
      headers: { ...JSON_HEADERS, 'idempotency-key': conversation },
    };
    const { startCount: life } = this.#lives;
    const { status, text } = await this.#lives.requestUntilAnswered('/messages', init);
    expect(status, text).toBe(202);
    const again = await this.#lives.requestUntilAnswered('/messages', init);
    expect(again.status, again.text).toBe(202);
    const ids = new Set([text, again.text].map((answer) => (JSON.parse(answer) as { id: string }).id));
    const reports: Turn[] = [];
    for (const id of ids) reports.push(await this.#ended(conversation, id));
    const [last] = reports.slice(-1);
    // Its guide says that it goes on ten times at most.
    if (retries && this.#lives.startCount - life < MOST_TIMES)
      expect(last, JSON.stringify(last)).toMatchObject({ status: 'complete' });
    // One that goes up again after it was heard of goes on where it broke off, at the edge's word.
    const rows = await this.#readRows(conversation);
    const questions = rows.filter(({ role, origin }) => role === 'user' && origin !== 'edge');
    expect(questions).toMatchObject([{ content }]);
    for (const report of reports) {
      const { id: turn, status: ended } = report;
      const ends = report === last ? /^(complete|interrupted|failed)$/ : /^(interrupted|failed)$/;
      expect(ended, JSON.stringify(report)).toMatch(ends);
      // Sent again, it is the same turn; but where a kill came before a word was said, it is asked anew. Then the question is
      // the first turn's, of which nobody may have heard. A turn that is killed without a word, too, leaves nothing.
      if (ended === 'failed') expect(questions[0]?.turn, JSON.stringify(report)).not.toBe(turn);
      else {
        this.turns.push({ conversation, turn, retries });
        expect(rows.map((row) => row.turn)).toContain(turn);
      }
    }
  }

  async #ended(conversation: string, turn: string): Promise<Turn> {
    let report: Turn | undefined;
    await eventually(async () => {
      report = await this.#lives.getJson<Turn>(`/conversations/${conversation}/turns/${turn}`);
      expect(report.status).not.toBe('running');
    });
    return report as Turn;
  }

  #tool(name: string, run: object) {
    const schema = { type: 'object', properties: { order: { type: 'string' } }, required: ['order'] };
    return { name, description: `Does ${name}.`, input_schema: schema, run: { url: this.#toolUrl, ...run } };
  }

  async #run(): Promise<void> {
    const conversation = `run-${this.#next()}`;
    const tools = [this.#tool('look_up', {}), this.#tool('pay_once', { once: true })];
    const asked = `Call look_up and pay_once for the order ${conversation}`;
    const { turn, isWhole } = await this.#follow(conversation, asked, { tools });
    if (!isWhole) return;
    const { steps } = await this.#ended(conversation, turn);
    const calls = steps.flatMap((step) => step.calls);
    expect(calls.map(({ is_error }) => is_error)).not.toContain(null);
  }

  async #approve(): Promise<void> {
    const conversation = `wait-${this.#next()}`;
    const tools = [this.#tool('pay_once', { once: true, approval: 'always' })];
    const asked = `Call pay_once for the order ${conversation}`;
    const { turn } = await this.#follow(conversation, asked, { tools });
    const { data } = await this.#lives.getJson<{ data: { id: string; tool_use_id: string }[] }>(
      `/conversations/${conversation}/approvals`,
    );
    // Where a kill came before its call, nothing waits.
    const [waiting] = data;
    if (!waiting) return;
    expect(data).toHaveLength(1);
    await this.#lives.waitForObserved(this.#draw(30));
    const decision = DECISIONS[this.#draw(DECISIONS.length)] as Decision;
    const path = `/conversations/${conversation}/approvals/${waiting.id}`;
    const { startCount: life } = this.#lives;
    const { status, text } = await this.#lives.requestUntilAnswered(path, postInit(decision));
    expect(status, text).toBeLessThan(300);
    this.decisions.push({ conversation, turn, approval: waiting.id, call: waiting.tool_use_id, decision });
    const next = JSON.parse(text) as { id: string; type: string };
    expect(next.type).toBe('turn');
    const report = await this.#ended(conversation, next.id);
    const ends = this.#lives.startCount - life < MOST_TIMES ? /^complete$/ : /^(complete|interrupted)$/;
    expect(report, JSON.stringify(report)).toMatchObject({ continues: turn, status: expect.stringMatching(ends) });
    await this.#readRows(conversation);
  }

  /** Sends what has a key until it is taken, or for the time being refused: then it waits for the end. */
  async #keyed(what: string, init: RequestInit, path: string, accept: (answer: Answer) => void): Promise<void> {
    const again = async () => {
      const answer = await this.#lives.requestUntilAnswered(path, init);
      const [id] = /msgbatch_\w{26}/.exec(answer.text) ?? [];
      // Nobody knows whether it was made: it ends all the same.
      if (answer.status !== 504 || id === undefined) return answer;
      return { ...answer, status: 200, text: JSON.stringify({ id }) };
    };
    const answer = await again();
    if (answer.status < 300) return accept(answer);
    expect([409, 503], `${what}: ${answer.text}`).toContain(answer.status);
    this.refused.push({ what, again, accept });
  }

  async #batch(): Promise<void> {
    const key = `batch-${this.#next()}`;
    const items = Array.from({ length: 1 + this.#draw(3) }, (_, nth) => `${key}-${nth}`);
    const requests = items.map((custom_id) => ({
      custom_id,
      params: { model: MODEL, max_tokens: 20, messages: [{ role: 'user', content: `Say ${custom_id}` }] },
    }));
    const init = { ...postInit({ requests }), headers: { ...JSON_HEADERS, 'idempotency-key': key } };
    await this.#keyed(key, init, '/v1/messages/batches', ({ text }) => {
      const { id } = JSON.parse(text) as { id: string };
      this.batches.push({ id, items, key });
    });
    await this.#lives.waitForObserved(this.#draw(40));
  }

  async #classifyMany(): Promise<void> {
    const key = `classify-${this.#next()}`;
    const inputs = Array.from({ length: 1 + this.#draw(3) }, (_, nth) => `${key}-${nth}`);
    const body = { labels: LABELS, batch: true, inputs: inputs.map((id) => ({ id, input: `A bug: ${id}` })) };
    const init = { ...postInit(body), headers: { ...JSON_HEADERS, 'idempotency-key': key } };
    await this.#keyed(key, init, '/classify', ({ text }) => {
      const { id } = JSON.parse(text) as { id: string };
      this.classifications.push({ id, inputs });
    });
    await this.#lives.waitForObserved(this.#draw(40));
  }

  async #classifyOne(): Promise<void> {
    const answer = await this.#lives.request(
      '/classify',
      postInit({ labels: LABELS, input: `A bug: ${this.#next()}` }),
    );
    if (answer) {
      expect(answer.status, answer.text).toBe(200);
      this.requests.push(answer.headers.get('sluice-request-id') ?? '');
    }
    await this.#lives.waitForObserved(this.#draw(40));
  }

  async #file(): Promise<void> {
    const name = `file-${this.#next()}.txt`;
    const form = new FormData();
    form.append('file', new Blob([`The text of ${name}`.repeat(1 + this.#draw(2_000))], { type: 'text/plain' }), name);
    this.namesTried.push(name);
    // There is no key for it: who gets no answer looks whether it is there.
    const answer = await this.#lives.request('/v1/files', { method: 'POST', body: form });
    if (answer) {
      expect(answer.status, answer.text).toBe(200);
      this.files.set((JSON.parse(answer.text) as { id: string }).id, name);
    }
    await this.#lives.waitForObserved(this.#draw(40));
    const [oldest] = [...this.files].filter(([, kept]) => kept !== undefined).map(([id]) => id);
    if (oldest === undefined || this.#draw(2) === 0) return;
    const { status, text } = await this.#lives.requestUntilAnswered(`/v1/files/${oldest}`, { method: 'DELETE' });
    // A deletion whose answer was cut has been made.
    expect([200, 404], text).toContain(status);
    this.files.set(oldest, undefined);
  }

  async #hook(): Promise<void> {
    const id = `hook-${this.#next()}`;
    const html_url = `https://example.com/${id}`;
    const body = JSON.stringify({ action: 'opened', issue: { title: `${id} crashes`, body: 'A bug.', html_url } });
    const headers = await signGithub(body, GITHUB_SECRET, 'issues', id);
    headers.set('content-type', 'application/json');
    const init = { method: 'POST', headers, body };
    // Sent again after its answer it is the same event.
    for (let times = this.#draw(2); times >= 0; times -= 1) {
      const { status, text } = await this.#lives.requestUntilAnswered('/webhooks/github', init);
      expect(status, text).toBeLessThan(300);
      const { event_id } = JSON.parse(text) as { event_id: string };
      expect(event_id).toBe(`github_${id}`);
      this.events.add(event_id);
      await this.#lives.waitForObserved(this.#draw(30));
    }
  }

  /** Makes a backup; one that a kill has cut is begun again. */
  async #backup(): Promise<void> {
    const before = new Map(this.rows);
    const { startCount: life } = this.#lives;
    const { url } = this.#lives;
    if (url === '') return await this.#lives.waitForObserved(1);
    const { written: lines, said } = await backupOf(url);
    if (hasEnd(lines)) {
      this.backups.whole += 1;
      expectInBackup(lines, before);
    } else {
      this.backups.cut += 1;
      expect(this.#lives.startCount !== life || this.#lives.url === '', `only a kill cuts a backup: ${said}`).toBe(
        true,
      );
    }
    // By far the dearest of all callers.
    while (!this.#lives.hasStoppedKilling && this.#lives.startCount < life + 3) await this.#lives.waitForObserved(20);
  }

  /** Reads again all that is known, and says in each conversation what is next. */
  async goOn(): Promise<void> {
    const conversations = [...this.rows.keys()];
    const one = async () => {
      for (let id = conversations.pop(); id !== undefined; id = conversations.pop()) {
        const rows = await this.#readRows(id);
        const body = { model: MODEL, max_tokens: 20, conversation: id, messages: [{ role: 'user', content: 'Next?' }] };
        const { status, text } = await this.#lives.requestUntilAnswered('/v1/messages', postInit(body));
        expect(status, `${id}: ${text}`).toBe(200);
        expect((await this.#readRows(id)).length).toBe(rows.length + 2);
      }
    };
    await Promise.all(Array.from({ length: 6 }, one));
  }
}

type Decision = { decision: 'approve' | 'deny'; reason?: string; input?: object };
const DECISIONS: readonly Decision[] = [
  { decision: 'approve' },
  { decision: 'approve', input: { order: 'another one' } },
  { decision: 'deny', reason: 'It is too dear.' },
];

interface Turn {
  id: string;
  status: string;
  continues: string | null;
  steps: {
    calls: { id: string; name: string; is_error: boolean | null; approval: { decision: string | null } | null }[];
  }[];
}

function placeOf({ id }: ReceivedEvent): { turn: string; number: number } {
  const [, turn = '', number = ''] = /^(.*)-(\d+)$/.exec(id) ?? [];
  return { turn, number: Number(number) };
}

/** The text of an answer, as its events have shown it. */
function textOfEvents(events: readonly ReceivedEvent[]): string {
  const deltas = events.map(({ frame }) => JSON.parse(/^data: (.*)$/m.exec(frame)?.[1] ?? '{}').delta?.text ?? '');
  return deltas.join('').trimEnd();
}

function textOfRows(rows: readonly HistoryRow[]): string {
  const blocks = rows
    .filter(({ role }) => role === 'assistant')
    .flatMap(({ content }) => (typeof content === 'string' ? [{ type: 'text' as const, text: content }] : content));
  return blocks
    .map((block) => (block.type === 'text' ? block.text : ''))
    .join('')
    .trimEnd();
}

/** Runs a script as an operator does. @returns what it has written, and said */
async function script(name: string, url: string, input = ''): Promise<{ written: string; said: string }> {
  const SLUICE_TOKEN = await createToken('dev', ['admin']);
  return new Promise((resolve) => {
    const options = { cwd: root, maxBuffer: 256_000_000, env: { ...process.env, SLUICE_URL: url, SLUICE_TOKEN } };
    const path = join(root, `scripts/${name}.ts`);
    const child = execFile(process.execPath, [path], options, (_, written, said) => resolve({ written, said }));
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}

const backupOf = (url: string) => script('backup', url);
const hasEnd = (lines: string) => /\{"type":"backup_end".*"missing":\[\]\}\n$/.test(lines);

/** A backup has each message that was there before it was begun. */
function expectInBackup(lines: string, rows: ReadonlyMap<string, readonly HistoryRow[]>): void {
  for (const [conversation, known] of rows) {
    const [, after = ''] = lines.split(`"id":"${conversation}"}\n`);
    const [own = ''] = after.split('{"type":"conversation_backup"', 1);
    for (const { id, content } of known) {
      if (content.length > 0) expect(own, `${id} of ${conversation}`).toContain(`"${id}"`);
    }
  }
}

test.skipIf(!hasCompiler())(
  `the edge loses no acknowledged data when it is killed at least ${KILLS} times under mixed load`,
  async () => {
    // It is shown where the test fails.
    process.stdout.write(`KILLS_SEED=${KILLS_SEED}\n`);
    const draw = createDraw(Number(KILLS_SEED));
    const state = await mkdtemp(join(tmpdir(), 'sluice-kills-'));
    const library = calendarLibrary(state);
    let vars: Record<string, string> = {};
    const start = async (name: string, seconds: number) => {
      const disk = join(state, name);
      if (seconds === 0) return await startEdge(inject('worker'), vars, disk);
      return await startEdgeAhead(vars, disk, { library, seconds });
    };
    const lives = new RestartingEdge((ahead) => start('disk', ahead));
    const api = await startApi(lives);
    const tools = await startTools(lives, draw);
    const receiver = await startReceiver(lives, draw);
    vars = {
      SIGNING_SECRET: SECRET,
      ANTHROPIC_API_KEY: 'key',
      ANTHROPIC_BASE_URL: api.url,
      TOOL_HOSTS: new URL(tools.url).host,
      TOOL_SIGNING_SECRET: KEY,
      DELIVERY_SIGNING_SECRET: KEY,
      GITHUB_WEBHOOK_SECRET: GITHUB_SECRET,
      ...createWebhookVars('github', { deliver_url: receiver.url }),
      TURN_DELIVER_URL: receiver.url,
      BATCH_DELIVER_URL: receiver.url,
    };
    const callers = new Callers(lives, draw, tools.url);
    try {
      await lives.start();
      const working = callers.all().map(async (work) => {
        while (!lives.hasStoppedKilling) await work();
      });
      const killing = (async () => {
        // They are worth nothing before some have cut a stream, which a busy machine shows later.
        for (let kills = 0; kills < Number(KILLS) || callers.resumed <= Number(KILLS) / 10; kills += 1) {
          const [what, most] = MOMENTS[draw(MOMENTS.length)] as [ObservedEvent, number];
          await lives.killAfter(what, 1 + draw(most));
          await lives.start();
        }
        // A few kills in a row may have cut all that one of the callers had begun.
        await eventually(() => expect(callers.acknowledged()).not.toContain(0));
        lives.stopKilling();
      })();
      await Promise.all([killing, ...working]);
      await callers.goOn();
      const refused = await refusedStill(callers.refused);

      await lives.kill();
      await lives.start(LONGEST_BUSY + 1);
      for (const { what, again, accept } of refused) {
        const answer = await again();
        expect(answer.status, `${what}: ${answer.text}`).toBeLessThan(300);
        accept(answer);
      }
      await expectAll(lives, callers, tools.calls);

      await untilEnded(lives, callers);
      await expectEnded(lives, callers, api);
      await expectTold(lives, callers, receiver);
      await expectPaid(lives, callers, api);
      await expectMoved(lives, callers, () => start('other', lives.aheadSeconds));
      expect(api.broken).toEqual([]);
      expect(api.errors).toEqual([]);
      expect(lives.faults).toEqual([]);
    } finally {
      await lives.stop();
      for (const { stop } of [api, tools, receiver]) stop();
      await rm(state, { recursive: true, force: true });
    }
  },
  // A kill and what comes of it take about two seconds.
  600_000 + Number(KILLS) * 6_000,
);

/** Sends again what was refused. @returns what is refused still, each for five minutes at most */
async function refusedStill(all: readonly Refused[]): Promise<Refused[]> {
  const still: Refused[] = [];
  for (const one of all) {
    const answer = await one.again();
    if (answer.status < 300) {
      one.accept(answer);
      continue;
    }
    expect([409, 503], `${one.what}: ${answer.text}`).toContain(answer.status);
    const seconds = Number(answer.headers.get('retry-after') ?? Number.NaN);
    expect(seconds, `${one.what}: ${answer.text}`).toBeGreaterThan(0);
    expect(seconds, one.what).toBeLessThanOrEqual(LONGEST_BUSY);
    still.push(one);
  }
  return still;
}

/** All that was acknowledged is there, once. */
async function expectAll(lives: RestartingEdge, callers: Callers, calls: readonly Call[]): Promise<void> {
  for (const { conversation, turn } of callers.turns) {
    const { status } = await lives.getJson<Turn>(`/conversations/${conversation}/turns/${turn}`);
    expect(status, conversation).toMatch(/^(complete|interrupted)$/);
  }
  const files = await lives.getAllPages<{ id: string; filename: string }>('/v1/files');
  expect(new Set(files.map(({ id }) => id)).size).toBe(files.length);
  for (const [id, name] of callers.files) {
    expect(files.filter((file) => file.id === id).map(({ filename }) => filename)).toEqual(name ? [name] : []);
  }
  for (const { id, filename } of files) {
    // What was uploaded without an answer may be there, too; nothing else is.
    expect(callers.files.has(id) || callers.namesTried.includes(filename)).toBe(true);
  }
  expect(new Set(files.map(({ filename }) => filename)).size, 'no file twice').toBe(files.length);

  expectCalls(callers, calls);
  for (const { conversation, turn, call, decision } of callers.decisions) {
    const { steps } = await lives.getJson<Turn>(`/conversations/${conversation}/turns/${turn}`);
    const decided = steps.flatMap((step) => step.calls).find(({ id }) => id === call);
    expect(decided?.approval?.decision, conversation).toBe(decision.decision);
  }
}

/** What was done is done once where that is promised, and what the history says of it is what the tool has said. */
function expectCalls(callers: Callers, calls: readonly Call[]): void {
  const byId = Map.groupBy(calls, ({ body }) => body.tool_use_id);
  for (const [id, own] of byId) {
    expect(new Set(own.map(({ webhookId }) => webhookId)).size, `${id} has one id`).toBe(1);
    expect(new Set(own.map(({ body }) => JSON.stringify(body))).size, `${id} is the same call`).toBe(1);
    if (own[0]?.body.name === 'pay_once') expect(own.length, `${id} is called once`).toBe(1);
  }
  for (const { call, decision } of callers.decisions) {
    const made = byId.get(call) ?? [];
    if (decision.decision === 'deny') expect(made, 'what was denied is not done').toEqual([]);
    if (decision.input) for (const { body } of made) expect(body.input).toEqual(decision.input);
  }
  for (const rows of callers.rows.values()) {
    for (const block of rows.flatMap(({ content }) => (typeof content === 'string' ? [] : content))) {
      if (block.type !== 'tool_result' || block.is_error) continue;
      const results = (byId.get(block.tool_use_id) ?? []).map(({ result }) => result);
      expect(results.some((result) => JSON.stringify(block.content).includes(result))).toBe(true);
    }
  }
}

/** Each event was labelled once, and whatever has ended was told. */
async function expectTold(lives: RestartingEdge, callers: Callers, receiver: Told): Promise<void> {
  await eventually(async () => {
    const rows = await lives.getAllPages<EventRow>('/webhooks/github/events');
    expect(rows.filter(({ state }) => state !== 'delivered')).toEqual([]);
  });
  const rows = await lives.getAllPages<EventRow>('/webhooks/github/events');
  expect(rows.map(({ event_id }) => event_id).sort()).toEqual([...callers.events].sort());
  expect(rows.filter(({ label }) => label !== 'bug')).toEqual([]);
  for (const id of callers.events) expect(receiver.told.has(id), id).toBe(true);
  await eventually(() => {
    const told = [...receiver.told.values()].map(([text = '']) => JSON.parse(text));
    const ended = told.filter(({ type }) => type === 'turn.ended').map(({ turn }) => turn.id);
    for (const { turn } of callers.turns) expect(ended.filter((id) => id === turn)).toEqual([turn]);
  });
  await eventually(() => {
    for (const { id } of [...callers.batches, ...callers.classifications]) {
      expect(receiver.told.has(`evt_${id}`), id).toBe(true);
    }
  });
  expect(receiver.unsigned()).toBe(0);
  for (const [id, texts] of receiver.told) expect([...texts], `${id} is told as one event`).toHaveLength(1);
}

/** Has days and minutes pass, a life each, until all batches have ended, also those of which nobody knows whether they were made. */
async function untilEnded(lives: RestartingEdge, callers: Callers): Promise<void> {
  const all = [
    ...callers.batches.map(({ id }) => `/v1/messages/batches/${id}`),
    ...callers.classifications.map(({ id }) => `/classifications/${id}`),
  ];
  for (let nth = 0; ; nth += 1) {
    await lives.kill();
    await lives.start(LONGEST_LOST + nth * LONGEST_BUSY);
    const ending = vi.waitFor(
      async () => {
        for (const path of all) {
          const { processing_status } = await lives.getJson<{ processing_status: string }>(path);
          expect(processing_status, path).toBe('ended');
        }
      },
      { timeout: nth < MOST_LOOKS ? 2_500 : 240_000, interval: 200 },
    );
    const hasEnded = await ending.then(
      () => true,
      (thrown: unknown) => {
        if (nth === MOST_LOOKS) throw thrown;
        return false;
      },
    );
    if (hasEnded) return;
  }
}

/** Batches have ended, and each was made once. */
async function expectEnded(lives: RestartingEdge, callers: Callers, api: Api): Promise<void> {
  expect(new Set(callers.batches.map(({ id }) => id)).size).toBe(callers.batches.length);
  for (const [body, made] of api.batches) expect(made.length, body).toBe(1);
  const all = [
    ...callers.batches.map(({ id, items }) => ({ path: `/v1/messages/batches/${id}`, items })),
    ...callers.classifications.map(({ id, inputs }) => ({ path: `/classifications/${id}`, items: inputs })),
  ];
  for (const { path, items } of all) {
    const { request_counts, results_url } = await lives.getJson<{
      request_counts: Record<string, number>;
      results_url: string | null;
    }>(path);
    if (results_url === null) {
      // Its last bytes have never gone up, or nobody knows.
      const { expired = 0, errored = 0 } = request_counts;
      expect([0, items.length]).toContain(errored);
      expect(expired + errored).toBe(items.length);
      continue;
    }
    const { text } = await lives.requestUntilAnswered(`${path}/results`);
    const lines = text
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line));
    const ids = lines.filter(({ type }) => type !== 'summary').map((line) => line.custom_id ?? line.id);
    expect(ids.sort()).toEqual(items);
  }
}

/** Nothing is set aside any more, no request is booked twice, and none for less than the API has billed. */
async function expectPaid(lives: RestartingEdge, callers: Callers, api: Api): Promise<void> {
  // Of what a kill has cut in the last lives some is set aside still: for a quarter of an hour at most.
  await lives.kill();
  await lives.start(lives.aheadSeconds + LONGEST_HELD);
  const accounts = ['dev', 'webhook-github'];
  for (const account of accounts) {
    await eventually(async () => {
      const { running_requests, total } = await lives.getJson<QuotaReport>(`/accounts/${account}`);
      expect({ account, running_requests, held: total.held_usd }).toEqual({ account, running_requests: 0, held: 0 });
    });
  }
  const ledgers = await Promise.all(
    accounts.map((account) => lives.getAllPages<LedgerRow>(`/usage/requests?account=${account}`)),
  );
  const ledger = ledgers.flat();
  expect(new Set(ledger.map(({ request_id }) => request_id)).size, 'no row twice').toBe(ledger.length);
  const answers = ledger.flatMap(({ upstream_request_id }) => upstream_request_id ?? []);
  expect(new Set(answers).size, 'no answer is booked twice').toBe(answers.length);
  for (const id of callers.requests) expect(ledger.filter(({ request_id }) => request_id === id)).toHaveLength(1);
  for (const row of ledger) {
    expect(row.status, row.request_id).not.toBe('held');
    const bill = api.bills.get(row.upstream_request_id ?? '') ?? 0;
    expect(row.cost_usd + 1e-8, JSON.stringify(row)).toBeGreaterThanOrEqual(bill);
  }
  let billed = [...api.bills.values()].reduce((sum, bill) => sum + bill, 0);
  for (const [id] of api.batches.values()) billed += await billOfBatch(api, id ?? '');
  const booked = ledger.reduce((sum, { cost_usd }) => sum + cost_usd, 0);
  expect(booked + 1e-6).toBeGreaterThanOrEqual(billed);
}

/** @returns what the API bills for a batch, in dollars: half of what its answers cost */
async function billOfBatch({ simulate }: Api, id: string): Promise<number> {
  const url = `https://api.anthropic.com/v1/messages/batches/${id}/results`;
  const headers = { 'x-api-key': 'key', 'anthropic-version': '2023-06-01' };
  const text = await (await simulate(url, { headers })).text();
  const lines = text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
  return lines.reduce((sum, { result }) => sum + (result.message ? computePrice(result.message) / 2 : 0), 0);
}

/** A backup of all that has survived is whole, and another deployment takes it up as it is. */
async function expectMoved(lives: RestartingEdge, callers: Callers, start: () => Promise<Edge>): Promise<void> {
  const { written: lines, said } = await backupOf(lives.url);
  expect(hasEnd(lines), said).toBe(true);
  expectInBackup(lines, callers.rows);
  const other = await start();
  try {
    const restored = await script('restore', other.url, lines);
    expect(restored.written, restored.said).toContain(`\nconversations: ${callers.rows.size}\n`);
    for (const [conversation, rows] of callers.rows) {
      const moved = (await (await fetch(`${other.url}/conversations/${conversation}/messages?limit=1000`)).json()) as {
        data: HistoryRow[];
      };
      expectSameRows(moved.data, rows, conversation);
    }
  } finally {
    await other.stop();
  }
}
