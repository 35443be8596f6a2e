/** What callers send to the routes of batches. */

import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';

/** The most items of a batch, as the API allows. */
export const MOST_ITEMS = 100_000;

/** What identifies an item in its batch. */
export const CUSTOM_ID = /^[a-zA-Z0-9_-]{1,64}$/;

const customId = z
  .string({ error: createFieldError('Input should be a valid string') })
  .check(z.regex(CUSTOM_ID, `String should match pattern ${CUSTOM_ID.source}`));

/** One request of a batch. Its `params` are checked as a request to `/v1/messages` is. */
export const batchItem = z.looseObject({
  custom_id: z.addDescription(
    customId,
    'An id that is unique in the batch, 1 to 64 letters, digits, hyphens or underscores. The result has the same id.',
  ),
  params: z.addDescription(
    z.looseObject({}, { error: createFieldError('Input should be an object') }),
    'The body of a Messages request, as for `POST /v1/messages`, without `stream` and `conversation`.',
  ),
});

export const batchQuery = z.looseObject({
  dry_run: z.createOptionalField(
    z.enum(['true', 'false'], { error: 'Input should be true or false' }),
    '`true`: estimates the cost and whether the budget covers it, without creating a batch.',
  ),
});

const requests = z.array(batchItem).check(z.minLength(1), z.maxLength(MOST_ITEMS));

/** The body of a create, as the reference shows it: it is read as a stream, item by item, never as a whole. */
export const createBatchRequest = z.looseObject({
  requests: z.addDescription(requests, 'The requests of the batch, 1 to 100,000.'),
  deliver_url: z.createOptionalField(
    z.string(),
    'The URL to which the signed event `batch.ended` is sent. Its host must be in `DELIVER_HOSTS`. Default: `BATCH_DELIVER_URL`.',
  ),
});
