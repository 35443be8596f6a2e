/** What an upstream's answer, or its failure, means for the choice between upstreams. */

import { memberOf, parseObject, stringOrUndefined } from '../json/object.ts';
import { isAboutRequest } from './error-blame.ts';

/**
 * An upstream may answer; it may take no more at the moment; it may be broken; or it refuses this deployment, or does not
 * have the model, which only its operator can change. `again` is what the upstream itself asks to be sent again: it is well.
 */
export type UpstreamVerdict =
  | { kind: 'answer' }
  | {
      kind: 'overloaded' | 'down' | 'refused' | 'missing' | 'again' /** What it asks to wait. */;
      waitMs?: number | undefined;
    };

export type FailedVerdict = Exclude<UpstreamVerdict, { kind: 'answer' }>;

/** How long an upstream that refuses this deployment is left alone: that does not change by itself. */
export const REFUSED_MS = 30_000;

/**
 * @param waitMs what its `retry-after` asks for
 * @param text the body of an error; it is looked at for a 403 alone
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

/** @returns what the first bytes of a stream mean: it can begin with an error, although its status is a success's. */
export function judgeOpening(text: string): UpstreamVerdict {
  const [, data] = ERROR_EVENT.exec(text) ?? [];
  return data === undefined ? { kind: 'answer' } : judgeError(data);
}

const ERROR_BODY = /^\s*\{\s*"type"\s*:\s*"error"/;

/**
 * @param text the first bytes of what does not stream
 * @returns what they mean: an error can have the status of a success, and so can a page of whatever stands before the API
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
