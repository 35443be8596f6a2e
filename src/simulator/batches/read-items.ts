import { type Json, type JsonObject, readOwnMember } from '../../api-rules/json.ts';
import { validateMessageAndPlanCache } from '../answer/compose-message.ts';
import { PromptCache } from '../prompt/prompt-cache.ts';
import { ApiError, createInvalidRequestError } from '../request/errors.ts';
import { readRequiredList, readRequiredObject, readRequiredString, rejectUnknownKeys } from '../request/fields.ts';
import type { RequestValidationContext } from '../request/message-request.ts';
import { rejectUnsupportedBatchParams } from '../request/model-rules.ts';
import {
  parseJsonWithDepthLimit,
  requireContentLengthWithin,
  requireJsonContentType,
  strictDecoder,
} from '../request/request-body.ts';
import type { PieceWriter } from '../store/pieces.ts';
import { encoder } from '../text/utf8.ts';
import type { ItemOutcomeCode } from './batch.ts';
import { ItemSplitter } from './item-splitter.ts';

/** The API's limits of a batch: https://platform.claude.com/docs/en/build-with-claude/batch-processing */
const MAX_BATCH_BODY_BYTES = 256 * 1024 * 1024;
const MAX_ITEMS = 100_000;
/** After this many items, other requests get their turn. */
const ITEMS_PER_SLICE = 200;

export interface BatchItem {
  custom_id: string;
  params: JsonObject;
}

/** The text in an item by which a test chooses how the item ends. */
const OUTCOME_MARK = /sluice-simulate: (errored|canceled|expired)\b/;
const OUTCOME_BY_MARK: Readonly<Record<string, ItemOutcomeCode>> = { errored: 'e', canceled: 'c', expired: 'x' };

/** @throws ApiError 400 if it is not an item of a batch. Its `params` are judged when it is worked on. */
function parseBatchItem(bytes: Uint8Array, index: number): BatchItem {
  const path = `requests.${index}`;
  const item = readRequiredObject(parseJsonWithDepthLimit(bytes, path), path);
  const id = readRequiredString(item.custom_id, `${path}.custom_id`);
  if (!/^[a-zA-Z0-9_-]{1,64}$/.test(id)) {
    throw createInvalidRequestError(`${path}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'`);
  }
  const params = readRequiredObject(item.params, `${path}.params`);
  rejectUnknownKeys(item, new Set(['custom_id', 'params']), path);
  return { custom_id: id, params };
}

/**
 * Rejects an item with features that a batch does not have, or that the API would reject as a message.
 *
 * @throws ApiError in the API's words
 */
export function validateBatchItem(
  { params }: BatchItem,
  judgement: RequestValidationContext,
): ReturnType<typeof validateMessageAndPlanCache> {
  if (readOwnMember(params, 'stream') === true)
    throw createInvalidRequestError('stream: streaming is not supported in message batches');
  rejectUnsupportedBatchParams(params);
  // The API processes the items of a batch in any order. Use an empty cache for each, so that no item's result depends on
  // another one.
  return validateMessageAndPlanCache(params, { ...judgement, inBatch: true }, new PromptCache(), '');
}

/** @returns how an item ends if it is worked on. */
function decideItemOutcome(
  item: BatchItem,
  bytes: Uint8Array,
  judgement: RequestValidationContext,
  obeysMarks: boolean,
): ItemOutcomeCode {
  const [, mark = ''] = (obeysMarks && OUTCOME_MARK.exec(strictDecoder.decode(bytes))) || [];
  const marked = OUTCOME_BY_MARK[mark];
  if (marked) return marked;
  try {
    validateBatchItem(item, judgement);
    return 's';
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return 'e';
  }
}

/**
 * Reads the body of a batch's creation while it arrives in, and writes its items, each on a line, as they are complete.
 *
 * @param obeysMarks whether an item may say how it ends
 * @returns how each item ends if it is worked on, a letter each
 * @throws ApiError in the API's words if it is not a batch. Then the writer has a part of it
 */
export async function readAndStoreBatchItems(
  { headers, body }: Request,
  writer: PieceWriter,
  judgement: RequestValidationContext,
  obeysMarks: boolean,
): Promise<string> {
  requireJsonContentType(headers);
  requireContentLengthWithin(headers, MAX_BATCH_BODY_BYTES);
  const splitter = new ItemSplitter();
  const ids = new Set<string>();
  let outcomes = '';
  let length = 0;
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.byteLength;
    if (length > MAX_BATCH_BODY_BYTES) throw new ApiError(413, 'Request exceeds the maximum size');
    for (const bytes of splitter.pushChunk(chunk)) {
      const item = parseBatchItem(bytes, ids.size);
      if (ids.has(item.custom_id))
        throw createInvalidRequestError(`requests: custom_id must be unique, got ${item.custom_id} twice`);
      ids.add(item.custom_id);
      if (ids.size > MAX_ITEMS) {
        throw createInvalidRequestError(`requests: List should have at most ${MAX_ITEMS} items after validation`);
      }
      outcomes += decideItemOutcome(item, bytes, judgement, obeysMarks);
      await writer.writeBytes(encoder.encode(`${JSON.stringify(item)}\n`));
      // A whole body may arrive as one chunk. Pause after some items, so that other work can run in between.
      if (ids.size % ITEMS_PER_SLICE === 0) await new Promise((resolve) => setTimeout(resolve));
    }
  }
  validateBatchSurroundings(parseJsonWithDepthLimit(splitter.getBodyWithoutItems(), ''));
  return outcomes;
}

/** @throws ApiError 400 if the JSON around the items is not that of a batch */
function validateBatchSurroundings(surroundings: Json): void {
  const body = readRequiredObject(surroundings, 'body');
  const requests = readRequiredList(body.requests, 'requests');
  for (const [index, item] of requests.entries()) readRequiredObject(item, `requests.${index}`);
  if (requests.length === 0)
    throw createInvalidRequestError('requests: List should have at least 1 item after validation, not 0');
  rejectUnknownKeys(body, new Set(['requests']), '');
}
