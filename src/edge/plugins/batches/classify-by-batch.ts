/** Makes a batch of inputs that are to be labelled. */

import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import type { BatchClassificationJob } from '../../classify/classify.route.ts';
import { validateClassificationInput } from '../../classify/task/classify.ts';
import {
  BATCH_THINKING_TOKENS,
  type ClassificationPrompt,
  createClassificationRequest,
} from '../../classify/task/prompt.ts';
import { API_VERSION } from '../../claude/request-message.ts';
import { WorkPacer } from '../../kit/async/run-in-steps.ts';
import { validateDeliverUrl } from '../../kit/delivery/deliver-event.ts';
import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
import { createTextStream } from '../../kit/http/text-stream.ts';
import { removeUndefined } from '../../kit/json/object.ts';
import { CUSTOM_ID } from './batches.schema.ts';
import { createBatch } from './create-batch.ts';
import { BATCHES_PATH } from './upstream-batches.ts';

/** About how many characters of the batch's body are made at once. */
const CHUNK_CHARACTERS = 65_536;
/** Headers of the request that its batch does not get. */
const NOT_PASSED_ON = ['content-length', 'accept'];

/**
 * Answers a request to `/classify` with `batch`: makes a batch with an item for each input, whose results are read as labels.
 *
 * @throws ApiError 400 for what cannot go into a batch, and those of a batch
 */
export async function classifyByBatch(c: Context<AppEnv>, work: BatchClassificationJob): Promise<Response> {
  const { settings } = getRequestContext(c);
  const { task, digest } = work;
  if (task.votes > 1) {
    throw createInvalidRequestError('votes: must be 1 with `batch`. Send `votes: 1`, or remove `batch`.');
  }
  validateClassifyInputs(work.inputs);
  const deliverUrl = validateDeliverUrl(work.deliverUrl, settings.BATCH_DELIVER_URL, settings);
  const { model, prompt } = task;
  const { labels: names, multi, allow_none, fields, schema, label_property } = task.classifier;
  const form = removeUndefined({ fields, schema, label_property });
  const classifier = { labels: names, multi, allow_none, ...form };
  const labels = { classifier, hasStructuredOutput: prompt.hasStructuredOutput, model };
  const batch = await createBatch(c, createBatchRequest(c, work), { digest, deliverUrl, labels });
  return batch.ok ? new Response(batch.body, { status: 202, headers: batch.headers }) : batch;
}

/** @throws ApiError for an input that no model can label, and for an id that an item of a batch cannot have */
function validateClassifyInputs(inputs: BatchClassificationJob['inputs']): void {
  for (const [n, { id, input }] of inputs.entries()) {
    if (!CUSTOM_ID.test(id)) {
      throw createInvalidRequestError(
        `inputs.${n}.id: String should match pattern '${CUSTOM_ID.source}' if \`batch\` is true`,
      );
    }
    const fault = validateClassificationInput(input);
    if (fault) throw new ApiError(fault.type, `inputs.${n}.${fault.message}`, fault);
  }
}

/** @returns the request that the caller would send to make the batch */
function createBatchRequest(c: Context<AppEnv>, work: BatchClassificationJob): Request {
  const { origin, pathname } = new URL(c.req.url);
  const headers = new Headers(c.req.raw.headers);
  for (const name of NOT_PASSED_ON) headers.delete(name);
  headers.set('content-type', 'application/json');
  headers.set('anthropic-version', API_VERSION);
  const mount = pathname.slice(0, pathname.lastIndexOf('/classify'));
  return new Request(`${origin}${mount}${BATCHES_PATH}`, {
    method: 'POST',
    headers,
    body: createTextStream(writeBatchBody(work)),
    signal: c.req.raw.signal,
  });
}

async function* writeBatchBody({ task, inputs }: BatchClassificationJob): AsyncGenerator<string> {
  // Use the requested name of the model instead of the resolved one, because limits may allow a model by its alias.
  const thinkingTokens = task.prompt.thinkingTokens && BATCH_THINKING_TOKENS;
  const prompt: ClassificationPrompt = { ...task.prompt, thinkingTokens, model: task.requestedModel };
  const pacer = new WorkPacer();
  let chunk = '{"requests":[';
  for (const [n, { id, input }] of inputs.entries()) {
    // Replace lone surrogates, which UTF-8 cannot encode.
    const text = String(input).toWellFormed();
    await pacer.waitForTurn(text.length);
    chunk += `${n > 0 ? ',' : ''}{"custom_id":"${id}","params":${createClassificationRequest(prompt, text).text}}`;
    if (chunk.length < CHUNK_CHARACTERS) continue;
    yield chunk;
    chunk = '';
  }
  yield `${chunk}]}`;
}
