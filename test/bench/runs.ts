/** What a step of a run is billed for until an hour later. */
import { randomBytes } from 'node:crypto';
import { mintToken } from '#edge/auth/mint.ts';
import { type Contender, counted, metered, SIGNING_SECRET } from './contenders.ts';
import { type Counts, countDuring, countsBetween, passHour } from './counts.ts';
import { nextMessage, startChild } from './processes.ts';
import { type Server, startServer } from './server.ts';
import { textOf } from './workloads.ts';

/** Steps of a run, of which each but the last one calls a tool. What longer runs have more is their steps'. */
const [FEW, MANY] = [2, 5];
const COUNTED_RUNS = 10;
const SYSTEM_BYTES = 40_000;

const { token } = await mintToken(SIGNING_SECRET, { account: 'bench', scopes: ['messages', 'tools'] });

/** Starts an upstream of runs with its tools. */
async function startRunServers() {
  const child = startChild(new URL('run-servers.ts', import.meta.url));
  const { port } = await nextMessage<{ port: number }>(child);
  const vars = {
    TOOL_HOSTS: `127.0.0.1:${port}`,
    TOOL_SIGNING_SECRET: `whsec_${randomBytes(32).toString('base64')}`,
  };
  return { origin: `http://127.0.0.1:${port}`, vars, stop: () => child.disconnect() };
}

/** @returns what a step with one call is billed for until an hour later */
export async function countStep(script: string): Promise<Counts> {
  const { origin, vars, stop } = await startRunServers();
  const contender: Contender = { ...counted, vars: { ...metered.vars, ...vars } };
  const server = await startServer(contender, script, origin);
  await runOnce(server, origin, MANY);
  await passHour(server);
  const count = async (steps: number) =>
    await countDuring(
      server,
      COUNTED_RUNS,
      async () => {
        for (let run = 0; run < COUNTED_RUNS; run += 1) await runOnce(server, origin, steps);
      },
      () => passHour(server),
    );
  const step = countsBetween(await count(FEW), await count(MANY), MANY - FEW);
  await server.stop();
  stop();
  return step;
}

let runsSoFar = 0;

async function runOnce(server: Server, origin: string, steps: number): Promise<void> {
  runsSoFar += 1;
  const id = `run-${runsSoFar}`;
  const response = await fetch(`${server.origin}/v1/messages`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'x-bench': `${steps}x1` },
    body: JSON.stringify({
      model: 'claude-haiku-5-5',
      max_tokens: 1024,
      stream: true,
      conversation: id,
      system: `${id}. ${textOf(SYSTEM_BYTES)}`,
      tools: [{ name: 'look_up', input_schema: { type: 'object' }, run: { url: `${origin}/tool` } }],
      messages: [{ role: 'user', content: 'What is there to know?' }],
    }),
  });
  const text = await response.text();
  // The last step tells how many results have come.
  if (!text.includes(`${steps - 1} results have come.`)) throw new Error(`${response.status} ${text.slice(-300)}`);
}
