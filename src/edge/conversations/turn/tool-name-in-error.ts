import { ApiError } from '../../kit/http/errors.ts';
import { parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { parseJsonObject, toStringOrUndefined } from '../../kit/json/object.ts';

/** How the API names a tool: by its number in the list that has come up. */
const TOOL_NUMBER = /\btools\.(\d+)\b/;

/**
 * Appends the name of a tool to an API error about `tools.N`, because the caller of an agent has not written that list.
 *
 * @param body the text of the rejected request
 * @returns the same error if it refers to no tool of the request
 */
export function addToolNameToError(error: ApiError, body: string): ApiError {
  if (!TOOL_NUMBER.test(error.message)) return error;
  const tools = parseMemberTexts(body).get('tools');
  const texts = tools?.startsWith('[') ? splitArrayItems(tools) : [];
  const message = addToolNameToMessage(
    error.message,
    texts.map((text) => parseJsonObject(text)?.name),
  );
  return message === error.message ? error : new ApiError(error.type, message, { ...error });
}

/** @param names those of the request's tools. @returns words with the name of the tool that they number; the same words if there is none */
export function addToolNameToMessage(words: string, names: readonly unknown[]): string {
  const [, number] = TOOL_NUMBER.exec(words) ?? [];
  const name = number === undefined ? undefined : toStringOrUndefined(names[Number(number)]);
  return name === undefined ? words : `${words} (the tool ${name})`;
}
