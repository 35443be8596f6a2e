/** An edge that is killed again and again on one disk, and callers that outlive it. */
import { expect } from 'vitest';
import { brokenRule } from './api-rules.ts';
import type { Draw } from './draw.ts';
import type { Edge } from './edge.ts';

/** An event of a stream, as it was shown. */
export interface Event {
  id: string;
  event: string;
  frame: string;
}

/** A message as the history has it. */
export interface Row {
  id: string;
  role: 'user' | 'assistant';
  content: Parameters<typeof brokenRule>[0][number]['content'];
  status: string;
  turn: string;
  cost_usd?: number;
  origin?: 'edge' | 'import';
}

export function eventsIn(text: string): Event[] {
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
export const isAccepted = (rows: readonly Row[]) =>
  brokenRule([
    ...rows.filter(({ content }) => content.length > 0).map(({ role, content }) => ({ role, content })),
    { role: 'user', content: 'And then?' },
  ]);

export const JSON_TYPE = { 'content-type': 'application/json' };
export const post = (body: object) => ({ method: 'POST', headers: JSON_TYPE, body: JSON.stringify(body) });

/** Compares messages with what they were. Of what a kill has interrupted, its account may say the cost a moment later. */
export function expectSame(now: readonly Row[], before: readonly Row[], conversation: string): void {
  const isUnknown = (row: Row | undefined) => row?.status === 'interrupted' && row.cost_usd === 0;
  const told = now.map((row, at) => (isUnknown(before[at]) ? { ...row, cost_usd: 0 } : row));
  expect(told, conversation).toEqual(before);
}

/** What the test sees happen. Kills are counted by it, so that no clock decides when they come. */
export type Seen = 'event' | 'sent' | 'answer' | 'asked' | 'called' | 'delivered' | 'summary' | 'summarized';

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
  events: Event[];
  text: string;
  isCut: boolean;
}

/** More than this is never seen in one life: what is to be counted may not come any more. */
const MOST_SEEN = 400;

/** The lives of one edge. What is sent waits while it is dead. */
export class Lives {
  /** The seconds that its clock is ahead. */
  ahead = 0;
  /** Whether the kills are over, so that whoever works goes on no longer than for what it has begun. */
  isOver = false;
  /** What no kill explains: faults that the edge has logged itself. */
  readonly faults: unknown[] = [];
  readonly #start: (ahead: number) => Promise<Edge>;
  #edge: Edge | undefined;
  #life = 0;
  #seen = 0;
  #alive = Promise.withResolvers<void>();
  #plan: { what: Seen; left: number; done(killed: Promise<void>): void } | undefined;
  #waiting: { until: number; go(): void }[] = [];

  constructor(start: (ahead: number) => Promise<Edge>) {
    this.#start = start;
  }

  get life(): number {
    return this.#life;
  }

  get url(): string {
    return this.#edge?.url ?? '';
  }

  /** What the edge has logged last. */
  get lastLines(): string {
    return JSON.stringify(this.#edge?.log.slice(-40) ?? []);
  }

  async begin(ahead = 0): Promise<void> {
    this.ahead = ahead;
    this.#edge = await this.#start(ahead);
    this.#life += 1;
    this.#alive.resolve();
  }

  /** Kills the edge when something was seen so many times, in the very moment in which it is. */
  async killAfter(what: Seen, times: number): Promise<void> {
    this.#seen = 0;
    this.#waiting = this.#waiting.map(({ go }) => ({ until: 1, go }));
    await new Promise<void>((done) => {
      this.#plan = { what, left: times, done };
    });
  }

  /** Takes back what was to kill it: nothing happens any more that would be counted. */
  disarm(): void {
    this.#plan?.done(Promise.resolve());
    this.#plan = undefined;
  }

  async kill(): Promise<void> {
    const edge = this.#edge;
    this.#edge = undefined;
    this.#alive = Promise.withResolvers();
    await edge?.kill();
    this.#readLog(edge);
  }

  async end(): Promise<void> {
    this.over();
    await this.#edge?.stop();
    this.#readLog(this.#edge);
  }

  over(): void {
    this.isOver = true;
    for (const { go } of this.#waiting.splice(0)) go();
  }

  note(what: Seen): void {
    this.#seen += 1;
    for (const one of this.#waiting.filter(({ until }) => until <= this.#seen)) {
      this.#waiting.splice(this.#waiting.indexOf(one), 1);
      one.go();
    }
    const plan = this.#plan;
    if (!plan) return;
    if (what === plan.what) plan.left -= 1;
    if (plan.left > 0 && this.#seen < MOST_SEEN) return;
    this.#plan = undefined;
    plan.done(this.kill());
  }

  /** Waits until so much more was seen, or the kills are over. */
  async later(times: number): Promise<void> {
    if (!this.isOver) await new Promise<void>((go) => this.#waiting.push({ until: this.#seen + times, go }));
  }

  /** @returns the answer; undefined where a kill has cut it @throws Error where something else has */
  async ask(path: string, init: RequestInit = {}): Promise<Answer | undefined> {
    return await this.#sent(path, init, async (response) => {
      const text = await response.text();
      this.note('answer');
      return { status: response.status, headers: response.headers, text };
    });
  }

  /** Asks until there is an answer. */
  async answered(path: string, init: RequestInit = {}): Promise<Answer> {
    for (;;) {
      const answer = await this.ask(path, init);
      if (answer) return answer;
    }
  }

  /** @throws Error where the answer is no success */
  async get<T>(path: string): Promise<T> {
    const { status, text } = await this.answered(path);
    expect(status, `${path}: ${text}`).toBe(200);
    return JSON.parse(text) as T;
  }

  /** @returns all rows of a list, page by page */
  async pages<T>(path: string): Promise<T[]> {
    const rows: T[] = [];
    for (let after = ''; ; ) {
      const page = await this.get<{ data: T[]; has_more: boolean; last_id: string | null }>(
        `${path}${path.includes('?') ? '&' : '?'}limit=500${after}`,
      );
      rows.push(...page.data);
      if (!page.has_more) return rows;
      after = `&after_id=${page.last_id}`;
    }
  }

  /** Reads a stream until it ends, or is cut. */
  async stream(path: string, init: RequestInit = {}): Promise<Stream> {
    const come: Stream = { status: 0, headers: new Headers(), events: [], text: '', isCut: false };
    const ended = await this.#sent(path, init, async (response) => {
      come.status = response.status;
      come.headers = response.headers;
      const decoder = new TextDecoder();
      let rest = '';
      for await (const piece of response.body ?? []) {
        const text = decoder.decode(piece, { stream: true });
        come.text += text;
        rest += text;
        const events = eventsIn(rest);
        const end = rest.lastIndexOf('\n\n');
        if (end >= 0) rest = rest.slice(end + 2);
        for (const event of events.filter(({ id }) => id !== '')) {
          come.events.push(event);
          this.note('event');
        }
      }
      return true;
    });
    return { ...come, isCut: !ended };
  }

  async #sent<T>(path: string, init: RequestInit, read: (response: Response) => Promise<T>): Promise<T | undefined> {
    while (!this.#edge) await this.#alive.promise;
    const life = this.#life;
    const edge = this.#edge;
    // A kept connection may be closed by the edge in the moment in which it is used again, which looks like a kill.
    const headers = new Headers(init.headers);
    headers.set('connection', 'close');
    try {
      const answering = fetch(edge.url + path, { ...init, headers });
      this.note('sent');
      return await read(await answering);
    } catch (cause) {
      if (life === this.#life && this.#edge === edge) throw new Error(`No kill has cut ${path}.`, { cause });
      return undefined;
    }
  }

  #readLog(edge: Edge | undefined): void {
    this.faults.push(...(edge?.log.filter(({ error_type }) => String(error_type).startsWith('internal')) ?? []));
  }
}

/** Counts turns, and has somebody wait until there were so many. */
export class Progress {
  #done = 0;
  #waiting: { until: number; go(): void }[] = [];

  note(): void {
    this.#done += 1;
    for (const { go } of this.#waiting.filter(({ until }) => until <= this.#done)) go();
    this.#waiting = this.#waiting.filter(({ until }) => until > this.#done);
  }

  async reached(until: number): Promise<void> {
    if (this.#done < until) await new Promise<void>((go) => this.#waiting.push({ until, go }));
  }
}

/** What a kill waits for, and how often at most. */
export type Moment = readonly [what: Seen, most: number];

/** Kills the edge so often, and begins it anew. The kills are spread over what is done. */
export async function killOften(
  lives: Lives,
  progress: Progress,
  { kills, of, moments, draw }: { kills: number; of: number; moments: readonly Moment[]; draw: Draw },
): Promise<void> {
  for (let nth = 1; nth <= kills; nth += 1) {
    await progress.reached(Math.floor((nth * of) / (kills + 1)));
    const [what, most] = moments[draw(moments.length)] as Moment;
    await lives.killAfter(what, 1 + draw(most));
    if (lives.url === '') await lives.begin();
  }
}
