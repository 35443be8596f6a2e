/** Reads request bodies. A long one is read only after its account has said that the caller may ask at all. */
import type { Context } from 'hono';
import { type AppEnv, contextOf } from '../../auth/context.ts';
import { pause } from '../../kit/async/pause.ts';
import { runInSteps, type Steps } from '../../kit/async/run-in-steps.ts';
import type { JsonBody } from '../../kit/http/body/json-body.ts';
import type { IncomingBody } from '../../kit/http/body-memory.ts';
import { LONG_BODY_BYTES, measureShape } from '../../kit/http/body-shape.ts';
import { bodySizeOf, parseJsonInSteps, parseLongInSteps, readBytes, requireJson } from '../../kit/http/read-json.ts';
import type { AdmissionKind } from '../contracts/admission.ts';
import { checkCaller } from './request-admission.ts';

/** The least memory that a parsed JSON value takes up. */
const MIN_VALUE_BYTES = 24;

/**
 * Reads a body that must be a JSON object. It reserves memory for the body until the request has been answered.
 *
 * @param asking what the request takes from its account
 * @throws ApiError 415 for another content type, 413 above the limit, 400 for anything but a JSON object in UTF-8, 503 if
 *   there is no memory; for a long body also 401 for a revoked credential, 429 for a limit that is reached
 */
export async function readJson(c: Context<AppEnv>, asking: AdmissionKind = 'nothing'): Promise<JsonBody> {
  const bytes = await bytesOf(c, asking);
  // Twice, because it is in memory as bytes and as text.
  return await parseInSteps(
    parseJsonInSteps(bytes, ({ values }) => c.get('share').grow(bytes.length * 2 + values * MIN_VALUE_BYTES)),
  );
}

/**
 * Reads a body like `readJson` that will be written as JSON again. A deeply nested value could not be written.
 *
 * @throws ApiError as `readJson`, and 413 for a body that nests too deep, even a short one
 */
export async function readJsonToStore(c: Context<AppEnv>, asking: AdmissionKind): Promise<JsonBody> {
  const body = await readJson(c, asking);
  if (body.bytes.length <= LONG_BODY_BYTES) await runInSteps(measureShape(body.bytes));
  return body;
}

/** A short request of more messages than this takes a while to be judged. */
const MANY_MESSAGES = 1_000;

/**
 * Reads a body like `readJson` that will go up. If it is long, its long strings stay in its bytes. If it is short, but has many
 * messages, the account is asked before anything else is done with them.
 */
export async function readLongJson(c: Context<AppEnv>, asking: AdmissionKind = 'nothing'): Promise<JsonBody> {
  const bytes = await bytesOf(c, asking);
  const body = await parseInSteps(
    parseLongInSteps(bytes, ({ values }) => c.get('share').grow(bytes.length + values * MIN_VALUE_BYTES)),
  );
  const { messages } = body.json;
  const hasMany = Array.isArray(messages) && messages.length > MANY_MESSAGES;
  if (hasMany && bytes.length <= LONG_BODY_BYTES && asking !== 'nothing') await checkCaller(contextOf(c), asking);
  return body;
}

/** @returns the body that was parsed in steps. What is done with a long one begins after a break. */
export async function parseInSteps(parsing: Steps<JsonBody>): Promise<JsonBody> {
  const body = await runInSteps(parsing);
  await pauseAfterBody(body);
  return body;
}

/** Lets others work before more is done with a long body. */
export async function pauseAfterBody(body: JsonBody): Promise<void> {
  if (bodySizeOf(body) > LONG_BODY_BYTES) await pause(0);
}

async function bytesOf(c: Context<AppEnv>, asking: AdmissionKind): Promise<Uint8Array> {
  const request = c.req.raw;
  requireJson(request);
  const share = c.get('share');
  let isAsked = false;
  const grow = (length: number) => {
    if (length <= LONG_BODY_BYTES || isAsked || asking === 'nothing') return share.grow(length);
    isAsked = true;
    return checkCaller(contextOf(c), asking).then(() => share.grow(length));
  };
  const onComing = (body: IncomingBody | undefined) => share.setIncomingBody(body);
  const bytes = await readBytes(request, c.get('settings').MAX_BODY_BYTES, grow, { onComing });
  if (bytes.length > LONG_BODY_BYTES) share.retain(bytes);
  return bytes;
}
