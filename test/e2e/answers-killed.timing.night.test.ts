import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, inject, test } from 'vitest';
import type { LedgerRow } from '#edge/money/account/usage-answers.schema.ts';
import { createRandom } from '#test/support/audit.ts';
import { type Edge, startEdge } from '#test/support/edge.ts';
import { eventually } from '#test/support/eventually.ts';
import { areRowsAccepted, type HistoryRow, parseEvents, type ReceivedEvent } from '#test/support/restarting-edge.ts';
import { SECRET } from '#test/support/tokens.ts';
import { sseEvent as eventOf, messageStart, TEXT_BLOCK_START } from '#test/support/wire.ts';

// The edge dies in the middle of answers that two clients follow. What they were shown and what is kept is compared with what
// the API had sent by then. `ANSWER_KILLS=200` kills more often; `--silent=false` shows the figures.

const KILLS = Number(process.env.ANSWER_KILLS ?? '4');
const SEED = Number(process.env.ANSWER_SEED ?? '1');
const PROMPT_TOKENS = 3_000;
/** A slow and a fast stream for each kill: nanodollars a token, milliseconds between two deltas, and the tokens of each. */
const STREAMS = [
  { model: 'claude-opus-5-5', input: 4_000, output: 20_000, everyMs: 66, tokens: 2 },
  { model: 'claude-haiku-4-5-20251001', input: 1_000, output: 5_000, everyMs: 10, tokens: 1.5 },
];
const CHARACTERS_OF_TOKEN = 3.5;
const PROMPT = 'the gate rises, and water runs on to the mill; '
  .repeat(300)
  .slice(0, PROMPT_TOKENS * CHARACTERS_OF_TOKEN);
/** A kill comes after so many deltas of the slow stream at most: about nine seconds. */
const MOST_DELTAS = 136;
/** What may be lost: what was shown in this time, or since the beginning, and a second for what is on its way. */
const [MOST_LOST_MS, ON_ITS_WAY_MS] = [4_000, 1_000];

interface Sent {
  at: number;
  text: string;
}

/** The API: it writes numbered words until its connection is closed, and knows when it has sent each. */
async function startApi() {
  const sent = new Map<string, Sent[]>();
  const server: Server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (piece) => {
      body += String(piece);
    });
    request.on('end', () => write(body, response, sent));
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, sent, stop };
}

function write(body: string, response: ServerResponse, sent: Map<string, Sent[]>): void {
  const [, name = '', at = ''] = /(answer-\d+-(\d+))/.exec(body) ?? [];
  const { model, everyMs, tokens } = STREAMS[Number(at)] ?? {};
  const words: Sent[] = [];
  sent.set(name, words);
  const usage = { input_tokens: PROMPT_TOKENS, output_tokens: 1 };
  response.writeHead(200, { 'content-type': 'text/event-stream', 'request-id': `req_${name}` });
  response.write(messageStart({ id: `msg_${name}`, model, usage }) + TEXT_BLOCK_START);
  const writing = setInterval(() => {
    if (response.destroyed || response.socket?.destroyed) {
      clearInterval(writing);
      return;
    }
    const text = `${`w${words.length}`.padEnd(Math.round((tokens ?? 1) * CHARACTERS_OF_TOKEN) - 1, '.')} `;
    words.push({ at: performance.now(), text });
    response.write(eventOf('content_block_delta', { index: 0, delta: { type: 'text_delta', text } }));
  }, everyMs);
  response.on('close', () => clearInterval(writing));
}

/** Follows a stream until it ends or is cut. @returns its events and its text */
async function follow(url: string, init: RequestInit = {}): Promise<{ events: ReceivedEvent[]; text: string }> {
  let text = '';
  try {
    const response = await fetch(url, init);
    const decoder = new TextDecoder();
    for await (const piece of response.body ?? []) text += decoder.decode(piece, { stream: true });
  } catch {
    // The edge was killed.
  }
  return { events: parseEvents(text).filter(({ id }) => id !== ''), text };
}

const questionOf = (id: string) => `Tell of ${id}: ${PROMPT}`;
const numberOf = ({ id }: ReceivedEvent) => Number(/-(\d+)$/.exec(id)?.[1]);
const textOf = (events: readonly ReceivedEvent[]) =>
  events.map(({ frame }) => JSON.parse(/^data: (.*)$/m.exec(frame)?.[1] ?? '{}').delta?.text ?? '').join('');

/** What a kill has done to one answer. */
interface Loss {
  ms: number;
  characters: number;
  /** What the turn is booked at, by what the API bills. */
  ratio: number;
}

test(
  `${KILLS} kills during slow and fast responses lose at most five seconds of the forwarded text, and repeat no event`,
  async () => {
    const disk = await mkdtemp(join(tmpdir(), 'sluice-answers-'));
    const api = await startApi();
    const vars = {
      SIGNING_SECRET: SECRET,
      ANTHROPIC_API_KEY: 'key',
      ANTHROPIC_BASE_URL: api.url,
    };
    const draw = createRandom(SEED);
    const losses: Loss[] = [];
    let edge: Edge = await startEdge(inject('worker'), vars, disk);
    try {
      for (let kill = 0; kill < KILLS; kill += 1) {
        const followed = STREAMS.map(({ model }, at) => {
          const id = `answer-${kill}-${at}`;
          const body = { model, max_tokens: 4_000, stream: true, conversation: id };
          const asked = JSON.stringify({ ...body, messages: [{ role: 'user', content: questionOf(id) }] });
          const headers = { 'content-type': 'application/json' };
          return { id, shown: [follow(`${edge.url}/messages`, { method: 'POST', headers, body: asked })] };
        });
        await expect.poll(() => followed.every(({ id }) => (api.sent.get(id)?.length ?? 0) > 0)).toBe(true);
        for (const { id, shown } of followed) shown.push(follow(`${edge.url}/conversations/${id}/stream`));
        const deltas = Math.ceil(draw(0, MOST_DELTAS));
        const slow = followed[0]?.id ?? '';
        await expect.poll(() => api.sent.get(slow)?.length, { interval: 5 }).toBeGreaterThanOrEqual(deltas);
        const killedAt = performance.now();
        await edge.kill();
        edge = await startEdge(inject('worker'), vars, disk);
        for (const { id, shown } of followed) {
          const sent = (api.sent.get(id) ?? []).filter(({ at }) => at <= killedAt);
          losses.push(await lossOf(edge.url, id, await Promise.all(shown), { sent, killedAt }));
        }
      }
    } finally {
      await edge.stop();
      api.stop();
      await rm(disk, { recursive: true, force: true });
    }
    const spread = (values: readonly number[]) => {
      const sorted = values.toSorted((one, other) => one - other);
      return [0, 0.5, 0.9, 1].map((share) => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0);
    };
    const [ms, characters, ratios] = (['ms', 'characters', 'ratio'] as const).map((of) =>
      spread(losses.map((loss) => loss[of])),
    );
    process.stdout.write(
      `least, median, nine of ten, most: lost ${ms?.map(Math.round).join(', ')} ms; ${characters?.join(', ')} characters; booked ${ratios?.map((ratio) => ratio.toFixed(2)).join(', ')} × the bill\n`,
    );
    expect(ratios?.[0]).toBeGreaterThanOrEqual(1);
    // Of a few kills the middle one moves with the machine: beside other work 3.1 was seen. Hundreds are held to 3.
    expect(ratios?.[1]).toBeLessThanOrEqual(KILLS < 50 ? 4 : 3);
  },
  600_000 + KILLS * 15_000,
);

/** Checks what both clients were shown against what is kept, and the ledger against the bill. */
async function lossOf(
  url: string,
  id: string,
  shown: readonly { events: ReceivedEvent[] }[],
  { sent, killedAt }: { sent: readonly Sent[]; killedAt: number },
): Promise<Loss> {
  const { data: rows } = (await (await fetch(`${url}/conversations/${id}/messages`)).json()) as { data: HistoryRow[] };
  const [question, answer] = rows;
  expect(question?.content, id).toBe(questionOf(id));
  expect(areRowsAccepted(rows), id).toBeUndefined();
  const blocks = typeof answer?.content === 'string' || !answer ? [] : answer.content;
  const kept = blocks.map((block) => (block.type === 'text' ? block.text : '')).join('');
  const came = sent.map(({ text }) => text).join('');
  // The API does not take an answer that ends with a space, so that is not kept.
  const said = came.startsWith(kept) ? kept : kept.trimEnd();
  expect(came.startsWith(said), `${id} keeps what was said, in its order`).toBe(true);
  const { events: log } = await follow(`${url}/conversations/${id}/stream?after=${turnOf(answer)}-0`);
  const frames = new Map(log.map((event) => [event.id, event.frame]));
  for (const { events } of shown) {
    const last = events.at(-1);
    const resumed = await follow(`${url}/conversations/${id}/stream`, {
      headers: { 'last-event-id': last?.id ?? `${turnOf(answer)}-0` },
    });
    const all = [...events, ...resumed.events];
    const numbers = all.map(numberOf);
    expect(numbers, `${id} shows each event once, in order`).toEqual([...new Set(numbers)].sort((a, b) => a - b));
    expect(came.startsWith(textOf(events)), id).toBe(true);
    for (const event of all) expect(frames.get(event.id) ?? event.frame, event.id).toBe(event.frame);
    const firstLost = events.find((event) => !frames.has(event.id));
    // Who has seen what is lost is told so; others are told nothing.
    const told = /^: sluice-gap (\d+)-(\d+)$/m.exec(resumed.text);
    expect(told?.[1], id).toBe(firstLost && String(numberOf(firstLost)));
    if (firstLost) expect(told?.[2]).toBe(String(last && numberOf(last)));
  }
  let until = 0;
  const lost = sent.find(({ text }) => {
    until += text.length;
    return until > said.length + 1;
  });
  const ms = lost ? killedAt - lost.at : 0;
  const writtenMs = killedAt - (sent[0]?.at ?? killedAt);
  expect(ms, id).toBeLessThanOrEqual(Math.min(MOST_LOST_MS, writtenMs) + ON_ITS_WAY_MS);
  let cost = 0;
  await eventually(async () => {
    const { data } = (await (await fetch(`${url}/usage/requests?limit=20`)).json()) as { data: LedgerRow[] };
    const own = data.find(({ conversation }) => conversation === id);
    expect(own?.status, id).toBe('interrupted');
    cost = own?.cost_usd ?? 0;
  });
  const { input = 0, output = 0, tokens = 0 } = STREAMS[Number(id.at(-1))] ?? {};
  const bill = (PROMPT_TOKENS * input + sent.length * tokens * output) / 1e9;
  return { ms, characters: came.length - said.length, ratio: cost / bill };
}

const turnOf = (row: HistoryRow | undefined) => row?.turn ?? '';
