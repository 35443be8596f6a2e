/**
 * Proves with a real key what this repository believes of the Claude API: `npm run prove [-- --most-usd 0.50]`. It starts an
 * edge of its own, sends a fixed list of calls through it, and compares what comes with what the simulator and the table say.
 */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fromUsd, toUsd } from '../src/edge/claude/pricing/cost.ts';
import { keepSecrets, masked } from '../src/edge/kit/http/secrets.ts';
import { readArguments } from './arguments.ts';
import { bundleWorker } from './bundle.ts';
import { readDevVars } from './dev-vars.ts';
import { proveCalls, worstOf } from './prove-calls.ts';
import { fixtureOf } from './prove-fixtures.ts';
import { type Begun, beginBatch, judgeBatch, prove, type Send } from './prove-run.ts';
import { runWorker } from './run-worker.ts';

const USAGE = 'npm run prove -- [--most-usd 0.50] [--without CALL …] [--batch] [--into FOLDER]';
const API = 'https://api.anthropic.com';
const ROOT = fileURLToPath(new URL('..', import.meta.url));
/** What is not for others: the edge's state, the batch that was begun, answers that differ. */
const OWN = join(ROOT, '.wrangler/prove');
const BATCH = join(OWN, 'batch.json');
const PAUSE_MS = 100;

const { values } = readArguments(USAGE, {
  options: {
    'most-usd': { type: 'string', default: '0.50' },
    without: { type: 'string', multiple: true, default: [] },
    batch: { type: 'boolean', default: false },
    into: { type: 'string' },
  },
});
const given = { ...(await readDevVars()), ...process.env };
const { ANTHROPIC_API_KEY: key = '', ANTHROPIC_BASE_URL: base = API } = given;
if (key === '') stop('There is no ANTHROPIC_API_KEY in the environment or in .dev.vars. Nothing was sent.');
keepSecrets('prove', [key]);
const isClaude = new URL(base).origin === API;
const { into = isClaude ? join(ROOT, 'test/fixtures/proved') : undefined } = values;
const most = fromUsd(Number(values['most-usd']));
const calls = proveCalls().filter(({ name, path }) =>
  values.batch
    ? path === '/v1/messages' && /^(answer-haiku|effort-refused)$/.test(name)
    : !values.without.includes(name),
);
const worst = calls.reduce((sum, call) => sum + worstOf(call, values.batch), 0);
say(`${calls.length} calls, which cost at most $${toUsd(worst).toFixed(4)}.`);
if (!(worst <= most)) stop(`That is more than --most-usd ${values['most-usd']}. Nothing was sent.`);
if (!isClaude) say(`${base} is not the Claude API: this proves nothing about it.`);

const { code } = await bundleWorker({ SLUICE_SIMULATOR: 'false' });
const vars = { MODE: 'development', UPSTREAM: 'anthropic', ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: base };
const worker = await runWorker(code, vars, join(OWN, 'state'));
const edge: Send = (path, init) => fetch(worker.url + path, init);
const pause = () => new Promise<void>((resolve) => setTimeout(resolve, PAUSE_MS));
let differ = 0;
try {
  await limit();
  await (values.batch ? proveBatch() : proveAll());
} catch (thrown) {
  differ += 1;
  say(`It could not go on: ${thrown instanceof Error ? thrown.message : thrown}`);
} finally {
  await worker.stop();
}
say('Prices are not proved: no answer says what it costs. Compare the bill in the Console with the ledger.');
process.exit(differ === 0 ? 0 : 1);

/** Has the edge, too, spend no more than was said. */
async function limit(): Promise<void> {
  const { total } = (await (await edge('/accounts/dev', { method: 'GET' })).json()) as {
    total: { settled_usd: number };
  };
  const limits = { usd_total: toUsd(fromUsd(total.settled_usd) + most), on_shortfall: 'refuse' };
  const headers = { 'content-type': 'application/json' };
  const response = await edge('/accounts/dev/limits', { method: 'PUT', headers, body: JSON.stringify(limits) });
  if (!response.ok) throw new Error(`the edge took no limit: ${await response.text()}`);
}

async function proveAll(): Promise<void> {
  const date = new Date().toISOString();
  for await (const proved of prove(calls, { edge, run: date, pause })) {
    const { call, expected, came, booked, price, differences } = proved;
    const told = (facts: typeof came) =>
      [facts.status, facts.body.error?.type ?? facts.body.stop_reason, facts.body.content?.map(({ type }) => type)]
        .filter(Boolean)
        .join(' ');
    say(`${differences.length === 0 ? 'as expected' : 'DIFFERS    '}  ${call.name}: ${told(came)}`);
    say(`  expected ${told(expected)}; booked $${booked?.cost_usd ?? 0}; by its usage $${toUsd(price ?? 0)}`);
    for (const difference of differences) say(`  - ${difference}`);
    differ += Number(differences.length > 0);
    const folder = differences.length > 0 ? join(OWN, 'differing') : into;
    if (folder !== undefined) write(join(folder, `${call.name}.json`), fixtureOf(proved, date));
  }
  say(`${calls.length} calls, ${differ} with differences.`);
}

async function proveBatch(): Promise<void> {
  const begun = existsSync(BATCH) ? (JSON.parse(readFileSync(BATCH, 'utf8')) as Begun) : await beginBatch(calls, edge);
  write(BATCH, JSON.stringify(begun));
  const differences = await judgeBatch(calls, begun, { edge, pause });
  if (differences === undefined) return say('The batch has not ended. Run the same command again later: it goes on.');
  rmSync(BATCH);
  differ += differences.length;
  for (const difference of differences) say(`  - ${difference}`);
  say(`The batch has ended, with ${differences.length} differences.`);
}

function write(path: string, text: string): void {
  mkdirSync(join(path, '..'), { recursive: true });
  writeFileSync(path, masked(text));
}

function say(text: string): void {
  console.log(masked(text));
}

function stop(sentence: string): never {
  console.error(masked(sentence));
  process.exit(1);
}
