/** Conversations with the strategy `summarize`, at an upstream whose summaries a test makes. */
import { runInDurableObject } from 'cloudflare:test';
import { expect } from 'vitest';
import { Transcript } from '#edge/conversations/history/storage/transcript.ts';
import { getAccountStub } from '#edge/durable/stubs.ts';
import { getSummaryRows as summariesOfTranscript } from '#edge/plugins/summaries/summary-rows.ts';
import { findBrokenRule } from './api-rules.ts';
import { createBody } from './app.ts';
import { bindings, installSimulator, readConversation, setConversationUpstream, stubOf } from './conversations.ts';
import { eventually } from './eventually.ts';
import { sendTurn, type TurnRequestOptions } from './turns.ts';
import { sseResponse } from './wire.ts';
import { createSimulatorWithoutThinking } from './without-thinking.ts';

/** A body as it came up. */
export interface UpstreamBody {
  messages: Parameters<typeof findBrokenRule>[0];
  max_tokens: number;
  tools?: object[];
}

/** Answers a request; undefined leaves it to the simulator. */
type AnswerOverride = (
  body: UpstreamBody,
  init: { signal?: AbortSignal | null },
) => Response | undefined | Promise<Response | undefined>;

export const isSummaryRequest = ({ messages }: UpstreamBody): boolean =>
  JSON.stringify(messages.at(-1)).includes('Summarize this conversation');

/** Has conversations answered by the simulator, but for what `answering` answers. @returns what came up */
export function installSimulatorUnless(answering: AnswerOverride = () => undefined, { vars = {} } = {}) {
  const settings = installSimulator(vars);
  const sent: UpstreamBody[] = [];
  const simulator = createSimulatorWithoutThinking({ ttftMs: 0, tokensPerSecond: 0 });
  setConversationUpstream(
    async (url, init) => {
      const text = await new Response(init.body ?? '').text();
      const body = JSON.parse(text) as UpstreamBody;
      const sendToSimulator = () => simulator(new Request(url, { ...init, body: text }));
      if (url.includes('count_tokens')) return await sendToSimulator();
      sent.push(body);
      expect(findBrokenRule(body.messages)).toBeUndefined();
      const own = await answering(body, init);
      if (own) return own;
      const answer = await sendToSimulator();
      return new Response(createBody([await answer.bytes()]), answer);
    },
    { baseURL: 'https://api.test' },
  );
  return { sent, settings };
}

/** An error in the API's form. */
export function createErrorResponse(status: number, message = 'No.', code?: string): Response {
  const error = { type: 'invalid_request_error', message, ...(code && { details: { error_code: code } }) };
  return Response.json({ type: 'error', error }, { status });
}

/** A stream of these pieces, and then its end, a break, or silence until it is left. */
export function createStream(pieces: readonly string[], end: 'whole' | 'cut' | 'silent', signal?: AbortSignal | null) {
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
  return sseResponse(body);
}

const conversationKey = { account: 'alice', id: 'c1' };
export const LIMIT = 2_000;

export async function createConversationWith(history: object = {}, more: object = {}): Promise<void> {
  const fields = {
    model: 'claude-opus-5-5',
    max_tokens: 60,
    history: { max_tokens: LIMIT, strategy: 'summarize', ...history },
    ...more,
  };
  await stubOf().createConversation(conversationKey, fields as never, {});
}

export const questionBody = (content: string, more: object = {}) => ({
  messages: [{ role: 'user', content }],
  ...more,
});
export const createLongText = (n: number) =>
  `Box ${n} has come. ${'And so on, as before. '.repeat(30)}Remember: box ${n} is number ${1_000 + n}.`;

/** Says something again and again. @returns what each turn has told of its history */
export async function sendManyTurns(
  turns: number,
  from = 0,
  options: TurnRequestOptions = {},
): Promise<(string | undefined)[]> {
  const told: (string | undefined)[] = [];
  for (let turn = from; turn < from + turns; turn += 1) {
    const answer = await sendTurn(questionBody(createLongText(turn)), options);
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

export async function readSummaries(id = 'c1'): Promise<Summary[]> {
  return ((await readConversation(id))?.summaries ?? []) as Summary[];
}

/** The rows of a conversation's summaries, whatever has become of them. */
export async function readSummaryRows(id = 'c1') {
  return await runInDurableObject(stubOf(id), (_, { storage }) => {
    const summaries = summariesOfTranscript(new Transcript(storage));
    return Array.from({ length: summaries.highestId }, (_, at) => summaries.get(at + 1)).flatMap((row) => row ?? []);
  });
}

const roundUsd = (sum: number) => Math.round(sum * 1e9) / 1e9;

/** Waits until all has ended. @returns what was booked for it, once all books agree */
export async function readBooked(id = 'c1'): Promise<{ summaries: number; rows: number }> {
  const account = getAccountStub(bindings, {}, 'alice');
  await eventually(async () => {
    const { running_requests, day } = await account.getQuotaReport();
    expect({ running_requests, held: day.held_usd }).toEqual({ running_requests: 0, held: 0 });
    expect((await readSummaryRows(id)).every(({ settled }) => settled)).toBe(true);
  });
  const rows = (await account.listRequests({ limit: 500 })).data.filter(({ conversation }) => conversation === id);
  const sumCosts = (costRows: typeof rows) =>
    roundUsd(costRows.reduce((all, { cost_usd }) => all + (cost_usd ?? 0), 0));
  const whole = sumCosts(rows);
  await eventually(async () => {
    expect(roundUsd(Number((await readConversation(id))?.cost_usd))).toBe(whole);
    const listed = (await account.listConversations({ limit: 100 })).data.find((one) => one.id === id);
    expect(roundUsd(Number(listed?.cost_usd))).toBe(whole);
  });
  const own = rows.filter(({ route }) => route === 'summary');
  return { summaries: sumCosts(own), rows: own.length };
}
