/** An edge that is killed again and again on one disk, and callers that outlive it. */
import { expect } from 'vitest';
import { findBrokenRule } from './api-rules.ts';
import type { Draw } from './create-draw.ts';
import type { Edge } from './edge.ts';

/** An event of a stream, as it was shown. */
export interface ReceivedEvent {
  id: string;
  event: string;
  frame: string;
}

/** A message as the history has it. */
export interface HistoryRow {
  id: string;
  role: 'user' | 'assistant';
  content: Parameters<typeof findBrokenRule>[0][number]['content'];
  status: string;
  turn: string;
  cost_usd?: number;
  origin?: 'edge' | 'import';
}

export function parseEvents(text: string): ReceivedEvent[] {
  const whole = text.slice(0, text.lastIndexOf('\n\n') + 2);
  return whole
    .split('\n\n')
    .filter((frame) => frame.includes('data: '))
    .map((frame) => ({
      id: /^id: (.*)$/m.exec(frame)?.[1] ?? '',
      event: /^event: (.*)$/m.exec(frame)?.[1] ?? '',
      frame: frame.replace(/^: .*\n\n?/gm, ''),
    }));
}

/** A row without content says that nothing of an answer was shown, and does not go up. */
export const areRowsAccepted = (rows: readonly HistoryRow[]) =>
  findBrokenRule([
    ...rows.filter(({ content }) => content.length > 0).map(({ role, content }) => ({ role, content })),
    { role: 'user', content: 'And then?' },
  ]);

export const JSON_HEADERS = { 'content-type': 'application/json' };
export const postInit = (body: object) => ({ method: 'POST', headers: JSON_HEADERS, body: JSON.stringify(body) });

/** Compares messages with what they were. Of what a kill has interrupted, its account may say the cost a moment later. */
export function expectSameRows(now: readonly HistoryRow[], before: readonly HistoryRow[], conversation: string): void {
  const hasUnknownCost = (row: HistoryRow | undefined) => row?.status === 'interrupted' && row.cost_usd === 0;
  const told = now.map((row, at) => (hasUnknownCost(before[at]) ? { ...row, cost_usd: 0 } : row));
  expect(told, conversation).toEqual(before);
}

/** What the test sees happen. Kills are counted by it, so that no clock decides when they come. */
export type ObservedEvent = 'event' | 'sent' | 'answer' | 'asked' | 'called' | 'delivered' | 'summary' | 'summarized';

/** An answer that has come whole. */
export interface Answer {
  status: number;
  headers: Headers;
  text: string;
}

/** A stream as far as it has come; `isCut` where a kill has ended it. */
export interface Stream {
  status: number;
  headers: Headers;
  events: ReceivedEvent[];
  text: string;
  isCut: boolean;
}

/** More than this is never seen in one life: what is to be counted may not come any more. */
const MAX_OBSERVED = 400;

/** The lives of one edge. What is sent waits while it is dead. */
export class RestartingEdge {
  /** The seconds that its clock is ahead. */
  aheadSeconds = 0;
  /** Whether the kills are over, so that whoever works goes on no longer than for what it has begun. */
  hasStoppedKilling = false;
  /** What no kill explains: faults that the edge has logged itself. */
  readonly faults: unknown[] = [];
  readonly #startEdge: (ahead: number) => Promise<Edge>;
  #edge: Edge | undefined;
  #startCount = 0;
  #observedCount = 0;
  #started = Promise.withResolvers<void>();
  #plannedKill: { observed: ObservedEvent; remaining: number; done(killed: Promise<void>): void } | undefined;
  #waiters: { until: number; go(): void }[] = [];

  constructor(start: (ahead: number) => Promise<Edge>) {
    this.#startEdge = start;
  }

  get startCount(): number {
    return this.#startCount;
  }

  get url(): string {
    return this.#edge?.url ?? '';
  }

  /** What the edge has logged last. */
  get lastLogLines(): string {
    return JSON.stringify(this.#edge?.log.slice(-40) ?? []);
  }

  async start(ahead = 0): Promise<void> {
    this.aheadSeconds = ahead;
    this.#edge = await this.#startEdge(ahead);
    this.#startCount += 1;
    this.#started.resolve();
  }

  /** Kills the edge when something was seen so many times, in the very moment in which it is. */
  async killAfter(observed: ObservedEvent, times: number): Promise<void> {
    this.#observedCount = 0;
    this.#waiters = this.#waiters.map(({ go }) => ({ until: 1, go }));
    await new Promise<void>((done) => {
      this.#plannedKill = { observed, remaining: times, done };
    });
  }

  /** Takes back what was to kill it: nothing happens any more that would be counted. */
  cancelKill(): void {
    this.#plannedKill?.done(Promise.resolve());
    this.#plannedKill = undefined;
  }

  async kill(): Promise<void> {
    const edge = this.#edge;
    this.#edge = undefined;
    this.#started = Promise.withResolvers();
    await edge?.kill();
    this.#readLog(edge);
  }

  async stop(): Promise<void> {
    this.stopKilling();
    await this.#edge?.stop();
    this.#readLog(this.#edge);
  }

  stopKilling(): void {
    this.hasStoppedKilling = true;
    for (const { go } of this.#waiters.splice(0)) go();
  }

  noteObserved(observed: ObservedEvent): void {
    this.#observedCount += 1;
    for (const one of this.#waiters.filter(({ until }) => until <= this.#observedCount)) {
      this.#waiters.splice(this.#waiters.indexOf(one), 1);
      one.go();
    }
    const plan = this.#plannedKill;
    if (!plan) return;
    if (observed === plan.observed) plan.remaining -= 1;
    if (plan.remaining > 0 && this.#observedCount < MAX_OBSERVED) return;
    this.#plannedKill = undefined;
    plan.done(this.kill());
  }

  /** Waits until so much more was seen, or the kills are over. */
  async waitForObserved(times: number): Promise<void> {
    if (!this.hasStoppedKilling)
      await new Promise<void>((go) => this.#waiters.push({ until: this.#observedCount + times, go }));
  }

  /** @returns the answer; undefined where a kill has cut it @throws Error where something else has */
  async request(path: string, init: RequestInit = {}): Promise<Answer | undefined> {
    return await this.#send(path, init, async (response) => {
      const text = await response.text();
      this.noteObserved('answer');
      return { status: response.status, headers: response.headers, text };
    });
  }

  /** Asks until there is an answer. */
  async requestUntilAnswered(path: string, init: RequestInit = {}): Promise<Answer> {
    for (;;) {
      const answer = await this.request(path, init);
      if (answer) return answer;
    }
  }

  /** @throws Error where the answer is no success */
  async getJson<T>(path: string): Promise<T> {
    const { status, text } = await this.requestUntilAnswered(path);
    expect(status, `${path}: ${text}`).toBe(200);
    return JSON.parse(text) as T;
  }

  /** @returns all rows of a list, page by page */
  async getAllPages<T>(path: string): Promise<T[]> {
    const rows: T[] = [];
    for (let after = ''; ; ) {
      const page = await this.getJson<{ data: T[]; has_more: boolean; last_id: string | null }>(
        `${path}${path.includes('?') ? '&' : '?'}limit=500${after}`,
      );
      rows.push(...page.data);
      if (!page.has_more) return rows;
      after = `&after_id=${page.last_id}`;
    }
  }

  /** Reads a stream until it ends, or is cut. */
  async readStream(path: string, init: RequestInit = {}): Promise<Stream> {
    const come: Stream = { status: 0, headers: new Headers(), events: [], text: '', isCut: false };
    const ended = await this.#send(path, init, async (response) => {
      come.status = response.status;
      come.headers = response.headers;
      const decoder = new TextDecoder();
      let rest = '';
      for await (const piece of response.body ?? []) {
        const text = decoder.decode(piece, { stream: true });
        come.text += text;
        rest += text;
        const events = parseEvents(rest);
        const end = rest.lastIndexOf('\n\n');
        if (end >= 0) rest = rest.slice(end + 2);
        for (const event of events.filter(({ id }) => id !== '')) {
          come.events.push(event);
          this.noteObserved('event');
        }
      }
      return true;
    });
    return { ...come, isCut: !ended };
  }

  async #send<T>(path: string, init: RequestInit, read: (response: Response) => Promise<T>): Promise<T | undefined> {
    while (!this.#edge) await this.#started.promise;
    const life = this.#startCount;
    const edge = this.#edge;
    // A kept connection may be closed by the edge in the moment in which it is used again, which looks like a kill.
    const headers = new Headers(init.headers);
    headers.set('connection', 'close');
    try {
      const answering = fetch(edge.url + path, { ...init, headers });
      this.noteObserved('sent');
      return await read(await answering);
    } catch (cause) {
      if (life === this.#startCount && this.#edge === edge) throw new Error(`No kill has cut ${path}.`, { cause });
      return undefined;
    }
  }

  #readLog(edge: Edge | undefined): void {
    this.faults.push(...(edge?.log.filter(({ error_type }) => String(error_type).startsWith('internal')) ?? []));
  }
}

/** Counts turns, and has somebody wait until there were so many. */
export class Progress {
  #turnCount = 0;
  #waiters: { until: number; go(): void }[] = [];

  noteTurn(): void {
    this.#turnCount += 1;
    for (const { go } of this.#waiters.filter(({ until }) => until <= this.#turnCount)) go();
    this.#waiters = this.#waiters.filter(({ until }) => until > this.#turnCount);
  }

  async waitForTurns(until: number): Promise<void> {
    if (this.#turnCount < until) await new Promise<void>((go) => this.#waiters.push({ until, go }));
  }
}

/** What a kill waits for, and how often at most. */
export type KillMoment = readonly [what: ObservedEvent, most: number];

/** Kills the edge so often, and begins it anew. The kills are spread over what is done. */
export async function killOften(
  lives: RestartingEdge,
  progress: Progress,
  { kills, of: totalTurns, moments, draw }: { kills: number; of: number; moments: readonly KillMoment[]; draw: Draw },
): Promise<void> {
  for (let nth = 1; nth <= kills; nth += 1) {
    await progress.waitForTurns(Math.floor((nth * totalTurns) / (kills + 1)));
    const [what, most] = moments[draw(moments.length)] as KillMoment;
    await lives.killAfter(what, 1 + draw(most));
    if (lives.url === '') await lives.start();
  }
}
