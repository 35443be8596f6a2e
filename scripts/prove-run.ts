/** Sends the calls of `npm run prove` through Sluice, and to the simulator, whose responses are the expected ones. */
import { maskSecrets } from '../src/edge/kit/http/secrets.ts';
import type { LedgerRow } from '../src/edge/money/account/usage-answers.schema.ts';
import { createSimulator } from '../src/edge/toolkit/simulator.ts';
import { maximumCostOf, type ProveCall } from './prove-calls.ts';
import { type Answer, type Facts, findBookingFaults, findDifferences, readFacts } from './prove-judge.ts';

/** Sends a request to a path. */
export type Send = (path: string, init: RequestInit) => Promise<Response>;

/** How calls are sent. No other run has the word `run`: prompts with it are in no cache. `isBooked`: each call by itself. */
type ProveOptions = { edge: Send; run: string; isBooked?: boolean; pause: () => Promise<void> };

/** The result of a call, and its differences from the expected one. */
export type ProvedCall = { call: ProveCall; expected: Facts; came: Facts; answer: Answer; differences: string[] } & {
  booked: LedgerRow | undefined;
};

/** An answer as test/fixtures/proved has it: when it came, and what the edge has booked, if it has. */
export type Fixture = Answer & { call: string; proved: string; cost_usd: number | null };

const HEADERS = { 'x-api-key': 'none', 'anthropic-version': '2023-06-01', 'anthropic-beta': 'files-api-2025-04-14' };
const IDS = /\b(msg|req|toolu|srvtoolu|file|msgbatch|container)_\w{8,}|\b[\da-f]{8}(?:-[\da-f]{4}){3}-[\da-f]{12}\b/g;
const SEALED = /"(signature|encrypted_content|encrypted_index|data)":( ?)"[^"]+"/g;

/** @returns what sends calls, and gives back the answer, as far as its reader stays, and the edge's id of it */
function createCaller(send: Send, run: string): (call: ProveCall) => Promise<{ answer: Answer; id: string }> {
  let file = 'file_none';
  return async ({ path, method = 'POST', body, upload, stops }) => {
    const filled = (text: string) => text.replaceAll('$file', file).replaceAll('$run', run);
    const leaving = new AbortController();
    const form = new FormData();
    if (upload) form.append('file', new Blob([upload], { type: 'text/plain' }), 'prove.txt');
    const sent = body ? filled(JSON.stringify(body)) : upload ? form : null;
    const headers = { ...HEADERS, ...(body && { 'content-type': 'application/json' }) };
    const response = await send(filled(path), { method, headers, body: sent, signal: leaving.signal });
    let text = '';
    for await (const piece of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
      text += piece;
      if (stops && text.includes('content_block_delta')) break;
    }
    leaving.abort();
    if (upload) file = /"id": ?"(\w+)"/.exec(text)?.[1] ?? file;
    const answer = { status: response.status, type: response.headers.get('content-type') ?? '', text };
    return { answer, id: response.headers.get('sluice-request-id') ?? '' };
  };
}

/** Sends each call, and compares the response, until the key is rejected. @param pause waits until the request is settled */
export async function* prove(calls: ProveCall[], options: ProveOptions): AsyncGenerator<ProvedCall> {
  const { edge, run, isBooked = true, pause } = options;
  const simulate = createSimulator({ faults: false });
  const expect = createCaller((path, init) => simulate(`https://simulator.invalid${path}`, init), run);
  const ask = createCaller(edge, run);
  const earlier = new Map<string, Facts>();
  for (const call of calls) {
    const expected = readFacts((await expect(call)).answer);
    const { answer, id } = await ask(call);
    const came = readFacts(answer);
    earlier.set(call.name, came);
    const booked = await readBooked(edge, id, pause);
    const differences = findDifferences(call, expected, came, earlier.get(call.after ?? ''));
    // Check only calls that cost money: token counts and calls of the Files API are free.
    if (isBooked && call.path === '/v1/messages')
      differences.push(...findBookingFaults(call, came, booked, maximumCostOf(call)));
    yield { call, expected, came, answer, booked, differences };
    if (answer.status === 401) return;
  }
}

/** @returns what is booked for a request, once it is settled; undefined where the ledger does not have it */
async function readBooked(edge: Send, id: string, pause: () => Promise<void>): Promise<LedgerRow | undefined> {
  for (let looks = 0; looks < 100 && id !== ''; looks += 1) {
    const response = await edge(`/usage/requests/${id}`, { method: 'GET' });
    const row = (await response.json()) as LedgerRow;
    if (response.status === 404 || row.settled_at) return row.settled_at ? row : undefined;
    await pause();
  }
  return undefined;
}

/** @returns a fixture as JSON, without what names an account, and with ids that are the same each time */
export function createFixture({ call, answer, booked }: ProvedCall, proved: string): string {
  const ids: string[] = [];
  const named = (id: string, kind = 'id') => `${kind}_${(ids.includes(id) ? ids.indexOf(id) : ids.push(id) - 1) + 1}`;
  const text = maskSecrets(answer.text).replace(IDS, named).replace(SEALED, '"$1":$2"sealed"');
  const fixture: Fixture = { call: call.name, proved, cost_usd: booked?.cost_usd ?? null, ...answer, text };
  return `${JSON.stringify(fixture, undefined, 2)}\n`;
}
