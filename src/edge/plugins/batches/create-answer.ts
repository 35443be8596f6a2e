/** Classifies the upstream's response to a create request, and builds the caller's response. */

import type { RequestContext } from '../../auth/context.ts';
import { toCallerResponse } from '../../claude/buffered-response.ts';
import { classifyFailure, classifyIfFailed } from '../../claude/classify-failure.ts';
import { toCallerHeaders } from '../../claude/headers.ts';
import { readStartOfError } from '../../claude/relay/read-start.ts';
import { isErrorBody } from '../../claude/usage/usage-report.ts';
import { pause } from '../../kit/async/pause.ts';
import { encodeUtf8 } from '../../kit/http/bytes.ts';
import { createNonRetryableError, createNotFoundError } from '../../kit/http/errors.ts';
import { parseJsonObject, toStringOrUndefined } from '../../kit/json/object.ts';
import type { BatchCreateOutcome, BatchState } from './contracts/batch.ts';
import { type Upload, UploadRejectedEarlyError } from './upload.ts';
import type { BatchTarget } from './upstream-batches.ts';

/** Milliseconds that the body of the upstream's answer to a create may take. */
const ANSWER_BODY_MS = 15_000;

type BatchCreateRejection = Omit<Extract<BatchCreateOutcome, { kind: 'refused' }>, 'kind'>;

/** @returns a batch as its maker gets it; the upstream's refusal @throws ApiError 504 for one of which it is not known whether it was made */
export function toBatchResponse(state: BatchState, context: RequestContext): Response {
  if (state.kind === 'known') {
    const { batch } = state;
    if (batch.unknown === undefined) return Response.json(batch);
    throw createNonRetryableError('timeout_error', batch.unknown, { logged: 'batch_unknown' });
  }
  if (state.kind === 'none')
    throw createNotFoundError(
      'The batch was deleted in the meantime. If you still need it, create it again with a new idempotency-key.',
    );
  return createRejectionResponse(state, context);
}

/** Sends the end of a create request. @returns its outcome */
export async function finishUploadAndReadOutcome(
  upload: Upload,
  target: BatchTarget,
  ...end: Parameters<Upload['sendEnd']>
): Promise<BatchCreateOutcome> {
  let response: Response;
  try {
    response = await upload.sendEnd(...end);
  } catch (thrown) {
    if (!(thrown instanceof UploadRejectedEarlyError)) return { kind: 'lost' };
    response = thrown.response;
  }
  const refused = await readRejection(response, target);
  const json = parseJsonObject(refused.body);
  if (response.ok && typeof json?.id === 'string') {
    return { kind: 'made', id: json.id, expiresAt: toStringOrUndefined(json.expires_at) ?? '' };
  }
  const { kind } = classifyFailure(response, { text: refused.body, elapsedMs: 0 });
  // The upstream may have created the batch if it returned a 2xx without a batch id and without an error, or if a gateway
  // returned a 5xx. Report the outcome as unknown.
  if ((response.ok && !isErrorBody(json)) || (response.status > 500 && kind === 'down')) return { kind: 'lost' };
  // An error in the API's own format (such as 529 `overloaded_error`) means that no batch was created. An error of a gateway in
  // front of the API proves nothing.
  const isOfGateway = (response.ok || response.status > 500) && json?.type !== 'error';
  return { kind: kind === 'down' || isOfGateway ? 'doubtful' : 'refused', ...refused };
}

/** @returns the upstream's refusal of a create, in its own words if the caller may see them. */
export function createRejectionResponse(
  { status, body, headers }: BatchCreateRejection,
  { requestId }: RequestContext,
): Response {
  const response = { status, headers: new Headers(headers) };
  const refusal = classifyIfFailed(response, body);
  return toCallerResponse(
    response,
    { kind: refusal ? 'error' : 'nothing', body: encodeUtf8(body), refusal },
    requestId,
  );
}

/** Reads a rejection, and records it for the upstream's health. */
export async function readRejection(response: Response, target: BatchTarget): Promise<BatchCreateRejection> {
  const { status, headers } = response;
  // Read only the start of the error body. If it does not arrive in time, the rejection has no text.
  const start = readStartOfError(response).then(async ({ text, response: whole }) => {
    await whole.body?.cancel();
    return text;
  });
  const body = await Promise.race([start, pause(ANSWER_BODY_MS).then(() => '')]);
  target.recordCreateVerdict(classifyFailure(response, { text: body, elapsedMs: 0 }));
  return { status, body, headers: { ...toCallerHeaders(headers) } };
}
