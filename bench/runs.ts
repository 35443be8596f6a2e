/** What a step of a run costs beside its upstream and its tools: time, rows, object calls, and what the prompt's cache misses. */
import { randomBytes } from 'node:crypto';
import { mintToken } from '../src/auth/mint.ts';
import { type Contender, counted, metered, SIGNING_SECRET } from './contenders.ts';
import { countDuring, countsBetween, type NamedCounts, passHour } from './counts.ts';
import { nextMessage, startChild } from './processes.ts';
import { type Bundle, type Server, startServer } from './server.ts';
import { type Spread, spread } from './statistics.ts';
import { align, number, verdict } from './table.ts';
import { textOf } from './workloads.ts';

/** What an upstream tells of a prompt, in tokens. */
export interface StepUsage {
  input_tokens: number;
  cache_read_input_tokens: number;
  cache_creation_input_tokens: number;
}

/** A request that the upstream or the tools have had, from its last byte to that of its answer; milliseconds. */
export type Exchange = { began: number; ended: number } & ({ kind: 'step'; usage: StepUsage } | { kind: 'call' });

/** Runs of one kind. */
interface Shape {
  title: string;
  steps: number;
  /** Calls of each step but the last one, and how long each takes. */
  tools: number;
  toolMs: number;
}

const STEPS = 5;
const [one, two, six]: readonly [Shape, Shape, Shape] = [
  { title: 'one tool', steps: STEPS, tools: 1, toolMs: 0 },
  { title: 'two tools', steps: STEPS, tools: 2, toolMs: 0 },
  { title: 'six tools of 100 ms', steps: STEPS, tools: 6, toolMs: 100 },
];
/** What longer runs have more is their steps'. */
const short: Shape = { title: 'two steps with one tool', steps: 2, tools: 1, toolMs: 0 };

const WARMING_RUNS = 20;
const RUNS = 20;
const SLOW_RUNS = 4;
const COUNTED_RUNS = 10;
/** More than the least that the model caches. */
const SYSTEM_BYTES = 40_000;
const CEILINGS = { addedMs: 5, rows: 8, rowsOfCall: 2, parallel: 1.5 };

export interface RunFigures {
  /** Milliseconds that a step with calls takes beyond its upstream and its tools: the middle step of each round. */
  added: { title: string; ms: Spread }[];
  /** How long six calls at the same time take, by what one of them takes. */
  parallel: number;
  /** Tokens of a prompt that the step before had too, and that were not read from the cache: of all steps. */
  unread: number;
  /** Of a step with one call, and of each further call in it. */
  step: NamedCounts;
  call: NamedCounts;
}

const { token } = await mintToken(SIGNING_SECRET, { account: 'bench', scopes: ['messages', 'tools'] });

export async function measureRuns(bundles: { deployed: Bundle; counted: Bundle }, rounds: number): Promise<RunFigures> {
  const { origin, vars, stop } = await startServers();
  const timing = await startServer({ ...metered, vars }, bundles.deployed, origin);
  await runAll(timing, origin, one, WARMING_RUNS);
  const taken = new Map<Shape, Exchange[][][]>([one, two, six].map((shape) => [shape, []]));
  for (let round = 0; round < rounds; round += 1) {
    for (const [shape, perRound] of taken) {
      perRound.push(await runAll(timing, origin, shape, shape.toolMs > 0 ? SLOW_RUNS : RUNS));
    }
  }
  await timing.stop();
  const runsOf = (shape: Shape) => taken.get(shape)?.flat() ?? [];
  const middlesOf = (shape: Shape) => (taken.get(shape) ?? []).map((runs) => spread(runs.flatMap(addedBySteps)).median);

  const { step, call } = await countSteps(bundles.counted, origin, vars);
  stop();
  return {
    added: [one, two, six].map((shape) => ({ title: shape.title, ms: spread(middlesOf(shape)) })),
    parallel:
      spread(
        runsOf(six)
          .flatMap(stepsOf)
          .map(({ calls }) => lastOf(calls) - firstOf(calls)),
      ).median / six.toolMs,
    unread: [one, two, six].flatMap(runsOf).reduce((sum, run) => sum + unreadIn(run), 0),
    step,
    call,
  };
}

/** Starts the upstream of runs with its tools. */
async function startServers() {
  const child = startChild(new URL('run-servers.ts', import.meta.url));
  const { port } = await nextMessage<{ port: number }>(child);
  const vars = {
    ...metered.vars,
    // Only in development a tool may be on the same machine.
    MODE: 'development',
    TOOL_HOSTS: `127.0.0.1:${port}`,
    TOOL_SIGNING_SECRET: `whsec_${randomBytes(32).toString('base64')}`,
  };
  return { origin: `http://127.0.0.1:${port}`, vars, stop: () => child.disconnect() };
}

/** @returns what a step with one call is billed for until an hour later */
export async function countStep(bundle: Bundle): Promise<NamedCounts> {
  const { origin, vars, stop } = await startServers();
  const { step } = await countSteps(bundle, origin, vars);
  stop();
  return step;
}

/** Counts a step with one call, and each further call in it, until an hour later. */
async function countSteps(bundle: Bundle, origin: string, vars: Contender['vars']) {
  const counting = await startServer({ ...counted, vars }, bundle, origin);
  await runAll(counting, origin, one, 1);
  await passHour(counting);
  const count = (shape: Shape) =>
    countDuring(
      counting,
      COUNTED_RUNS,
      () => runAll(counting, origin, shape, COUNTED_RUNS),
      () => passHour(counting),
    );
  const [fewSteps, withOne, withTwo] = [await count(short), await count(one), await count(two)];
  await counting.stop();
  return {
    step: countsBetween(fewSteps, withOne, STEPS - short.steps),
    call: countsBetween(withOne, withTwo, STEPS - 1),
  };
}

/** Has runs done one after the other, each in a conversation of its own. @returns what the upstream and the tools have had */
async function runAll(server: Server, origin: string, shape: Shape, runs: number): Promise<Exchange[][]> {
  const all: Exchange[][] = [];
  for (let number = 0; number < runs; number += 1) all.push(await runOnce(server, origin, shape));
  return all;
}

let runsSoFar = 0;

async function runOnce(server: Server, origin: string, { title, steps, tools, toolMs }: Shape): Promise<Exchange[]> {
  runsSoFar += 1;
  const id = `run-${runsSoFar}`;
  const response = await fetch(`${server.origin}/v1/messages`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'x-bench': `${steps}x${tools}`,
      'x-bench-run': id,
    },
    body: JSON.stringify({
      model: 'claude-haiku-5-5',
      max_tokens: 1024,
      stream: true,
      conversation: id,
      // Of its own, so that no other run has it in the cache.
      system: `${id}. ${textOf(SYSTEM_BYTES)}`,
      tools: [
        {
          name: 'look_up',
          input_schema: { type: 'object', properties: { what: { type: 'string' } } },
          run: { url: `${origin}/tool?ms=${toolMs}` },
        },
      ],
      messages: [{ role: 'user', content: 'What is there to know?' }],
    }),
  });
  const text = await response.text();
  if (!text.includes('event: message_stop')) throw new Error(`${title}: ${response.status} ${text.slice(-300)}`);
  const told = (await (await fetch(`${origin}/exchanges?run=${id}`)).json()) as Exchange[];
  const calls = told.filter(({ kind }) => kind === 'call').length;
  if (told.length - calls !== steps || calls !== (steps - 1) * tools) {
    throw new Error(`${title}: ${told.length - calls} steps with ${calls} calls in all`);
  }
  return told;
}

const firstOf = (exchanges: readonly Exchange[]) => Math.min(...exchanges.map(({ began }) => began));
const lastOf = (exchanges: readonly Exchange[]) => Math.max(...exchanges.map(({ ended }) => ended));

/** @returns each step that has called tools, with its calls and the step behind it */
function stepsOf(run: readonly Exchange[]): { step: Exchange; calls: Exchange[]; next: Exchange }[] {
  const steps = run.filter(({ kind }) => kind === 'step').sort((left, right) => left.began - right.began);
  return steps.slice(1).flatMap((next, at) => {
    const step = steps[at];
    if (!step) return [];
    const calls = run.filter(({ kind, began }) => kind === 'call' && began > step.began && began < next.began);
    return [{ step, calls, next }];
  });
}

/** @returns milliseconds that were neither the upstream's nor the tools' */
function addedBySteps(run: readonly Exchange[]): number[] {
  return stepsOf(run).map(({ step, calls, next }) => firstOf(calls) - step.ended + (next.began - lastOf(calls)));
}

/** @returns tokens that each step should have read from the cache, as the step before has had them up, and has not */
function unreadIn(run: readonly Exchange[]): number {
  const usages = run.flatMap((exchange) => (exchange.kind === 'step' ? [exchange.usage] : []));
  return usages.slice(1).reduce((sum, usage, at) => {
    const before = usages[at];
    return before ? sum + Math.max(0, promptOf(before) - usage.cache_read_input_tokens) : sum;
  }, 0);
}

function promptOf({ input_tokens, cache_read_input_tokens, cache_creation_input_tokens }: StepUsage): number {
  return input_tokens + cache_read_input_tokens + cache_creation_input_tokens;
}

/**
 * @param slowness how many times slower this machine is than the one on which ceilings were set
 * @returns whether a step with one tool adds too much. Each further call has a fetch of its own, and no ceiling.
 */
function isOverTime({ title, ms }: RunFigures['added'][number], slowness: number): boolean {
  return title === one.title && ms.median > CEILINGS.addedMs * slowness;
}

/** @param slowness as `slownessOf` tells it. @returns whether a ceiling is exceeded. */
export function isOver({ added, parallel, unread, step, call }: RunFigures, slowness: number): boolean {
  return (
    added.some((each) => isOverTime(each, slowness)) ||
    parallel > CEILINGS.parallel ||
    unread > 0 ||
    step.rowsWritten > CEILINGS.rows ||
    call.rowsWritten > CEILINGS.rowsOfCall
  );
}

export function runTable({ added, parallel, unread, step, call }: RunFigures, slowness: number): string {
  const row = (title: string, value: number, ceiling: number) => [
    `  ${title}`,
    number(value),
    verdict(String(ceiling), value > ceiling),
  ];
  return align([
    [`a run of ${STEPS} steps`, '', 'ceiling'],
    ...added.map(({ title, ms }) => [
      `  ms added by a step, ${title}`,
      `${number(ms.median)} (${number(ms.min)}–${number(ms.max)})`,
      title === one.title ? verdict(number(CEILINGS.addedMs * slowness), isOverTime({ title, ms }, slowness)) : '',
    ]),
    row('six calls at the same time, × one', parallel, CEILINGS.parallel),
    row('tokens not read from the cache', unread, 0),
    row('rows written by a step with one call', step.rowsWritten, CEILINGS.rows),
    row('rows written by a further call', call.rowsWritten, CEILINGS.rowsOfCall),
    ['  object calls of a step', number(step.objectCalls), ''],
  ]);
}
