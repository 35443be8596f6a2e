import { judgeMessage } from '../answer/compose-message.ts';
import { PromptCache } from '../prompt/prompt-cache.ts';
import { ApiError, invalid } from '../request/errors.ts';
import { refuseExtras, requiredList, requiredObject, requiredString } from '../request/fields.ts';
import { type Json, type JsonObject, member } from '../request/json.ts';
import type { Judgement } from '../request/message-request.ts';
import { checkItem } from '../request/model-rules.ts';
import { checkJsonType, checkLength, parsedJson, strictDecoder } from '../request/request-body.ts';
import type { PieceWriter } from '../store/pieces.ts';
import { encoder } from '../text/utf8.ts';
import type { Outcome } from './batch.ts';
import { ItemSplitter } from './item-splitter.ts';

/** The API's limits of a batch. */
const MOST_BATCH_BYTES = 256 * 1024 * 1024;
const MOST_ITEMS = 100_000;
/** After this many items, other requests get their turn. */
const IN_ONE_GO = 200;

export interface Item {
  custom_id: string;
  params: JsonObject;
}

/** The text in an item with which a test says how the item ends. */
const MARK = /sluice-simulate: (errored|canceled|expired)\b/;
const MARKED: Readonly<Record<string, Outcome>> = { errored: 'e', canceled: 'c', expired: 'x' };

/** @throws ApiError 400 if it is not an item of a batch. Its `params` are judged when it is worked on. */
function readItem(bytes: Uint8Array, index: number): Item {
  const path = `requests.${index}`;
  const item = requiredObject(parsedJson(bytes, path), path);
  const id = requiredString(item.custom_id, `${path}.custom_id`);
  if (!/^[a-zA-Z0-9_-]{1,64}$/.test(id)) {
    throw invalid(`${path}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{1,64}$'`);
  }
  const params = requiredObject(item.params, `${path}.params`);
  refuseExtras(item, new Set(['custom_id', 'params']), path);
  return { custom_id: id, params };
}

/**
 * Refuses an item with features that a batch does not have, or that the API would refuse as a message.
 *
 * @throws ApiError in the API's words
 */
export function judgeItem({ params }: Item, judgement: Judgement): ReturnType<typeof judgeMessage> {
  if (member(params, 'stream') === true) throw invalid('stream: streaming is not supported in message batches');
  checkItem(params);
  // Items are worked on in no order, so none finds in the cache what another one has written.
  return judgeMessage(params, { ...judgement, inBatch: true }, new PromptCache(), '');
}

/** @returns how an item ends if it is worked on. */
function outcomeOf(item: Item, bytes: Uint8Array, judgement: Judgement, obeysMarks: boolean): Outcome {
  const [, mark = ''] = (obeysMarks && MARK.exec(strictDecoder.decode(bytes))) || [];
  const marked = MARKED[mark];
  if (marked) return marked;
  try {
    judgeItem(item, judgement);
    return 's';
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    return 'e';
  }
}

/**
 * Reads the body of a batch's creation while it comes in, and writes its items, each on a line, as they are complete.
 *
 * @param obeysMarks whether an item may say how it ends
 * @returns how each item ends if it is worked on, a letter each
 * @throws ApiError in the API's words if it is not a batch. Then the writer has a part of it
 */
export async function readItems(
  { headers, body }: Request,
  writer: PieceWriter,
  judgement: Judgement,
  obeysMarks: boolean,
): Promise<string> {
  checkJsonType(headers);
  checkLength(headers, MOST_BATCH_BYTES);
  const splitter = new ItemSplitter();
  const ids = new Set<string>();
  let outcomes = '';
  let length = 0;
  for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
    length += chunk.byteLength;
    if (length > MOST_BATCH_BYTES) throw new ApiError(413, 'Request exceeds the maximum size');
    for (const bytes of splitter.push(chunk)) {
      const item = readItem(bytes, ids.size);
      if (ids.has(item.custom_id)) throw invalid(`requests: custom_id must be unique, got ${item.custom_id} twice`);
      ids.add(item.custom_id);
      if (ids.size > MOST_ITEMS) {
        throw invalid(`requests: List should have at most ${MOST_ITEMS} items after validation`);
      }
      outcomes += outcomeOf(item, bytes, judgement, obeysMarks);
      await writer.write(encoder.encode(`${JSON.stringify(item)}\n`));
      // A whole body may have come as one chunk.
      if (ids.size % IN_ONE_GO === 0) await new Promise((resolve) => setTimeout(resolve));
    }
  }
  checkRest(parsedJson(splitter.end(), ''));
  return outcomes;
}

/** @throws ApiError 400 if the JSON around the items is not that of a batch */
function checkRest(rest: Json): void {
  const body = requiredObject(rest, 'body');
  const requests = requiredList(body.requests, 'requests');
  for (const [index, item] of requests.entries()) requiredObject(item, `requests.${index}`);
  if (requests.length === 0) throw invalid('requests: List should have at least 1 item after validation, not 0');
  refuseExtras(body, new Set(['requests']), '');
}
