/** How a 404 says that a model is not there: with another upstream it may be. */

import { isObject } from '../../json/object.ts';
import { parseOrUndefined } from '../../json/parse.ts';

/** @returns the `error` of a body in JSON, which Google writes as a list of one; empty where there is none. */
export function errorInText(text: string): Record<string, unknown> {
  const body = parseOrUndefined(text);
  const [first] = Array.isArray(body) ? body : [body];
  return isObject(first) && isObject(first.error) ? first.error : {};
}

/**
 * @param text the body of a 404
 * @param idThere the id by which the model was called
 * @returns whether it is the Claude API's error about that model. A file or a container that is not there has the same type
 */
export function saysModelIsMissing(text: string, idThere: string): boolean {
  const { type, message } = errorInText(text);
  return type === 'not_found_error' && typeof message === 'string' && namesIn(message).includes(idThere);
}

/** @returns what may be a name: a caller can have another one told that only begins as the model's does. */
function namesIn(message: string): string[] {
  return message.split(/[^\w.@:/-]+/).map((word) => word.replace(/[.:]+$/, ''));
}
