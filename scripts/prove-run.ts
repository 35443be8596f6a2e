/** Sends the calls of `npm run prove` through an edge, and to the simulator, which says what is expected. */

import { toUsd } from '../src/edge/claude/pricing/cost.ts';
import { createSimulator } from '../src/edge/toolkit/simulator.ts';
import { type ProveCall, worstOf } from './prove-calls.ts';
import { type Answer, type Booked, type Facts, factsOf, judge, judgeBooked, priceOf } from './prove-judge.ts';

/** Sends a request to a path. */
export type Send = (path: string, init: RequestInit) => Promise<Response>;

/** What came of a call. */
export interface Proved {
  call: ProveCall;
  expected: Facts;
  came: Facts;
  answer: Answer;
  booked: Booked | undefined;
  /** What its usage costs by the table, in nanodollars. */
  price: number | undefined;
  differences: string[];
}

const HEADERS = { 'x-api-key': 'none', 'anthropic-version': '2023-06-01', 'anthropic-beta': 'files-api-2025-04-14' };
const MOST_LOOKS = 100;
const BATCHES = '/v1/messages/batches';

interface Item {
  custom_id: string;
  result: { type: string; message?: Facts['body']; error?: Facts['body'] };
}

/** Makes a simulator that is asked as an edge is. */
export function expecting(): Send {
  const simulate = createSimulator({ faults: false });
  return (path, init) =>
    simulate(`https://simulator.invalid${path}`, { ...init, headers: { ...HEADERS, ...init.headers } });
}

/**
 * Sends calls one after the other. The file that one has uploaded is named in those behind it.
 *
 * @param run a word that no other run has: prompts with it are in no cache
 * @returns what sends a call, and reads its answer as far as its reader stays
 */
export function callerOf(send: Send, run: string): (call: ProveCall) => Promise<{ answer: Answer; id: string }> {
  let file = 'file_none';
  return async ({ path, method = 'POST', body, upload, stops }) => {
    const filled = (text: string) => text.replaceAll('$file', file).replaceAll('$run', run);
    const leaving = new AbortController();
    const form = new FormData();
    if (upload !== undefined) form.append('file', new Blob([upload], { type: 'text/plain' }), 'prove.txt');
    const sent = body ? filled(JSON.stringify(body)) : upload === undefined ? null : form;
    const headers = { ...HEADERS, ...(body && { 'content-type': 'application/json' }) };
    const response = await send(filled(path), { method, headers, body: sent, signal: leaving.signal });
    const text = stops ? await readStart(response, leaving) : await response.text();
    if (upload !== undefined) file = /"id": ?"(\w+)"/.exec(text)?.[1] ?? file;
    const answer = { status: response.status, type: response.headers.get('content-type') ?? '', text };
    return { answer, id: response.headers.get('sluice-request-id') ?? '' };
  };
}

/** Reads an answer until the first of its text has come, and goes away. */
async function readStart({ body }: Response, leaving: AbortController): Promise<string> {
  const decoder = new TextDecoder();
  let text = '';
  for await (const piece of body ?? []) {
    text += decoder.decode(piece, { stream: true });
    if (text.includes('content_block_delta')) break;
  }
  leaving.abort();
  return text;
}

/** Sends each call, and judges what came. It goes on where one differs, but not where the key is refused. */
export async function* prove(
  calls: readonly ProveCall[],
  { edge, run, pause }: { edge: Send; run: string; pause: () => Promise<void> },
): AsyncGenerator<Proved> {
  const expect = callerOf(expecting(), run);
  const ask = callerOf(edge, run);
  const earlier = new Map<string, Facts>();
  for (const call of calls) {
    const expected = factsOf((await expect(call)).answer);
    const { answer, id } = await ask(call);
    const came = factsOf(answer, call.stops);
    earlier.set(call.name, came);
    const booked = await bookedOf(edge, id, pause);
    const differences = judge(call, expected, came, earlier.get(call.after ?? ''));
    if (call.path === '/v1/messages') differences.push(...judgeBooked(call, came, booked, worstOf(call)));
    yield { call, expected, came, answer, booked, price: priceOf(came), differences };
    if (answer.status === 401) return;
  }
}

/** @returns what is booked for a request, once it is settled; undefined where the ledger does not have it */
export async function bookedOf(edge: Send, id: string, pause: () => Promise<void>): Promise<Booked | undefined> {
  for (let looks = 0; looks < MOST_LOOKS && id !== ''; looks += 1) {
    const response = await edge(`/usage/requests/${id}`, { method: 'GET' });
    const row = (await response.json()) as Booked & { settled_at?: string | null };
    if (row.settled_at) return row;
    await pause();
  }
  return undefined;
}

/** A batch that was begun: it ends within a day, in a run after this one. */
export interface Begun {
  batch: string;
  request: string;
}

/** Begins a batch of calls. @throws Error with what the edge says instead */
export async function beginBatch(calls: readonly ProveCall[], edge: Send): Promise<Begun> {
  const requests = calls.map(({ name, body }) => ({ custom_id: name, params: body }));
  const headers = { ...HEADERS, 'content-type': 'application/json' };
  const response = await edge(BATCHES, { method: 'POST', headers, body: JSON.stringify({ requests }) });
  const text = await response.text();
  const { id } = JSON.parse(text) as { id?: string };
  if (id === undefined) throw new Error(`The batch was not taken: ${response.status} ${text}`);
  return { batch: id, request: response.headers.get('sluice-request-id') ?? '' };
}

/** Judges the results of a batch. @returns the differences; undefined while it is not at its end */
export async function judgeBatch(
  calls: readonly ProveCall[],
  { batch, request }: Begun,
  { edge, pause }: { edge: Send; pause: () => Promise<void> },
): Promise<string[] | undefined> {
  const response = await edge(`${BATCHES}/${batch}`, { method: 'GET', headers: HEADERS });
  const { processing_status: status } = (await response.json()) as { processing_status?: string };
  if (status === undefined) return [`${response.status} for the batch ${batch}`];
  if (status !== 'ended') return undefined;
  const results = await edge(`${BATCHES}/${batch}/results`, { method: 'GET', headers: HEADERS });
  const lines = (await results.text()).split('\n').filter((line) => line !== '');
  const items = new Map(
    lines.map((line) => JSON.parse(line) as Item).map(({ custom_id, result }) => [custom_id, result]),
  );
  const expect = callerOf(expecting(), 'batch');
  const differences: string[] = [];
  let price = 0;
  for (const call of calls) {
    const { type, message, error } = items.get(call.name) ?? { type: 'nothing' };
    const expected = factsOf((await expect(call)).answer);
    const came: Facts = { status: type === 'succeeded' ? 200 : 400, body: message ?? error ?? {}, events: [] };
    differences.push(...judge(call, expected, came).map((words) => `${call.name}: ${words}`));
    price += priceOf(came, true) ?? 0;
  }
  const booked = await bookedOf(edge, request, pause);
  if (booked?.cost_usd !== toUsd(price)) differences.push(`booked $${booked?.cost_usd}, not $${toUsd(price)}`);
  return differences;
}
