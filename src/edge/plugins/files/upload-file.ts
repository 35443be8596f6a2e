/** The upload of a file: its bytes are sent as they come, and nothing keeps them. */

import type { Context } from 'hono';
import { type AppEnv, getRequestContext, type RequestContext } from '../../auth/context.ts';
import { UpstreamFailure } from '../../claude/failure.ts';
import { relayRequest } from '../../claude/relay.ts';
import type { Upstream } from '../../claude/upstream.ts';
import { chooseUpstreamForNewResource } from '../../claude/upstreams/choose-upstream.ts';
import { StreamPieceReader } from '../../kit/http/body/piece-reader.ts';
import {
  type ApiError,
  createInvalidRequestError,
  createNonRetryableError,
  createTooLargeError,
} from '../../kit/http/errors.ts';
import { discardRestOfBody, rejectCompressedBody } from '../../kit/http/read-json.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';
import { MAX_FORM_OVERHEAD_BYTES } from '../../money/account/maintain-files.ts';
import { callAccount } from '../../money/contracts/call-account.ts';
import type { FileUploadOutcome, UploadReport } from '../../money/contracts/ownership.ts';
import { parseFileDescription } from './files.schema.ts';

/**
 * @throws ApiError 415 for a body that is not a form. @returns its length in bytes; undefined if the request does not declare
 *   it
 */
function requireFormAndGetLength({ headers, body }: Request): number | undefined {
  rejectCompressedBody(headers);
  if (!/^multipart\/form-data\s*;.*\bboundary=/i.test(headers.get('content-type') ?? '')) {
    throw createInvalidRequestError(
      'Send the file as a form, with the header content-type: multipart/form-data and a boundary.',
      {
        status: 415,
      },
    );
  }
  if (!body) throw createInvalidRequestError('file: Field required');
  const length = headers.get('content-length');
  return length === null ? undefined : Number(length);
}

/**
 * Forwards a body as it arrives.
 *
 * @param length its length in bytes; undefined if the request does not declare it
 * @param maxBytes a longer body is cut off
 */
function createForwardedBody(request: Request, length: number | undefined, maxBytes: number): ForwardedBody {
  const body = request.body as ReadableStream<Uint8Array>;
  // The runtime enforces the length of a body with a known length, so pass its stream through without reading it in JavaScript.
  if (length !== undefined) {
    return { body, isOverMaxBytes: () => false, countBytes: () => length, discardRest: () => Promise.resolve() };
  }
  let come = 0;
  const { readable, writable } = new IdentityTransformStream();
  const reader = new StreamPieceReader(body);
  const writer = writable.getWriter();
  const forwardPieces = async () => {
    for (let piece = await reader.read(); piece; piece = await reader.read()) {
      come += piece.length;
      if (come > maxBytes) throw new Error('The file is larger than the account can store.');
      await writer.write(piece);
    }
    await writer.close();
  };
  const carrying = forwardPieces().catch(async (thrown: unknown) => {
    reader.releaseLock();
    // Abort the upload with this error; the request to the upstream then fails and reports it.
    writer.abort(thrown).catch(() => undefined);
    // Read the rest of the body: unread bytes would block the caller's next request on the same connection.
    await discardRestOfBody(request);
  });
  return { body: readable, isOverMaxBytes: () => come > maxBytes, countBytes: () => come, discardRest: () => carrying };
}

interface ForwardedBody {
  body: ReadableStream<Uint8Array>;
  isOverMaxBytes(): boolean;
  /** How many have come, or will. */
  countBytes(): number;
  /** Reads the rest of a body that was cut off, for a limited time. */
  discardRest(): Promise<void>;
}

/**
 * Uploads the file of a form to one upstream, and records it for the account before a client can know its id.
 *
 * The request is sent once, because the edge stores nothing that it could send again. If the response is lost, the file's bytes
 * stay counted until the account has found out whether the file exists.
 *
 * @throws ApiError 413 and 415 for the form, 400 if the account may not store that many bytes, and errors of the upstream
 */
export async function uploadFile(c: Context<AppEnv>, upstream: Upstream): Promise<Response> {
  const context = getRequestContext(c);
  const { requestId, settings, waitUntil } = context;
  const most = settings.MAX_FILE_BYTES;
  const bytes = requireFormAndGetLength(c.req.raw);
  if ((bytes ?? 0) > most + MAX_FORM_OVERHEAD_BYTES) {
    await discardRestOfBody(c.req.raw);
    throw createTooLargeError(most);
  }
  const place = upstream.pool ? chooseUpstreamForNewResource(upstream.pool, 'files') : undefined;
  const upload = { id: requestId, upstream: place ?? '', bytes, most: most + MAX_FORM_OVERHEAD_BYTES };
  const begun = await callAccount(context, (account) => account.beginUpload(upload));
  if (begun.outcome === 'full') throw createStorageFullError(begun.most);
  const up = createForwardedBody(c.req.raw, bytes, begun.left);
  const reportUploadOutcome = (end: FileUploadOutcome): UploadReport => ({
    id: requestId,
    upstream: upload.upstream,
    at: begun.at,
    end,
  });
  /** Ends an upload that was broken off here: a part of a form is no file. @returns its error */
  const failInterruptedUpload = async (): Promise<ApiError> => {
    waitUntil(reportUploadToAccount(context, reportUploadOutcome({ outcome: 'failed' })));
    await up.discardRest();
    return bytes === undefined && begun.left < most ? createStorageFullError(begun.left) : createTooLargeError(most);
  };
  let wasSent = false;
  let response: Response;
  try {
    response = await relayRequest(
      {
        path: '/v1/files',
        caller: c.req.raw,
        body: () => up.body,
        routing: { streams: false, requiredUpstream: place },
      },
      {
        upstream,
        settings: { ...settings, UPSTREAM_MAX_RETRIES: 0 },
        requestId,
        waitUntil,
        onEnd: ({ sent }) => {
          wasSent = sent;
          return undefined;
        },
      },
    );
  } catch (thrown) {
    if (up.isOverMaxBytes()) throw await failInterruptedUpload();
    const isNoFile = !(wasSent || thrown instanceof UpstreamFailure);
    waitUntil(
      reportUploadToAccount(
        context,
        reportUploadOutcome(isNoFile ? { outcome: 'failed' } : { outcome: 'unknown', bytes: up.countBytes() }),
      ),
    );
    throw thrown;
  }
  const text = await response.text();
  // The upload was cut at the size limit, so the upstream may only have rejected an incomplete form. Report the size limit
  // instead.
  if (up.isOverMaxBytes() && !response.ok) throw await failInterruptedUpload();
  const file = response.ok ? parseFileDescription(parseJsonOrUndefined(text)) : undefined;
  const end: FileUploadOutcome = file
    ? { outcome: 'made', file }
    : response.ok || wasSent
      ? { outcome: 'unknown', bytes: up.countBytes() }
      : { outcome: 'failed' };
  // Return the file only after the account has recorded its id: before that, the caller could not use the file.
  await reportUploadToAccount(context, reportUploadOutcome(end));
  return new Response(text, response);
}

async function reportUploadToAccount(context: RequestContext, report: UploadReport): Promise<void> {
  await callAccount(context, (account) => account.endUpload(report), 'persistent');
}

function createStorageFullError(most: number): ApiError {
  return createNonRetryableError(
    'invalid_request_error',
    `This file does not fit into the ${most} bytes that the account can store (its limit \`stored_bytes\`). Delete files or conversations, or ask an admin to raise the limit.`,
    { details: { error_code: 'storage_quota_exceeded' } },
  );
}
