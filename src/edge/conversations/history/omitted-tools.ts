/** Tools of an agent that the API has rejected. The agent answers without them. */

import { logSettingsWarning } from '../../kit/http/log.ts';
import { maskSecrets } from '../../kit/http/secrets.ts';
import { editJson, parseMemberTexts, splitArrayItems } from '../../kit/json/edit.ts';
import { getMember, isObject, parseJsonObject, toJsonText } from '../../kit/json/object.ts';
import { formatVersionReference } from './storage/rows.ts';
import type { Transcript } from './storage/transcript.ts';

/** A tool that the API has rejected, and its words. */
export interface RejectedTool {
  name: string;
  words: string;
}

/**
 * @param tools the tools that were sent
 * @param runs the tools that Sluice calls, by name: the client needs its own, and knows them
 * @returns the name of the rejected tool; undefined if the conversation has no agent, or the tool is not one that Sluice calls
 */
export function findRejectedToolName(
  { storedProfile: profile }: Transcript,
  index: number,
  tools: unknown,
  runs: ReadonlyMap<string, unknown> | undefined,
): string | undefined {
  const tool: unknown = Array.isArray(tools) ? tools[index] : undefined;
  const name = isObject(tool) ? toJsonText(tool.name) : '';
  return profile?.agent && runs?.has(name) ? name : undefined;
}

/** @returns the names of the tools that are omitted from the requests of a conversation. Another version has its own */
export function listOmittedTools({ storedProfile: profile }: Transcript): readonly string[] {
  const { agent, omittedTools: omitted } = profile ?? {};
  return agent && omitted?.version === formatVersionReference(agent) ? omitted.names : [];
}

/** Omits tools from all later requests of a conversation with this version of its agent. */
export function storeOmittedTools(transcript: Transcript, rejected: readonly RejectedTool[]): void {
  const { storedProfile: profile } = transcript;
  if (!profile?.agent || rejected.length === 0) return;
  const version = formatVersionReference(profile.agent);
  const names = [...listOmittedTools(transcript), ...rejected.map(({ name }) => name)];
  transcript.saveProfile({ ...profile, omittedTools: { version, names } });
  for (const { name, words } of rejected) {
    const warning = `The API rejects the tool ${name} of the agent ${version}, so it is not sent: ${words}`;
    logSettingsWarning(maskSecrets(warning));
  }
}

/**
 * @param rejected the names of tools that are omitted from this request only
 * @returns a request as JSON text without omitted tools
 */
export function removeOmittedTools(text: string, transcript: Transcript, rejected: readonly string[] = []): string {
  const omitted = new Set([...listOmittedTools(transcript), ...rejected]);
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
