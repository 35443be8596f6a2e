/** Tools of an agent that the API has rejected. The agent answers without them. */

import { logWarning } from '../../kit/http/log.ts';
import { maskSecrets } from '../../kit/http/secrets.ts';
import { editJson, parseMemberTexts, splitItems } from '../../kit/json/edit.ts';
import { isObject, memberOf, parseObject, toText } from '../../kit/json/object.ts';
import { refOf } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** How the API names a tool: by its position in the list that was sent. */
const PATH_OF_TOOL = /\btools[.[/](\d+)/;

/** @returns whether the API's words are about a tool */
export function isToolError(words: string): boolean {
  return PATH_OF_TOOL.test(words);
}

/**
 * Omits the tool that the API has rejected from all later requests of a conversation with an agent.
 *
 * @param tools the tools that were sent
 * @param runs the tools that Sluice calls, by name: the client needs its own, and knows them
 * @returns the name of the tool; undefined if the conversation has no agent, or the tool is not one that Sluice calls
 */
export function omitRejectedTool(
  transcript: Transcript,
  words: string,
  tools: unknown,
  runs: ReadonlyMap<string, unknown> | undefined,
): string | undefined {
  const { profile } = transcript;
  const [, number] = PATH_OF_TOOL.exec(words) ?? [];
  const tool: unknown = Array.isArray(tools) ? tools[Number(number)] : undefined;
  const name = isObject(tool) ? toText(tool.name) : '';
  if (!profile?.agent || !runs?.has(name)) return undefined;
  transcript.save({ ...profile, omittedTools: [...(profile.omittedTools ?? []), name] });
  logWarning(
    maskSecrets(`The API rejects the tool ${name} of the agent ${refOf(profile.agent)}, so it is not sent: ${words}`),
  );
  return name;
}

/** @returns a request as JSON text without omitted tools */
export function withoutOmittedTools(text: string, { profile }: Transcript): string {
  const omitted = new Set(profile?.omittedTools);
  const tools = omitted.size > 0 ? parseMemberTexts(text).get('tools') : undefined;
  if (tools === undefined || !tools.startsWith('[')) return text;
  const rest = splitItems(tools).filter((tool) => !omitted.has(toText(memberOf(parseObject(tool), 'name'))));
  return editJson(text, { tools: rest.length > 0 ? `[${rest.join(',')}]` : undefined });
}
