/** Begins a classification by batch: stores its inputs, finds known answers, and makes a batch of the rest. */

import type { Context } from 'hono';
import { HonoRequest } from 'hono/request';
import { pause } from '../async/pause.ts';
import { type AppEnv, contextOf } from '../auth/context.ts';
import { MOST_ITEMS } from '../batches/batches.schema.ts';
import { createBatch, keyUsed, newBatchId } from '../batches/create-batch.ts';
import type { BatchContext } from '../batches/item.ts';
import { BATCHES_PATH } from '../batches/upstream-batches.ts';
import type { BatchWork } from '../classification/classify.route.ts';
import { faultInInput, taskHash } from '../classification/task/classify.ts';
import { BATCH_THINKING_TOKENS, classificationRequest } from '../classification/task/prompt.ts';
import type { Task } from '../classification/task/task.ts';
import { checkedDeliverUrl } from '../delivery/deliver-event.ts';
import type { ClassificationReport, TakenInput } from '../durable/contracts/classification.ts';
import { sha256Hex, utf8 } from '../http/bytes.ts';
import { invalidRequest, tryAgain } from '../http/errors.ts';
import { createRequestId } from '../http/headers/request-id.ts';
import { streamOfTexts } from '../http/stream-of-texts.ts';
import { API_VERSION } from '../upstream/ask-message.ts';
import type { Fetch } from '../upstream/upstream.ts';
import { type ClassificationPlace, callClassification } from './call-classification.ts';
import { customIdOf } from './job-results.ts';

/** The most inputs, and the most characters of inputs, that go to the object in one call. */
const TAKEN_AT_ONCE = 500;
const TAKEN_CHARACTERS = 1_048_576;
/** About how many characters of the batch's body are made at once. */
const CHUNK_CHARACTERS = 65_536;
/** The most bytes that the API accepts. The prompt is repeated in each item. */
const MOST_WRITTEN_BYTES = 256 * 1024 * 1024;
/** Headers of the request that its batch does not get. */
const NOT_PASSED_ON = ['content-length', 'idempotency-key', 'x-stainless-retry-count', 'accept'];

/** The classification that is being made, and the id of the batch that this request makes for it. */
interface MakingPlace extends ClassificationPlace {
  batch: string;
}

/**
 * Begins a classification by batch.
 *
 * @returns its state after its batch was made; the upstream's answer if it refuses the batch
 * @throws ApiError of the batch: for what its rules refuse, and for a limit that is reached
 */
export async function beginClassification(
  c: Context<AppEnv>,
  { task, inputs, digest, deliverUrl }: BatchWork,
  fetchUpstream: Fetch | undefined,
): Promise<ClassificationReport | Response> {
  const { identity, settings, waitUntil } = contextOf(c);
  const url = checkedDeliverUrl(deliverUrl, settings.BATCH_DELIVER_URL, settings);
  const { account } = identity;
  const key = c.req.header('idempotency-key');
  const id = await classificationIdOf(account, key);
  const place: MakingPlace = { env: c.env, settings, account, id, batch: newBatchId() };
  const { batch } = place;
  const { classifier, votes, model, version = null, prompt } = task;
  // A value of KV for each input costs more than the batch's other work at the edge, so answers are kept only if that is asked for.
  const { cache_seconds: cacheSeconds = 0 } = classifier;
  const opening = {
    ...{ id, account, batch, digest, classifier, votes, cacheSeconds, model, version },
    structured: prompt.structured,
    deliverUrl: url,
  };
  const opened = await callClassification(place, (job) => job.open(opening));
  if (opened.state === 'taken') return opened.report;
  if (opened.state === 'busy') {
    throw tryAgain('The same request is being worked on. Send it again in a moment.', 'classification_busy', {
      seconds: opened.seconds,
    });
  }
  if (opened.state === 'other') throw keyUsed();
  let isMade = false;
  try {
    await giveInputs(place, task, inputs);
    let begun: ClassificationReport | undefined;
    while (!begun) begun = await callClassification(place, (job) => job.begin(batch));
    isMade = begun.status === 'ended';
    if (isMade) return begun;
    const { requests } = begun.counts;
    if (requests > MOST_ITEMS) {
      throw invalidRequest(
        `inputs: they are ${requests} requests, one for each vote, and a batch has at most ${MOST_ITEMS}. Send fewer inputs.`,
      );
    }
    const own = { id: batch, mostBytes: MOST_WRITTEN_BYTES };
    const made = await createBatch(contextOfBatch(c, place, task), fetchUpstream, own);
    isMade = made.ok;
    if (!isMade) return made;
    return await callClassification(place, (job) => job.sent(batch));
  } finally {
    if (!isMade) waitUntil(callClassification(place, (job) => job.drop(batch)));
  }
}

/** @returns a new id; with a key, always the same one */
async function classificationIdOf(account: string, key: string | undefined): Promise<string> {
  if (key === undefined) return createRequestId().replace('req_', 'clsbatch_');
  return `clsbatch_${(await sha256Hex(utf8(`${account}\n${key}`))).slice(0, 26)}`;
}

/** Stores the inputs in the object, some at a time. */
async function giveInputs(place: MakingPlace, task: Task, inputs: BatchWork['inputs']): Promise<void> {
  for (let from = 0; from < inputs.length; ) {
    const at = from;
    let characters = 0;
    while (from < inputs.length && from - at < TAKEN_AT_ONCE && characters < TAKEN_CHARACTERS) {
      const { input } = inputs[from] ?? {};
      characters += typeof input === 'string' ? input.length : 0;
      from += 1;
    }
    const taken = await Promise.all(inputs.slice(at, from).map((one) => takenInput(task, one)));
    await callClassification(place, (job) => job.take(place.batch, at, taken));
    await pause(0);
  }
}

async function takenInput(task: Task, { id, input }: BatchWork['inputs'][number]): Promise<TakenInput> {
  const wrong = faultInInput(input);
  const text = wrong || typeof input !== 'string' ? '' : input;
  const hash = wrong || task.cacheSeconds === 0 ? null : await taskHash(task, text);
  // Stored as it will go up, because rows cannot hold half a surrogate pair.
  return { id, input: text.toWellFormed(), hash, fault: wrong ? { type: wrong.type, message: wrong.message } : null };
}

/** @returns a request that makes the batch, as if the caller had sent it */
function contextOfBatch(c: Context<AppEnv>, place: MakingPlace, task: Task): BatchContext {
  const { origin, pathname } = new URL(c.req.url);
  const headers = new Headers(c.req.raw.headers);
  for (const name of NOT_PASSED_ON) headers.delete(name);
  headers.set('content-type', 'application/json');
  headers.set('anthropic-version', API_VERSION);
  const mount = pathname.slice(0, pathname.lastIndexOf('/classify'));
  const request = new Request(`${origin}${mount}${BATCHES_PATH}`, {
    method: 'POST',
    headers,
    body: streamOfTexts(bodyOfBatch(place, task)),
    signal: c.req.raw.signal,
  });
  return { req: new HonoRequest(request), env: c.env, get: c.get };
}

/** Yields the body of the batch. */
async function* bodyOfBatch(place: MakingPlace, task: Task): AsyncGenerator<string> {
  // Limits may allow a model by its alias, so they get the requested name.
  const room = task.prompt.room && BATCH_THINKING_TOKENS;
  const prompt = { ...task.prompt, room, model: task.modelAsked };
  let last = -1;
  let chunk = '{"requests":[';
  for (;;) {
    const after = last;
    const page = await callClassification(place, (job) => job.unknown(place.batch, after));
    if (page.length === 0) break;
    for (const { n, input } of page) {
      for (let vote = 0; vote < task.votes; vote += 1) {
        const { text } = classificationRequest(prompt, input);
        const before = last < 0 && vote === 0 ? '' : ',';
        chunk += `${before}{"custom_id":"${customIdOf(place.batch, n, vote)}","params":${text}}`;
        if (chunk.length < CHUNK_CHARACTERS) continue;
        yield chunk;
        chunk = '';
        await pause(0);
      }
      last = n;
    }
  }
  yield `${chunk}]}`;
}
