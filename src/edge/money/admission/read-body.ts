/** Reads request bodies. A long one is read only after the account has confirmed that the caller may send requests at all. */
import type { Context } from 'hono';
import { type AppEnv, getRequestContext } from '../../auth/context.ts';
import { pause } from '../../kit/async/pause.ts';
import { runInSteps, type SteppedWork } from '../../kit/async/run-in-steps.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import type { IncomingBody } from '../../kit/http/body-memory.ts';
import { LONG_BODY_BYTES, measureJsonShape } from '../../kit/http/body-shape.ts';
import {
  getBodySize,
  parseJsonInSteps,
  parseLongJsonInSteps,
  readBodyBytes,
  requireJsonContentType,
} from '../../kit/http/read-json.ts';
import type { RequestCostKind } from '../contracts/admission.ts';
import { requireCallerCanSend } from './request-admission.ts';

/** The least memory that a parsed JSON value takes up. */
const MIN_VALUE_BYTES = 24;

/**
 * Reads a body that must be a JSON object. It reserves memory for the body until the request has been answered.
 *
 * @param costKind how the request counts for its account. Unless it is `nothing`, the account is asked before a long body is read
 * @throws ApiError 415 for another content type, 413 above the limit, 400 for anything but a JSON object in UTF-8, 503 if
 *   there is no memory; for a long body also 401 for a revoked credential, 429 for a limit that is reached
 */
export async function readJsonBody(c: Context<AppEnv>, costKind: RequestCostKind = 'nothing'): Promise<JsonBody> {
  const bytes = await readBodyBytesWithMemory(c, costKind);
  // Reserve twice the size: the body is in memory as bytes and as text. Each parsed value needs memory, too.
  return await parseBodyWithPause(
    parseJsonInSteps(bytes, ({ values }) =>
      c.get('bodyMemory').reserveBytes(bytes.length * 2 + values * MIN_VALUE_BYTES),
    ),
  );
}

/**
 * Reads a body as `readJsonBody` does, if it will be serialized again. A deeply nested value could not be serialized.
 *
 * @throws ApiError as `readJsonBody`, and 413 for a body that is nested too deeply, even a short one
 */
export async function readJsonBodyToStore(c: Context<AppEnv>, costKind: RequestCostKind): Promise<JsonBody> {
  const body = await readJsonBody(c, costKind);
  if (body.bytes.length <= LONG_BODY_BYTES) await runInSteps(measureJsonShape(body.bytes));
  return body;
}

/** A short request of more messages than this takes a while to be judged. */
const MANY_MESSAGES = 1_000;

/**
 * Reads a body as `readJsonBody` does, if it will be forwarded. The long strings of a long body stay in its bytes. If a short
 * body has many messages, the account is checked before they are processed.
 *
 * @throws ApiError as `readJsonBody`
 */
export async function readJsonBodyToForward(
  c: Context<AppEnv>,
  costKind: RequestCostKind = 'nothing',
): Promise<JsonBody> {
  const bytes = await readBodyBytesWithMemory(c, costKind);
  const body = await parseBodyWithPause(
    parseLongJsonInSteps(bytes, ({ values }) =>
      c.get('bodyMemory').reserveBytes(bytes.length + values * MIN_VALUE_BYTES),
    ),
  );
  const { messages } = body.json;
  const hasMany = Array.isArray(messages) && messages.length > MANY_MESSAGES;
  if (hasMany && bytes.length <= LONG_BODY_BYTES && costKind !== 'nothing')
    await requireCallerCanSend(getRequestContext(c), costKind);
  return body;
}

/** @returns the body that was parsed in steps. What is done with a long one begins after a break. */
export async function parseBodyWithPause(parsing: SteppedWork<JsonBody>): Promise<JsonBody> {
  const body = await runInSteps(parsing);
  await pauseAfterLongBody(body);
  return body;
}

/** Lets other requests run before a long body is processed further. */
export async function pauseAfterLongBody(body: JsonBody): Promise<void> {
  if (getBodySize(body) > LONG_BODY_BYTES) await pause(0);
}

async function readBodyBytesWithMemory(c: Context<AppEnv>, costKind: RequestCostKind): Promise<Uint8Array> {
  const request = c.req.raw;
  requireJsonContentType(request);
  const memory = c.get('bodyMemory');
  let isCallerChecked = false;
  const reserveBodyMemory = (length: number) => {
    if (length <= LONG_BODY_BYTES || isCallerChecked || costKind === 'nothing') return memory.reserveBytes(length);
    isCallerChecked = true;
    return requireCallerCanSend(getRequestContext(c), costKind).then(() => memory.reserveBytes(length));
  };
  const onIncomingBody = (body: IncomingBody | undefined) => memory.setIncomingBody(body);
  const bytes = await readBodyBytes(request, c.get('settings').MAX_BODY_BYTES, reserveBodyMemory, { onIncomingBody });
  if (bytes.length > LONG_BODY_BYTES) memory.freeBytesOnRelease(bytes);
  return bytes;
}
