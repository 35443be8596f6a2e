import { afterAll, beforeAll, expect, inject, test } from 'vitest';
import { createLongBackup } from '#test/support/long-backup.ts';
import { bearerHeader, createToken } from '#test/support/tokens.ts';
import { type MeasuredEdge, startMeasuredEdge } from './repeats/edge.ts';
import { type Ask, MODEL, times } from './repeats/rows.ts';

/** Beside the parsing of a body, others may wait for as long as this much JSON is parsed on the same machine. */
const MEASURE = JSON.stringify(Array.from({ length: 120_000 }, (_, nth) => ({ role: 'user', content: `word ${nth}` })));
const TRIES = 6;

let edge: MeasuredEdge;
beforeAll(async () => {
  edge = await startMeasuredEdge(inject('worker'));
});
afterAll(() => edge.stop());

/** @returns what the engine takes to parse a text, in milliseconds of CPU: it does so in one piece, as nobody else can */
function parsingMs(text: string): number {
  // Lines are parsed one by one.
  const longest = text.split('\n').reduce((one, other) => (other.length > one.length ? other : one), '');
  if (longest === '') return 0;
  const begun = process.cpuUsage();
  JSON.parse(longest);
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / 1_000;
}

/** @returns the most CPU that others got while somebody waited for `/health`, in milliseconds */
async function longestWait(attack: readonly Ask[]): Promise<number> {
  let hasEnded = false;
  let longest = 0;
  // While the attack was made, the runtime may have closed connections. Nobody has heard of that yet.
  await new Promise(setImmediate);
  const attacking = Promise.all(attack.map(edge.send)).finally(() => {
    hasEnded = true;
  });
  // Where it fails, that is told below.
  attacking.catch(() => undefined);
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

const FORKED = 'short-messages';
const TEN_THOUSAND = 'ten-thousand';
/** @returns a request that restores a conversation of so many turns */
const restoring = (turns: number, id: string): Ask => ({
  method: 'PUT',
  path: `/accounts/dev/conversations/${id}/backup`,
  body: createLongBackup(turns),
  headers: { 'content-type': 'application/jsonl' },
  status: 201,
});
/** @returns what is asked of new conversations of 4,000 short messages */
const ofFresh = async (many: number, ask: (id: string) => Ask): Promise<Ask[]> => {
  const ids = times(many, () => crypto.randomUUID());
  for (const id of ids) await edge.send(restoring(2_000, id));
  return ids.map(ask);
};
const edgeCall = (nth: number) => [
  { type: 'mcp_tool_use', id: `call_${nth}`, name: 'dice', input: {}, server_name: 'edge' },
  { type: 'mcp_tool_result', tool_use_id: `call_${nth}`, is_error: false, content: [{ type: 'text', text: 'x' }] },
];
const calls = [HI, { role: 'assistant', content: times(20_000, edgeCall).flat() }, HI];
const reading = (path: string): Ask => ({ method: 'GET', path: `/conversations/${TEN_THOUSAND}/${path}` });
const page = (query: string) => reading(`messages?limit=1000${query}`);

const ATTACKS: Record<string, () => Ask | Ask[] | Promise<Ask[]>> = {
  '24 forks at once of 4,000 short messages': () =>
    times(24, () => ({ path: `/conversations/${FORKED}/fork`, body: {}, status: 201 })),
  'a fork of 10,000 messages': () => ({ path: `/conversations/${TEN_THOUSAND}/fork`, body: {}, status: 201 }),
  'an export of 10,000 messages': () => reading('export'),
  '24 exports at once, as shown': () => times(24, () => reading('export?view=shown')),
  'a backup of 10,000 messages': () => ({
    method: 'GET',
    path: `/accounts/dev/conversations/${TEN_THOUSAND}/backup`,
  }),
  'a backup that is restored': () => restoring(5_000, crypto.randomUUID()),
  '24 pages of 1,000 messages at once': () => times(24, () => page('')),
  '24 such pages as shown': () => times(24, () => page('&view=shown')),
  '8 rewinds at once': () => ofFresh(8, (id) => ({ path: `/conversations/${id}/rewind`, body: { before: 'msg_3' } })),
  '8 deletions at once': () => ofFresh(8, (id) => ({ method: 'DELETE', path: `/conversations/${id}` })),
  '20,000 calls of the edge in one message': () => asking({ ...ASKED, messages: calls }),
  '20,000 calls of the edge in a first turn': () =>
    asking({ ...ASKED, conversation: crypto.randomUUID(), messages: calls }, 400),
  '20,000 calls of the edge in an import': () => asking({ messages: calls.slice(0, 2) }, 201, '/conversations'),
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
  poor = bearerHeader(await createToken('poor'));
  await edge.send({ path: '/accounts/poor/limits', method: 'PUT', body: POOR });
  await edge.send(asking({ ...ASKED, conversation: 'begun', messages: [HI] }));
  await edge.send(restoring(2_000, FORKED));
  await edge.send(restoring(5_000, TEN_THOUSAND));
});

test.runIf(process.platform === 'linux').each(Object.entries(ATTACKS))(
  '%s delays other requests no longer than parsing a large JSON text takes',
  async (what, attack) => {
    let [least, most] = [Number.POSITIVE_INFINITY, 0];
    for (let tried = 0; tried < TRIES && least >= most; tried += 1) {
      const asks = [await attack()].flat();
      // The body is parsed once for itself, and once for the values that are made of it.
      most =
        parsingMs(MEASURE) + 2 * Math.max(...asks.map(({ body }) => parsingMs(typeof body === 'string' ? body : '')));
      least = Math.min(least, await longestWait(asks));
    }
    process.stdout.write(`${what}: others waited ${least.toFixed(0)} ms of CPU at most, of ${most.toFixed(0)}\n`);
    expect(least).toBeLessThan(most);
  },
);
