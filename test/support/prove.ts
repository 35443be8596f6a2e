/** Runs `npm run prove` in this process: through the app, with a stand-in for the Claude API that is made of the simulator. */

import { createSimulator } from '#edge/toolkit/simulator.ts';
import { type ProveCall, proveCalls } from '../../scripts/prove-calls.ts';
import { type ProvedCall, prove, type Send } from '../../scripts/prove-run.ts';
import { createTestApp } from './app.ts';

/** Changes the answer to the last of the calls. */
export type AlterAnswer = (text: string, response: Response) => string | Response;

/**
 * @param names of the calls that are sent, the changed one last; absent for all
 * @param thinking how many tokens are thought where a model may think; absent for what the simulator chooses
 * @param inLedger changes what the ledger says
 */
export async function runProve(
  {
    names,
    seed = '',
    thinking,
    plant,
  }: { names?: readonly string[]; seed?: string; thinking?: number | undefined; plant?: AlterAnswer },
  inLedger = (text: string) => text,
): Promise<ProvedCall[]> {
  const all = proveCalls();
  const calls = names?.map((name) => all.find((call) => call.name === name) as ProveCall) ?? all;
  const simulate = createSimulator({ seed });
  let sent = 0;
  const app = createTestApp(async ({ method, url, headers, body, text }) => {
    sent += 1;
    if (thinking !== undefined && !text.includes('tool_choice')) headers.set('sluice-simulate', `thinking=${thinking}`);
    const response = await simulate(url.href, { method, headers, body: body.length > 0 ? (body as BodyInit) : null });
    if (plant === undefined || sent < calls.length) return response;
    const planted = plant(await response.text(), response);
    return typeof planted === 'string' ? new Response(planted, response) : planted;
  });
  const fetchFromEdge: Send = async (path, init) => {
    const response = await app.fetch(path, init);
    return path.startsWith('/usage/') ? new Response(inLedger(await response.text()), response) : response;
  };
  const proved: ProvedCall[] = [];
  for await (const one of prove(calls, { edge: fetchFromEdge, run: seed, pause: () => app.waitUntilSettled() }))
    proved.push(one);
  return proved;
}
