import { ApiError } from '../../kit/http/errors.ts';
import { itemTexts, memberTexts } from '../../kit/json/edit.ts';
import { parseObject, stringOrUndefined } from '../../kit/json/object.ts';

/** How the API names a tool: by its number in the list that has come up. */
const NUMBERED = /\btools\.(\d+)\b/;

/**
 * Puts the name of a tool behind the API's words about `tools.N`: who asks an agent has not written that list.
 *
 * @param body the text of the request that was refused
 * @returns the error itself where its words number no tool of the request
 */
export function withToolName(error: ApiError, body: string): ApiError {
  const [, number] = NUMBERED.exec(error.message) ?? [];
  const tools = number === undefined ? undefined : memberTexts(body).get('tools');
  const tool = tools?.startsWith('[') ? itemTexts(tools)[Number(number)] : undefined;
  const name = stringOrUndefined(parseObject(tool ?? '')?.name);
  if (name === undefined) return error;
  return new ApiError(error.type, `${error.message} (the tool ${name})`, { ...error });
}
