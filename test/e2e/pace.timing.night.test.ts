import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { bearer, tokenOf } from '../support/tokens.ts';
import { type MeasuredEdge, startMeasuredEdge } from './repeats/edge.ts';
import { type Ask, MODEL, times } from './repeats/row.ts';

/**
 * The longest that another tenant may wait, in milliseconds of CPU of the thread that all share, besides the parsing of the
 * body: once for itself, and once for the values that are made of it.
 */
const MOST_MS = 150;
const TRIES = 6;

let edge: MeasuredEdge;
beforeAll(async () => {
  edge = await startMeasuredEdge(inject('worker'));
});
afterAll(() => edge.stop());

/** @returns what the engine takes to parse a text, in milliseconds of CPU: it does so in one piece, as nobody else can */
function parsingMs(text: string): number {
  const begun = process.cpuUsage();
  JSON.parse(text);
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1_000;
}

/** @returns the most CPU that others got while somebody waited for `/health`, in milliseconds */
async function longestWait(attack: Ask): Promise<number> {
  let hasEnded = false;
  let longest = 0;
  // While the attack was made, the runtime may have closed connections. Nobody has heard of that yet.
  await new Promise(setImmediate);
  const attacking = edge.send(attack).finally(() => {
    hasEnded = true;
  });
  while (!hasEnded) {
    const before = edge.cpuMs();
    await (await fetch(`${edge.url}/health`)).text();
    longest = Math.max(longest, edge.cpuMs() - before);
  }
  await attacking;
  return longest;
}

const ASKED = { model: MODEL, max_tokens: 10 };
const HI = { role: 'user', content: 'Hi' };
const OK = { role: 'assistant', content: 'ok' };
const asking = (body: object, status = 200, path = '/v1/messages'): Ask => ({
  path,
  status,
  body: JSON.stringify(body),
});
const talk = (length: number) => times(length, (nth) => (nth % 2 ? OK : { ...HI, content: `word ${nth}` }));
const answers = (length: number) => ({
  ...ASKED,
  conversation: 'begun',
  messages: [HI, ...times(length, () => OK), HI],
});
const keys = (length: number) => Object.fromEntries(times(length, (nth) => [`k${nth.toString(36)}`, 1]));
const deep = times(1_000, (nth) => Object.fromEntries(times(100, (at) => [`k${nth * 100 + at}`, 1])));
const classifying = (length: number) =>
  asking(
    {
      labels: ['red', 'blue'],
      batch: true,
      inputs: times(length, (nth) => ({ id: `i${nth}`, input: `Is it? ${nth}` })),
    },
    202,
    '/classify',
  );
const POOR = { usd_per_day: 0, requests_per_minute: 0, count_requests_per_minute: 0 };
const COUNT = '/v1/messages/count_tokens';

const ATTACKS: Record<string, () => Ask> = {
  'answers in a row to a conversation': () => asking(answers(16_000), 400),
  'answers in a row to be counted': () => asking(answers(16_000), 400, COUNT),
  '99,000 answers in a row': () => asking(answers(99_000), 400),
  'a short body of answers in a row, of an account without a budget': () => ({
    ...asking(answers(7_000), 429),
    headers: poor,
  }),
  'the same to be counted': () => ({ ...asking(answers(7_000), 429, COUNT), headers: poor }),
  'an object of many keys': () => asking({ ...ASKED, messages: [HI], metadata: keys(700_000) }, 413),
  'many objects of other keys': () => asking({ ...ASKED, messages: [HI], metadata: { deep } }, 413),
  'many empty lists': () => asking({ ...ASKED, messages: [HI], metadata: { lists: times(740_000, () => []) } }),
  'a classification by batch': () => classifying(20_000),
  'the longest classification by batch': () => classifying(100_000),
  'a classification by batch of inputs that are none': () =>
    asking({ labels: ['red', 'blue'], batch: true, inputs: times(100_000, () => 1) }, 400, '/classify'),
  'a conversation that begins with a long history': () => asking({ messages: talk(99_000) }, 201, '/conversations'),
  'the longest first turn': () =>
    asking({ ...ASKED, conversation: crypto.randomUUID(), messages: [...talk(4_998), HI] }),
  'a long prompt': () => asking({ ...ASKED, messages: [{ ...HI, content: 'a"\\'.repeat(4e6) }] }),
};
let poor: Record<string, string>;
beforeAll(async () => {
  poor = bearer(await tokenOf('poor'));
  await edge.send({ path: '/accounts/poor/limits', method: 'PUT', body: POOR });
  await edge.send(asking({ ...ASKED, conversation: 'begun', messages: [HI] }));
});

test.runIf(process.platform === 'linux').each(Object.entries(ATTACKS))(
  '%s keeps nobody waiting',
  async (what, attack) => {
    let [least, most] = [Number.POSITIVE_INFINITY, 0];
    for (let tried = 0; tried < TRIES && least >= most; tried += 1) {
      const ask = attack();
      most = MOST_MS + 2 * parsingMs(String(ask.body));
      least = Math.min(least, await longestWait(ask));
    }
    process.stdout.write(`${what}: others waited ${least.toFixed(0)} ms of CPU at most, of ${most.toFixed(0)}\n`);
    expect(least).toBeLessThan(most);
  },
);
