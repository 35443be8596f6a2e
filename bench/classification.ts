import { readFileSync } from 'node:fs';
import { mintToken } from '../src/auth/mint.ts';
import { bare, type Contender, SIGNING_SECRET } from './contenders.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { quantile, type Spread, spread } from './statistics.ts';
import { align, number } from './table.ts';

/** What labelling costs beside the call itself: against the upstream directly, and what many inputs take at once. */
export interface Classification {
  /** Milliseconds from a request to its answer, one after the other. */
  directMs: Spread;
  oneMs: Spread;
  /** For each of many inputs in one request. */
  eachMs: Spread;
  /** Of the runtime's process for each input, in milliseconds; undefined where that cannot be read. */
  bareCpu: Spread | undefined;
  oneCpu: Spread | undefined;
  eachCpu: Spread | undefined;
  /** By how much the process grew beyond its largest so far, in bytes. */
  manyBytes: number | undefined;
}

const INPUTS = 256;
const INPUT_BYTES = 32 * 1024;
const REQUESTS = 150;
const LABELS = ['billing', 'bug', 'other'];
const AFTERWORK_MS = 300;

const { token } = await mintToken(SIGNING_SECRET, { account: 'bench', scopes: ['classify'] });
const classifying: Contender = {
  name: 'classify',
  worker: 'wrangler.toml',
  path: '/classify',
  headers: () => ({ authorization: `Bearer ${token}` }),
  vars: { SIGNING_SECRET, ANTHROPIC_API_KEY: 'bench' },
  ceilings: [],
};

/** A request like the one that /classify makes of an input. */
const MESSAGE = JSON.stringify({
  model: 'claude-haiku-5-5',
  max_tokens: 80,
  system: 'Label the text: billing, bug or other.',
  messages: [{ role: 'user', content: 'The gate does not open, and I was charged for it.' }],
});
const one = (n: number) => JSON.stringify({ input: `The gate does not open, ${n}.`, labels: LABELS, cache_seconds: 0 });
const many = (n: number, bytes: number) =>
  JSON.stringify({
    inputs: Array.from({ length: INPUTS }, (_, index) => ({
      id: String(index),
      input: `${n} ${index} ${'The gate does not open. '.repeat(Math.ceil(bytes / 24))}`.slice(0, bytes),
    })),
    labels: LABELS,
    cache_seconds: 0,
  });

async function post(url: string, body: string, headers: Record<string, string>): Promise<number> {
  const start = performance.now();
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'anthropic-version': '2023-06-01', ...headers },
    body,
  });
  const text = await response.text();
  const elapsed = performance.now() - start;
  // A refusal must not look like an answer: each input has its label.
  const labels = text.split('\\"label\\":\\"bug\\"').length + text.split('"label":"bug"').length - 2;
  const expected = body.includes('"inputs"') ? INPUTS : 1;
  if (!response.ok || labels !== expected) throw new Error(`classification: ${response.status}, ${text.slice(0, 300)}`);
  return elapsed;
}

/** @returns the p50 of a number of requests, and the CPU that each took */
async function measure(server: Server | undefined, requests: number, send: (n: number) => Promise<number>) {
  const before = server?.cpuMs();
  const times: number[] = [];
  for (let n = 0; n < requests; n += 1) times.push(await send(n));
  await new Promise((resolve) => setTimeout(resolve, AFTERWORK_MS));
  const after = server?.cpuMs();
  const cpu = before === undefined || after === undefined ? undefined : (after - before) / requests;
  return { ms: quantile(times, 0.5), cpu };
}

/** The memory of a process at its largest so far, in bytes. */
function peakBytes(pid: number | undefined): number | undefined {
  if (pid === undefined || process.platform !== 'linux') return undefined;
  const [, kilobytes] = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? [];
  return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
}

/** Measures labelling in rounds: directly, through the bare Worker, one input a request, and 256 in one. */
export async function measureClassification(
  bundles: { bare: Bundle; deployed: Bundle },
  upstream: string,
  rounds: number,
): Promise<Classification> {
  const servers = {
    bare: await startServer(bare, bundles.bare, upstream),
    classify: await startServer(classifying, bundles.deployed, upstream),
  };
  const key = { 'x-api-key': 'bench' };
  const own = classifying.headers(0, 0);
  const url = `${servers.classify.origin}/classify`;
  const results: Record<'direct' | 'bare' | 'one' | 'each', { ms: number[]; cpu: number[] }> = {
    direct: { ms: [], cpu: [] },
    bare: { ms: [], cpu: [] },
    one: { ms: [], cpu: [] },
    each: { ms: [], cpu: [] },
  };
  const note = (name: keyof typeof results, { ms, cpu }: { ms: number; cpu: number | undefined }, inputs = 1) => {
    results[name].ms.push(ms / inputs);
    if (cpu !== undefined) results[name].cpu.push(cpu / inputs);
  };
  let sent = 0;
  // No two requests are the same.
  const next = () => {
    sent += 1;
    return sent;
  };
  // The first is for the runtime's compiler.
  for (let round = 0; round <= rounds; round += 1) {
    const direct = await measure(undefined, REQUESTS, () => post(`${upstream}/v1/messages`, MESSAGE, key));
    const through = await measure(servers.bare, REQUESTS, () =>
      post(`${servers.bare.origin}/v1/messages`, MESSAGE, key),
    );
    const single = await measure(servers.classify, REQUESTS, () => post(url, one(next()), own));
    const each = await measure(servers.classify, 2, () => post(url, many(next(), 100), own));
    if (round === 0) continue;
    note('direct', direct);
    note('bare', through);
    note('one', single);
    note('each', each, INPUTS);
  }
  const before = peakBytes(servers.classify.pid);
  for (let n = 0; n < 3; n += 1) await post(url, many(next(), INPUT_BYTES), own);
  const after = peakBytes(servers.classify.pid);
  await servers.bare.stop();
  await servers.classify.stop();
  const cpuOf = ({ cpu }: { cpu: number[] }) => (cpu.length === 0 ? undefined : spread(cpu));
  return {
    directMs: spread(results.direct.ms),
    oneMs: spread(results.one.ms),
    eachMs: spread(results.each.ms),
    bareCpu: cpuOf(results.bare),
    oneCpu: cpuOf(results.one),
    eachCpu: cpuOf(results.each),
    manyBytes: before === undefined || after === undefined ? undefined : after - before,
  };
}

export function classificationTable(measured: Classification): string {
  const { directMs, oneMs, eachMs, bareCpu, oneCpu, eachCpu, manyBytes } = measured;
  const told = (value: Spread | undefined) =>
    value === undefined ? 'n/a' : `${number(value.median)} (${number(value.min)}–${number(value.max)})`;
  const memory = manyBytes === undefined ? 'n/a' : `${number(manyBytes / 1e6)} MB`;
  return [
    align([
      ['classification', 'ms an input', 'CPU ms an input'],
      ['  the upstream, called directly', told(directMs), ''],
      ['  the upstream, through the bare Worker', '', told(bareCpu)],
      ['  /classify, one input a request', told(oneMs), told(oneCpu)],
      [`  /classify, ${INPUTS} inputs in one request`, told(eachMs), told(eachCpu)],
    ]),
    `  memory that ${INPUTS} inputs of ${INPUT_BYTES / 1024} kB add to what the process had used before: ${memory}`,
  ].join('\n');
}
