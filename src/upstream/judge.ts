/** Judges what an upstream's answer, or its failure, means for the choice between upstreams. */

import { memberOf, parseObject, stringOrUndefined } from '../json/object.ts';
import { isAboutRequest } from './error-blame.ts';

/**
 * What an upstream's response means. `answer`: it works, even if the answer is the caller's own error. `overloaded`: it takes
 * no more requests at the moment. `down`: it is broken. `refused` and `missing`: it refuses this deployment, or does not have
 * the model, which only the operator can change. `again`: it works, and asks to get the same request again.
 */
export type UpstreamVerdict =
  | { kind: 'answer' }
  | {
      kind: 'overloaded' | 'down' | 'refused' | 'missing' | 'again' /** What it asks to wait. */;
      waitMs?: number | undefined;
    };

export type FailedVerdict = Exclude<UpstreamVerdict, { kind: 'answer' }>;

/** Milliseconds for which an upstream that refuses this deployment is not tried. A refusal does not change by itself. */
export const REFUSED_MS = 30_000;

/**
 * Judges a response by its status.
 *
 * @param waitMs the milliseconds that its `retry-after` asks for
 * @param text the body of an error. It matters only for a 403
 */
export function judge(
  { status, headers }: Pick<Response, 'status' | 'headers'>,
  waitMs: number | undefined,
  text: string,
): UpstreamVerdict {
  if (status < 300) return { kind: 'answer' };
  if (status === 429 || status === 529 || status === 503) return { kind: 'overloaded', waitMs };
  if (status === 408 || status >= 500) return { kind: 'down', waitMs };
  if (status === 401 || status === 402 || status < 400) return { kind: 'refused', waitMs: REFUSED_MS };
  if (status === 403 && !isAboutRequest(text)) return { kind: 'refused', waitMs: REFUSED_MS };
  if (status === 409 || headers.get('x-should-retry') === 'true') return { kind: 'again', waitMs };
  return { kind: 'answer' };
}

const ERROR_EVENT = /^(?::.*\n)*event: ?error\r?\ndata: ?(.*)/;

/** Judges the first bytes of a stream. It can begin with an error although its status is that of a success. */
export function judgeOpening(text: string): UpstreamVerdict {
  const [, data] = ERROR_EVENT.exec(text) ?? [];
  return data === undefined ? { kind: 'answer' } : judgeError(data);
}

const ERROR_BODY = /^\s*\{\s*"type"\s*:\s*"error"/;

/**
 * Judges the first bytes of an answer that does not stream. Although its status is that of a success, it can be an error, or
 * a page of something between here and the API.
 */
export function judgeWhole(text: string): UpstreamVerdict {
  if (!/^\s*(?:\{|$)/.test(text)) return { kind: 'down' };
  return ERROR_BODY.test(text) ? judgeError(text) : { kind: 'answer' };
}

function judgeError(json: string): UpstreamVerdict {
  switch (stringOrUndefined(memberOf(memberOf(parseObject(json), 'error'), 'type'))) {
    case 'overloaded_error':
    case 'rate_limit_error':
      return { kind: 'overloaded' };
    case 'api_error':
    case 'timeout_error':
      return { kind: 'down' };
    case 'authentication_error':
    case 'billing_error':
      return { kind: 'refused', waitMs: REFUSED_MS };
    default:
      return { kind: 'answer' };
  }
}
