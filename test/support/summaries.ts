/** Conversations with the strategy `summarize`, at an upstream whose summaries a test makes. */
import { runInDurableObject } from 'cloudflare:test';
import { expect } from 'vitest';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { accountStub } from '#edge/durable/stubs.ts';
import { summariesIn } from '#edge/plugins/summaries/summary-rows.ts';
import { brokenRule } from './api-rules.ts';
import { bodyOf } from './app.ts';
import { bindings, conversationsReach, readOf, simulate, stubOf } from './conversations.ts';
import { eventually } from './eventually.ts';
import { type Asked, ask } from './turns.ts';
import { sse } from './wire.ts';
import { simulatorWithoutThinking } from './without-thinking.ts';

/** A body as it came up. */
export interface Up {
  messages: Parameters<typeof brokenRule>[0];
  max_tokens: number;
  tools?: object[];
}

/** Answers a request; undefined leaves it to the simulator. */
type Answering = (
  body: Up,
  init: { signal?: AbortSignal | null },
) => Response | undefined | Promise<Response | undefined>;

export const isForSummary = ({ messages }: Up): boolean =>
  JSON.stringify(messages.at(-1)).includes('Summarize this conversation');

/** Has conversations answered by the simulator, but for what `answering` answers. @returns what came up */
export function upstreamOf(answering: Answering = () => undefined, { vars = {} } = {}) {
  const settings = simulate(vars);
  const sent: Up[] = [];
  const simulator = simulatorWithoutThinking({ ttftMs: 0, tokensPerSecond: 0 });
  conversationsReach(
    async (url, init) => {
      const text = await new Response(init.body ?? '').text();
      const body = JSON.parse(text) as Up;
      const toSimulator = () => simulator(new Request(url, { ...init, body: text }));
      if (url.includes('count_tokens')) return await toSimulator();
      sent.push(body);
      expect(brokenRule(body.messages)).toBeUndefined();
      const own = await answering(body, init);
      if (own) return own;
      const answer = await toSimulator();
      return new Response(bodyOf([await answer.bytes()]), answer);
    },
    { baseURL: 'https://api.test' },
  );
  return { sent, settings };
}

/** An error in the API's form. */
export function refusal(status: number, message = 'No.', code?: string): Response {
  const error = { type: 'invalid_request_error', message, ...(code && { details: { error_code: code } }) };
  return Response.json({ type: 'error', error }, { status });
}

/** A stream of these pieces, and then its end, a break, or silence until it is left. */
export function streamOf(pieces: readonly string[], end: 'whole' | 'cut' | 'silent', signal?: AbortSignal | null) {
  const rest = pieces.map((piece) => new TextEncoder().encode(piece));
  const body = new ReadableStream({
    type: 'bytes',
    async pull(controller) {
      const next = rest.shift();
      if (next) return controller.enqueue(next);
      if (end === 'whole') {
        controller.close();
        return controller.byobRequest?.respond(0);
      }
      if (end === 'cut') return controller.error(new Error('connection reset'));
      await new Promise((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)));
    },
  });
  return sse(body);
}

const place = { account: 'alice', id: 'c1' };
export const LIMIT = 2_000;

export async function createWith(history: object = {}, more: object = {}): Promise<void> {
  const fields = {
    model: 'claude-opus-5-5',
    max_tokens: 60,
    history: { max_tokens: LIMIT, strategy: 'summarize', ...history },
    ...more,
  };
  await stubOf().create(place, fields as never, {});
}

export const question = (content: string, more: object = {}) => ({ messages: [{ role: 'user', content }], ...more });
export const long = (n: number) =>
  `Box ${n} has come. ${'And so on, as before. '.repeat(30)}Remember: box ${n} is number ${1_000 + n}.`;

/** Says something again and again. @returns what each turn has told of its history */
export async function talk(turns: number, from = 0, asked: Asked = {}): Promise<(string | undefined)[]> {
  const told: (string | undefined)[] = [];
  for (let turn = from; turn < from + turns; turn += 1) {
    const answer = await ask(question(long(turn)), asked);
    if (answer.kind !== 'stream') throw new Error(JSON.stringify(answer));
    told.push(answer.headers['sluice-history']);
    await new Response(answer.body).text();
  }
  return told;
}

export interface Summary {
  until: string;
  content: string;
  cost_usd: number;
}

export async function summariesOf(id = 'c1'): Promise<Summary[]> {
  return ((await readOf(id))?.summaries ?? []) as Summary[];
}

/** The rows of a conversation's summaries, whatever has become of them. */
export async function summaryRowsOf(id = 'c1') {
  return await runInDurableObject(stubOf(id), (_, { storage }) => {
    const summaries = summariesIn(new Transcript(storage));
    return Array.from({ length: summaries.given }, (_, at) => summaries.get(at + 1)).flatMap((row) => row ?? []);
  });
}

const usd = (sum: number) => Math.round(sum * 1e9) / 1e9;

/** Waits until all has ended. @returns what was booked for it, once all books agree */
export async function booked(id = 'c1'): Promise<{ summaries: number; rows: number }> {
  const account = accountStub(bindings, {}, 'alice');
  await eventually(async () => {
    const { running_requests, day } = await account.quota();
    expect({ running_requests, held: day.held_usd }).toEqual({ running_requests: 0, held: 0 });
    expect((await summaryRowsOf(id)).every(({ settled }) => settled)).toBe(true);
  });
  const rows = (await account.requests({ limit: 500 })).data.filter(({ conversation }) => conversation === id);
  const sum = (of: typeof rows) => usd(of.reduce((all, { cost_usd }) => all + (cost_usd ?? 0), 0));
  const whole = sum(rows);
  await eventually(async () => {
    expect(usd(Number((await readOf(id))?.cost_usd))).toBe(whole);
    const listed = (await account.conversations({ limit: 100 })).data.find((one) => one.id === id);
    expect(usd(Number(listed?.cost_usd))).toBe(whole);
  });
  const own = rows.filter(({ route }) => route === 'summary');
  return { summaries: sum(own), rows: own.length };
}
