import { DurableObject } from 'cloudflare:workers';
import type { Account, Settlement } from './least-account.ts';
import { Answer } from './least-answer.ts';

export { Account } from './least-account.ts';

interface Env {
  ANTHROPIC_BASE_URL: string;
  CONVERSATION: DurableObjectNamespace<Conversation>;
  ACCOUNT: DurableObjectNamespace<Account>;
}

/** A call of the Worker, as JSON beside the body: what the object needs of the request. */
interface Call {
  id: string;
  account: string;
  conversation: string;
  headers: Record<string, string>;
}

/** A settlement that waits for the next admission of this isolate, which takes it along. */
interface Waiting {
  account: string;
  text: string;
  isTaken: boolean;
  isSettled: boolean;
}

const WATCH_MS = 30_000;
const RIDE_MS = 20;
const TABLES = `
  create table meta (key text primary key, value text not null) strict, without rowid;
  create table turns (
    seq integer primary key, id text not null, status text not null, began_at integer not null, ended_at integer,
    hold integer, cost integer, usage text, settled integer not null default 0
  ) strict;
  create table messages (seq integer primary key, turn integer not null, text text not null) strict;
  create table log (
    turn integer not null, n integer not null, first integer not null, text text not null, primary key (turn, n)
  ) strict, without rowid`;
const decoder = new TextDecoder();
const waiting = new Set<Waiting>();

interface Profile {
  turns: number;
  messages: number;
  cost: number;
}

/**
 * The least conversation that keeps what every turn must keep. It stores the turn before anything goes up, has it admitted,
 * sends the history with it, stores and shows its events under numbers, stores the answer in one step, and has it settled, with
 * the next admission where there is one. It writes as many rows as the product. It has nothing else: it checks nothing, knows no
 * blocks but text, and what it stores for those who resume, nobody can ask for.
 */
export class Conversation extends DurableObject<Env> {
  readonly #sql: SqlStorage;
  #profile: Profile = { turns: 0, messages: 0, cost: 0 };
  #isNew: boolean;
  #isRunning = false;
  /** The messages so far, each as JSON; undefined until they are read. */
  #history: string[] | undefined;
  #alarmAt: number | null = null;

  constructor(ctx: DurableObjectState, env: Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarmAt = await ctx.storage.getAlarm();
    });
    this.#isNew = this.#sql.exec("select 1 from sqlite_master where name = 'meta'").toArray().length === 0;
    if (this.#isNew) return;
    const [row] = this.#sql.exec<{ value: string }>("select value from meta where key = 'profile'");
    if (row) this.#profile = JSON.parse(row.value) as Profile;
    for (const { seq } of this.#sql.exec("select seq from turns where settled = 0 and status = 'running'").toArray()) {
      // A crash has interrupted it. What it holds, the account settles by its alarm.
      this.#sql.exec("update turns set status = 'interrupted', settled = 1 where seq = ?", seq);
      this.#sql.exec('delete from messages where turn = ?', seq);
    }
  }

  /** @returns the events of the answer: as text where all of it came at once, else as a stream */
  async turn(called: string, body: string): Promise<string | ReadableStream<Uint8Array>> {
    if (this.#isRunning) throw new Error('A turn runs.');
    this.#isRunning = true;
    try {
      return await this.#turn(JSON.parse(called) as Call, body);
    } catch (thrown) {
      // It wakes again, and ends the turn as after a crash.
      this.ctx.abort(String(thrown));
      throw thrown;
    }
  }

  async #turn(
    { id, account, conversation, headers }: Call,
    body: string,
  ): Promise<string | ReadableStream<Uint8Array>> {
    if (this.#isNew) this.#sql.exec(TABLES);
    this.#isNew = false;
    const { messages, ...rest } = JSON.parse(body) as { messages: object[] };
    const news = messages.map((message) => JSON.stringify(message));
    this.#history ??= this.#sql
      .exec<{ text: string }>('select text from messages order by seq')
      .toArray()
      .map(({ text }) => text);
    const now = Date.now();
    const turn = this.#profile.turns + 1;
    this.#sql.exec("insert into turns (seq, id, status, began_at) values (?, ?, 'running', ?)", turn, id, now);
    for (const [n, text] of news.entries()) this.#addMessage(this.#profile.messages + n + 1, turn, text);
    this.#history.push(...news);
    this.#wakeAt(now + WATCH_MS);
    const hold = JSON.stringify({ id, conversation, nanodollars: (body.length + 1024) * 1000 });
    const taken = [...waiting].filter((one) => one.account === account && !one.isTaken);
    for (const one of taken) one.isTaken = true;
    const along = taken.length === 0 ? undefined : `[${taken.map(({ text }) => text).join(',')}]`;
    const admitted = await this.#accountOf(account).admit(hold, along);
    for (const one of taken) one.isSettled = true;
    if (!admitted) throw new Error('Nothing is left.');
    const sent = JSON.stringify(rest);
    const response = await fetch(`${this.env.ANTHROPIC_BASE_URL}/v1/messages`, {
      method: 'POST',
      headers,
      body: `${sent.slice(0, -1)},"messages":[${this.#history.join(',')}]}`,
    });
    if (!response.ok || !response.body) throw new Error(`The upstream has answered ${response.status}.`);
    const answer = new Answer(id);
    const reader = response.body.getReader({ mode: 'byob' });
    let buffer = new ArrayBuffer(65_536);
    /** @returns whether the answer is complete */
    const takeNext = async (): Promise<boolean> => {
      const { value } = await reader.read(new Uint8Array(buffer));
      if (!value || value.length === 0) throw new Error('The answer was cut.');
      buffer = value.buffer;
      answer.take(decoder.decode(value, { stream: true }));
      return answer.isComplete;
    };
    const end = () => this.#end(answer, turn, news.length, { id, account, conversation });
    while (answer.shown === '') {
      if (!(await takeNext())) continue;
      end();
      return answer.shown;
    }
    this.#storeLog(answer, turn);
    const { readable, writable } = new IdentityTransformStream();
    const writer = writable.getWriter();
    const carry = async () => {
      for (let isComplete = false; ; isComplete = await takeNext()) {
        if (isComplete) end();
        const shown = answer.takeShown();
        // Who has left must not hold the turn up.
        if (shown !== '') void writer.write(new TextEncoder().encode(shown)).catch(() => undefined);
        if (isComplete) break;
      }
      await writer.close();
    };
    this.ctx.waitUntil(carry().catch((thrown: unknown) => this.ctx.abort(String(thrown))));
    return readable;
  }

  #end(answer: Answer, turn: number, news: number, { id, account, conversation }: Omit<Call, 'headers'>): void {
    const text = answer.message;
    const nanodollars = answer.outputTokens * 5_000;
    this.#storeLog(answer, turn);
    this.#addMessage(this.#profile.messages + news + 1, turn, text);
    this.#history?.push(text);
    this.#sql.exec(
      "update turns set status = 'complete', ended_at = ?, cost = ?, usage = ? where seq = ?",
      ...[Date.now(), nanodollars, answer.usage, turn],
    );
    const { messages, cost } = this.#profile;
    this.#profile = { turns: turn, messages: messages + news + 1, cost: cost + nanodollars };
    this.#sql.exec("insert or replace into meta values ('profile', ?)", JSON.stringify(this.#profile));
    this.#isRunning = false;
    const settlement = { id, conversation, nanodollars, turns: turn, messages: this.#profile.messages };
    this.ctx.waitUntil(this.#settle(account, turn, settlement));
  }

  async #settle(account: string, turn: number, settlement: Settlement): Promise<void> {
    const own = { account, text: JSON.stringify(settlement), isTaken: false, isSettled: false };
    waiting.add(own);
    await new Promise((resolve) => setTimeout(resolve, RIDE_MS));
    // Who took it along may still wait for the answer.
    if (own.isTaken && !own.isSettled) await new Promise((resolve) => setTimeout(resolve, RIDE_MS));
    waiting.delete(own);
    if (!own.isSettled) {
      await this.#accountOf(account).settle(`[${own.text}]`);
    }
    this.#sql.exec('update turns set settled = 1 where seq = ?', turn);
  }

  #accountOf(name: string): DurableObjectStub<Account> {
    return this.env.ACCOUNT.get(this.env.ACCOUNT.idFromName(name));
  }

  #wakeAt(time: number): void {
    if (this.#alarmAt !== null && this.#alarmAt <= time) return;
    this.#alarmAt = time;
    void this.ctx.storage.setAlarm(time);
  }

  #storeLog(answer: Answer, turn: number): void {
    const { first, n, text } = answer.takeLog();
    if (text !== '') this.#sql.exec('insert into log values (?, ?, ?, ?)', turn, n, first, text);
  }

  #addMessage(seq: number, turn: number, text: string): void {
    this.#sql.exec('insert into messages values (?, ?, ?)', seq, turn, text);
  }

  override alarm(): void {
    this.#alarmAt = null;
  }
}

/** Hands the request to the conversation that it names. */
export default {
  async fetch(request: Request, env: Env): Promise<Response> {
    const conversation = request.headers.get('x-object') ?? '';
    const headers = { 'content-type': 'application/json', 'x-bench': request.headers.get('x-bench') ?? '' };
    const account = request.headers.get('x-account') ?? '';
    const call: Call = { id: crypto.randomUUID(), account, conversation, headers };
    const stub = env.CONVERSATION.get(env.CONVERSATION.idFromName(conversation));
    const answer = await stub.turn(JSON.stringify(call), await request.text());
    return new Response(answer, { headers: { 'content-type': 'text/event-stream; charset=utf-8' } });
  },
};
