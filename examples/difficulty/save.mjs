/**
 * Stores an agent that chooses its model by the classifier of this folder, asks it questions, and says what that has saved.
 *
 * node examples/difficulty/save.mjs [questions.jsonl], after evaluate.mjs has stored the classifier. Set SLUICE_URL and
 * SLUICE_TOKEN for an edge that is not local.
 */
import { readFile } from 'node:fs/promises';

const { SLUICE_URL = 'http://localhost:8787', SLUICE_TOKEN } = process.env;
const AT_ONCE = 16;
/** An arm says nothing before it has a hundred conversations. */
const LEAST = 400;
/** Half of all are compared with, so that few are enough. Of real traffic a twentieth is plenty. */
const AGENT = {
  description: 'Answers short questions',
  model: {
    by: 'difficulty',
    models: { easy: 'claude-haiku-5-5', hard: 'claude-opus-5-5' },
    otherwise: 'claude-opus-5-5',
    control: 0.5,
  },
  max_tokens: 2_048,
};

/** Sends JSON to the edge. Returns the answer; throws an Error with the edge's sentence. */
async function send(method, path, body) {
  const authorization = SLUICE_TOKEN ? { authorization: `Bearer ${SLUICE_TOKEN}` } : {};
  const headers = { 'content-type': 'application/json', ...authorization };
  const response = await fetch(SLUICE_URL + path, { method, headers, body: body && JSON.stringify(body) });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`);
  return JSON.parse(text);
}

const { version } = await send('PUT', '/agents/router', AGENT);
const file = process.argv[2] ?? new URL('questions.jsonl', import.meta.url);
const questions = (await readFile(file, 'utf8')).split('\n').filter((line) => line.trim() !== '');
const rounds = Math.ceil(LEAST / questions.length);
const left = Array.from({ length: rounds }, () => questions).flat();
// A run of its own asks in conversations of its own.
const run = Date.now().toString(36);
let [asked, answered] = [0, 0];
const work = async () => {
  for (let line = left.pop(); line !== undefined; line = left.pop()) {
    asked += 1;
    const conversation = `router-${run}-${asked}`;
    const messages = [{ role: 'user', content: JSON.parse(line).input }];
    await send('POST', '/messages', { agent: version, conversation, messages, stream: false });
    answered += 1;
    if (answered % 100 === 0) console.error(`${answered} of ${rounds * questions.length}`);
  }
};
await Promise.all(Array.from({ length: AT_ONCE }, work));

/** Sums come to an admin as accounts tell them, within a minute. */
const told = async () => {
  const { arms, saved } = await send('GET', `/agents/router/stats?version=${version}`);
  const counted = arms.reduce((sum, { conversations }) => sum + conversations, 0);
  return counted >= asked ? { arms, saved } : undefined;
};
let stats = await told();
for (let seconds = 0; !stats && seconds < 90; seconds += 1) {
  await new Promise((resolve) => setTimeout(resolve, 1_000));
  stats = await told();
}
if (!stats) throw new Error('The sums have not come. Ask again for GET /agents/router/stats.');
for (const { arm, conversations, cost_usd_per_conversation: each } of stats.arms)
  console.log(`${arm}: ${conversations} conversations, $${each} each`);
const percent = (share) => `${(100 * share).toFixed(1)} %`;
const { value, low, high } = stats.saved?.share ?? {};
console.log(stats.saved ? `Saved: ${percent(value)} (${percent(low)} to ${percent(high)})` : 'Saved: not known yet.');
