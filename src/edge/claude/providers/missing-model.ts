/** Determines whether a 404 means that a model does not exist at this upstream. Another upstream may offer it. */

import { isObject } from '../../kit/json/object.ts';
import { parseJsonOrUndefined } from '../../kit/json/parse.ts';

/** @returns the `error` in a JSON body (Google sends it in a list of one); an empty object if there is none. */
export function parseErrorText(text: string): Record<string, unknown> {
  const body = parseJsonOrUndefined(text);
  const [first] = Array.isArray(body) ? body : [body];
  return isObject(first) && isObject(first.error) ? first.error : {};
}

/**
 * @param text the body of a 404
 * @param idThere the id by which the model was called
 * @returns whether it is the Claude API's error about that model. A missing file or container has the same error type
 */
export function isMissingModelError(text: string, idThere: string): boolean {
  const { type, message } = parseErrorText(text);
  return type === 'not_found_error' && typeof message === 'string' && extractNameCandidates(message).includes(idThere);
}

/**
 * @returns the words of a message that may be names. A whole name must match: another one may only begin like the model's.
 */
function extractNameCandidates(message: string): string[] {
  return message.split(/[^\w.@:/-]+/).map((word) => word.replace(/[.:]+$/, ''));
}
