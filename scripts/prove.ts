/** Compares the Claude API, with a real key, to the simulator and the price table. It starts a separate Worker for that. */
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import Anthropic from '@anthropic-ai/sdk';
import { mintToken } from '../src/edge/auth/mint.ts';
import { toUsd, usdToNanodollars } from '../src/edge/claude/pricing/cost.ts';
import { maskSecrets, registerSecrets } from '../src/edge/kit/http/secrets.ts';
import type { LedgerRow } from '../src/edge/money/account/usage-answers.schema.ts';
import { readArguments } from './arguments.ts';
import { buildWorker } from './build-worker.ts';
import { readDevVars } from './dev-vars.ts';
import { stopWith } from './edge-calls.ts';
import { maximumCostOf, proveCalls } from './prove-calls.ts';
import { expectedPrice } from './prove-judge.ts';
import { createFixture, type ProvedCall, prove, type Send } from './prove-run.ts';
import { runWorker } from './run-worker.ts';

const API = 'https://api.anthropic.com';
/**
 * The folder for private files: the state of the Worker, the id of a running batch, and responses that differ from the expected
 * ones.
 */
const OWN = '.wrangler/prove';
const DIFFERING = `${OWN}/differing`;
const BATCH = `${OWN}/batch`;
const IN_BATCH = /^(answer-haiku|effort-refused)$/;
const PAUSE_MS = 100;

const text = { type: 'string' } as const;
const { values } = readArguments('npm run prove -- [--most-usd 0.50] [--without CALL] [--batch] [--into FOLDER]', {
  options: { 'most-usd': text, without: { ...text, multiple: true }, batch: { type: 'boolean' }, into: text },
});
const { ANTHROPIC_API_KEY: key = '', ANTHROPIC_BASE_URL: base = API } = { ...(await readDevVars()), ...process.env };
registerSecrets('prove', [key]);
process.on('uncaughtException', (thrown) =>
  stopWith(
    maskSecrets(`The test stopped: ${thrown}
Fix the problem, and run the command again.`),
  ),
);
const printLine = (text: string) => console.log(maskSecrets(text));
const isClaude = URL.canParse(base) && new URL(base).origin === API;
const into = values.into ?? (isClaude ? 'test/fixtures/proved' : OWN);
const most = usdToNanodollars(Number(values['most-usd'] ?? 0.5));
const isSent = (name: string) => (values.batch ? IN_BATCH.test(name) : !values.without?.includes(name));
const calls = proveCalls().filter(({ name }) => isSent(name));
const worst = calls.reduce((sum, call) => sum + maximumCostOf(call, values.batch), 0);
printLine(`${calls.length} calls, which cost at most $${toUsd(worst).toFixed(4)} in total.`);
if (!(worst <= most))
  stopWith('This is more than --most-usd, so nothing was sent. Raise --most-usd, or skip calls with --without.');
if (key === '')
  stopWith(
    'ANTHROPIC_API_KEY is not set in the environment or in .dev.vars, so nothing was sent. Set it, and run the command again.',
  );
if (!isClaude) printLine(`${base} is not the Claude API, so the results do not apply to the API.`);
for (const folder of [into, DIFFERING]) mkdirSync(folder, { recursive: true });

const { code } = await buildWorker();
const SIGNING_SECRET = randomBytes(32).toString('base64url');
const vars = { SIGNING_SECRET, ANTHROPIC_API_KEY: key, ANTHROPIC_BASE_URL: base };
const worker = await runWorker(code, vars, `${OWN}/edge`);
const { token } = await mintToken(SIGNING_SECRET, { account: 'dev', scopes: ['admin'] });
const edge: Send = (path, init) => {
  const headers = new Headers(init.headers);
  headers.set('x-api-key', token);
  return fetch(worker.url + path, { ...init, headers });
};
const pause = () => new Promise<void>((end) => setTimeout(end, PAUSE_MS));
const run = new Date().toISOString();
const client = new Anthropic({ baseURL: worker.url, apiKey: token });
let differing = 0;
const { total } = await client.get<{ total: { settled_usd: number } }>('/accounts/dev');
// Limit the account in Sluice, too, so that the calls cannot cost more than the announced maximum.
const limits = { usd_total: toUsd(usdToNanodollars(total.settled_usd) + most), on_shortfall: 'refuse' };
await client.put('/accounts/dev/limits', { body: limits });
if (values.batch) await proveBatch();
else for await (const proved of prove(calls, { edge, run, pause })) printResult(proved);
await worker.stop();
printLine(
  `${differing} differences. Responses do not contain prices, so compare your bill with the recorded costs above.`,
);
process.exit(differing === 0 ? 0 : 1);

function printResult(proved: ProvedCall): void {
  const { call, expected, came, booked, differences } = proved;
  const [is, was] = [came, expected].map(({ status, body: { error, stop_reason, content } }) =>
    [status, error?.type ?? stop_reason, content?.map(({ type }) => type).join()].filter(Boolean).join(' '),
  );
  const isRight = differences.length === 0;
  printLine(`${isRight ? 'as expected' : 'DIFFERS'}  ${call.name}: ${is}, expected ${was}`);
  printLine(`  booked $${booked?.cost_usd ?? 0}, by its usage $${toUsd(expectedPrice(came, values.batch) ?? 0)}`);
  for (const words of differences) printLine(`  - ${words}`);
  differing += differences.length;
  const name = `${values.batch ? 'batch-' : ''}${call.name}.json`;
  for (const folder of [into, DIFFERING]) rmSync(`${folder}/${name}`, { force: true });
  writeFileSync(`${isRight ? into : DIFFERING}/${name}`, createFixture(proved, run));
}

/** Creates a batch, or continues with the one that was created before. */
async function proveBatch(): Promise<void> {
  const { batches } = client.messages;
  const requests = calls.map(({ name, body }) => ({ custom_id: name, params: body as never }));
  if (!existsSync(BATCH)) writeFileSync(BATCH, (await batches.create({ requests })).id);
  const id = readFileSync(BATCH, 'utf8');
  const { processing_status } = await batches.retrieve(id);
  if (processing_status !== 'ended')
    return printLine('The batch is still running. Run the same command again within a day.');
  const results = await Array.fromAsync(await batches.results(id));
  const queue = calls.map(({ name }) => results.find(({ custom_id }) => custom_id === name)?.result);
  const stored: Send = async () => {
    const { message, error } = (queue.shift() ?? {}) as { message?: object; error?: object };
    return Response.json(message ?? error ?? {}, { status: message ? 200 : 400 });
  };
  let price = 0;
  for await (const proved of prove(calls, { edge: stored, run, pause, isBooked: false })) {
    printResult(proved);
    price += expectedPrice(proved.came, true) ?? 0;
  }
  const { data } = await client.get<{ data: LedgerRow[] }>('/usage/requests');
  // The ledger has a row for each model in the batch, so add them up.
  const booked = data
    .filter(({ batch }) => batch === id)
    .reduce((sum, { cost_usd }) => sum + usdToNanodollars(cost_usd), 0);
  if (booked !== price) differing += 1;
  printLine(`Batch: $${toUsd(booked)} recorded in the ledger, $${toUsd(price)} computed from its usage`);
  rmSync(BATCH);
}
