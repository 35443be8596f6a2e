/** Begins a classification by batch: finds known answers, and makes a batch of the rest. */

import type { Context } from 'hono';
import { HonoRequest } from 'hono/request';
import { API_VERSION } from '../../claude/ask-message.ts';
import { type AppEnv, contextOf } from '../../gate/auth/context.ts';
import { inSteps, Pacer, type Steps } from '../../kit/async/in-steps.ts';
import { checkedDeliverUrl } from '../../kit/delivery/deliver-event.ts';
import { invalidRequest, notFound } from '../../kit/http/errors.ts';
import { streamOfTexts } from '../../kit/http/stream-of-texts.ts';
import type { ClassificationReport } from '../../named/classify/classifications-answers.schema.ts';
import type { BatchWork } from '../../named/classify/classify.route.ts';
import type { KeptAnswer } from '../../named/classify/classify-answers.schema.ts';
import { faultInInput, taskHash } from '../../named/classify/task/classify.ts';
import { BATCH_THINKING_TOKENS, classificationRequest } from '../../named/classify/task/prompt.ts';
import type { Task } from '../../named/classify/task/task.ts';
import { MOST_ITEMS } from '../batches/batches.schema.ts';
import { type BatchPlace, callBatch } from '../batches/call-batch.ts';
import { createBatch, newBatchId } from '../batches/create-batch.ts';
import { BATCHES_PATH } from '../batches/upstream-batches.ts';
import type { InputFault, LabelCounts, LabelMethods, TakenInput } from './contracts/classification.ts';

/** The most inputs, and the most characters of their ids, that go to the object in one call. */
const TAKEN_AT_ONCE = 1_000;
const TAKEN_CHARACTERS = 1_048_576;
/** How many answers are searched in the cache in one call. */
const RECALLED_IN_A_CALL = 10_000;
/** About how many characters of the batch's body are made at once. */
const CHUNK_CHARACTERS = 65_536;
/** Headers of the request that its batch does not get. */
const NOT_PASSED_ON = ['content-length', 'accept'];

/** What becomes of the inputs, by their places. */
interface Plan {
  inputs: BatchWork['inputs'];
  /** For each the place of the first one that is equal; -1 for what cannot be labelled. */
  items: Int32Array;
  faults: Map<number, InputFault>;
  /** Of the first of equal ones, where answers are cached: the keys of their answers, and those that are known. */
  hashes: Map<number, string>;
  known: Map<number, KeptAnswer>;
}

/**
 * Begins a classification by batch.
 *
 * @returns its state after its batch was made; the upstream's answer if it refuses the batch
 * @throws ApiError of the batch: for what its rules refuse, and for a limit that is reached
 */
export async function beginClassification(
  c: Context<AppEnv>,
  { task, inputs, digest, deliverUrl: asked }: BatchWork,
): Promise<ClassificationReport | Response> {
  const { identity, settings } = contextOf(c);
  const deliverUrl = checkedDeliverUrl(asked, settings.BATCH_DELIVER_URL, settings);
  const place: BatchPlace = { env: c.env, settings, account: identity.account, id: newBatchId() };
  const { classifier, votes, model, version = null, prompt } = task;
  // A value of KV for each input costs more than the batch's other work at the edge, so answers are kept only if that is asked for.
  const { cache_seconds: cacheSeconds = 0 } = classifier;
  const plan = await inSteps(planned(inputs, task.cacheSeconds > 0));
  if (cacheSeconds > 0) await recall(plan, task, place);
  const counts = await inSteps(countsOf(plan, votes));
  if (counts.requests > MOST_ITEMS) {
    throw invalidRequest(
      `inputs: ${counts.requests} requests, one for each vote, are more than ${MOST_ITEMS}. Send fewer inputs.`,
    );
  }
  const labels = { classifier, structured: prompt.structured, votes, cacheSeconds, model, version, counts };
  const made = await createBatch(contextOfBatch(c, plan, task), {
    id: place.id,
    digest,
    deliverUrl,
    labels,
    isEmpty: counts.requests === 0,
    giveInputs: (to) => giveInputs(plan, to),
  });
  if (!made.ok) return made;
  // The same may have been sent before: then it is that one.
  const { id } = (await made.json()) as { id: string };
  const state = await callBatch({ ...place, id }, (batch) => batch.read());
  const begun = state.kind === 'known' ? state.classification : undefined;
  if (!begun) throw notFound('The batch was deleted meanwhile.');
  return begun;
}

/** @param joins whether equal inputs are asked about once */
function* planned(inputs: Plan['inputs'], joins: boolean): Steps<Plan> {
  const items = new Int32Array(inputs.length);
  const faults: Plan['faults'] = new Map();
  const firsts = new Map<string, number>();
  for (const [n, { input }] of inputs.entries()) {
    yield typeof input === 'string' ? input.length : 0;
    const wrong = faultInInput(input);
    if (wrong || typeof input !== 'string') {
      items[n] = -1;
      if (wrong) faults.set(n, { type: wrong.type, message: wrong.message });
      continue;
    }
    const first = joins ? (firsts.get(input) ?? n) : n;
    if (joins) firsts.set(input, first);
    items[n] = first;
  }
  return { inputs, items, faults, hashes: new Map(), known: new Map() };
}

/** Searches for earlier answers. */
async function recall({ inputs, items, hashes, known }: Plan, task: Task, place: BatchPlace): Promise<void> {
  const places = new Map<string, number>();
  for (const [n, { input }] of inputs.entries()) {
    if (items[n] !== n) continue;
    const hash = await taskHash(task, String(input));
    hashes.set(n, hash);
    places.set(hash, n);
  }
  const all = [...places.keys()];
  for (let from = 0; from < all.length; from += RECALLED_IN_A_CALL) {
    const some = all.slice(from, from + RECALLED_IN_A_CALL);
    for (const [hash, answer] of await callLabels(place, 'recall', place.account, some)) {
      known.set(places.get(hash) ?? -1, answer);
    }
  }
}

function* countsOf({ inputs, items, known }: Plan, votes: number): Steps<LabelCounts> {
  const counts = { inputs: inputs.length, cached: 0, repeated: 0, requests: 0 };
  for (const [n, item] of items.entries()) {
    yield 0;
    if (item < 0) continue;
    if (known.has(item)) counts.cached += 1;
    else if (item !== n) counts.repeated += 1;
    else counts.requests += votes;
  }
  return counts;
}

/** Hands the inputs to the object, some at a time: all but the texts, which only go up. */
async function giveInputs({ inputs, items, faults, hashes, known }: Plan, place: BatchPlace): Promise<void> {
  const pacer = new Pacer();
  let page: TakenInput[] = [];
  let from = 0;
  let characters = 0;
  const give = async () => {
    await callLabels(place, 'take', from, page);
    from += page.length;
    page = [];
    characters = 0;
  };
  for (const [n, { id }] of inputs.entries()) {
    await pacer.before(id.length);
    const item = items[n] ?? -1;
    const own = { item: item < 0 ? null : item, fault: faults.get(n) ?? null };
    page.push({ id, ...own, hash: hashes.get(n) ?? null, known: known.get(n) ?? null });
    characters += id.length;
    if (page.length >= TAKEN_AT_ONCE || characters >= TAKEN_CHARACTERS) await give();
  }
  if (page.length > 0) await give();
}

/** @returns a request that makes the batch, as if the caller had sent it */
function contextOfBatch(c: Context<AppEnv>, plan: Plan, task: Task) {
  const { origin, pathname } = new URL(c.req.url);
  const headers = new Headers(c.req.raw.headers);
  for (const name of NOT_PASSED_ON) headers.delete(name);
  headers.set('content-type', 'application/json');
  headers.set('anthropic-version', API_VERSION);
  const mount = pathname.slice(0, pathname.lastIndexOf('/classify'));
  const request = new Request(`${origin}${mount}${BATCHES_PATH}`, {
    method: 'POST',
    headers,
    body: streamOfTexts(bodyOfBatch(plan, task)),
    signal: c.req.raw.signal,
  });
  return { req: new HonoRequest(request), env: c.env, get: c.get };
}

async function* bodyOfBatch({ inputs, items, known }: Plan, task: Task): AsyncGenerator<string> {
  // Limits may allow a model by its alias, so they get the requested name.
  const room = task.prompt.room && BATCH_THINKING_TOKENS;
  const prompt = { ...task.prompt, room, model: task.modelAsked };
  const pacer = new Pacer();
  let chunk = '{"requests":[';
  let before = '';
  for (const [n, { input }] of inputs.entries()) {
    if (items[n] !== n || known.has(n)) continue;
    // JSON that goes up cannot hold half a surrogate pair.
    const text = String(input).toWellFormed();
    for (let vote = 0; vote < task.votes; vote += 1) {
      await pacer.before(text.length);
      chunk += `${before}{"custom_id":"${n}-${vote}","params":${classificationRequest(prompt, text).text}}`;
      before = ',';
      if (chunk.length < CHUNK_CHARACTERS) continue;
      yield chunk;
      chunk = '';
    }
  }
  yield `${chunk}]}`;
}

/** Calls what a batch of labels has in its object. @throws ApiError 503 */
export async function callLabels<Name extends keyof LabelMethods>(
  place: BatchPlace,
  method: Name,
  ...args: Parameters<LabelMethods[Name]>
): Promise<Awaited<ReturnType<LabelMethods[Name]>>> {
  // `part` hands on what the method returns.
  return (await callBatch(place, (batch) => batch.part(method, ...args))) as Awaited<ReturnType<LabelMethods[Name]>>;
}
