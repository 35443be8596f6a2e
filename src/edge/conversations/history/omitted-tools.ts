/** Tools of an agent that the API has rejected. The agent answers without them. */

import { logSettingsWarning } from '../../kit/http/log.ts';
import { maskSecrets } from '../../kit/http/secrets.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { getMember, isObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { formatVersionReference } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** How the API names a tool: by its position in the list that was sent. */
const PATH_OF_TOOL = /\btools[.[/](\d+)/;

/** @returns whether the API's words are about a tool */
export function isErrorAboutTool(words: string): boolean {
  return PATH_OF_TOOL.test(words);
}

/**
 * Omits the tool that the API has rejected from all later requests of a conversation with an agent.
 *
 * @param tools the tools that were sent
 * @param runs the tools that Sluice calls, by name: the client needs its own, and knows them
 * @returns the name of the tool; undefined if the conversation has no agent, or the tool is not one that Sluice calls
 */
export function storeRejectedToolAsOmitted(
  transcript: Transcript,
  words: string,
  tools: unknown,
  runs: ReadonlyMap<string, unknown> | undefined,
): string | undefined {
  const { storedProfile: profile } = transcript;
  const [, number] = PATH_OF_TOOL.exec(words) ?? [];
  const tool: unknown = Array.isArray(tools) ? tools[Number(number)] : undefined;
  const name = isObject(tool) ? toJsonText(tool.name) : '';
  if (!profile?.agent || !runs?.has(name)) return undefined;
  transcript.saveProfile({ ...profile, omittedTools: [...(profile.omittedTools ?? []), name] });
  logSettingsWarning(
    maskSecrets(
      `The API rejects the tool ${name} of the agent ${formatVersionReference(profile.agent)}, so it is not sent: ${words}`,
    ),
  );
  return name;
}

/** @returns a request as JSON text without omitted tools */
export function removeOmittedTools(text: string, { storedProfile: profile }: Transcript): string {
  const omitted = new Set(profile?.omittedTools);
  const tools = omitted.size > 0 ? parseMemberTexts(text).get('tools') : undefined;
  if (tools === undefined || !tools.startsWith('[')) return text;
  const rest = splitArrayItems(tools).filter(
    (tool) => !omitted.has(toJsonText(getMember(parseJsonObject(tool), 'name'))),
  );
  const choice = parseJsonObject(parseMemberTexts(text).get('tool_choice') ?? '');
  // Also remove `tool_choice` if it cannot be satisfied: the API rejects a choice without tools, or of a tool that is not in
  // `tools`.
  const hasNoChoice = rest.length === 0 || omitted.has(toJsonText(choice?.name));
  return editJson(text, {
    tools: rest.length > 0 ? `[${rest.join(',')}]` : undefined,
    ...(hasNoChoice && { tool_choice: undefined }),
  });
}
