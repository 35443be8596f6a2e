import type { InheritedParts } from '../../agents/behind-agent.ts';

/**
 * @param sent the members of a request, as JSON texts
 * @param frozen what its conversation was created with
 * @returns the conversation's own system and tools, where the request has none
 */
export function inheritedParts(
  sent: ReadonlyMap<string, string>,
  frozen: Partial<InheritedParts> | undefined,
): InheritedParts {
  const partOf = (name: keyof InheritedParts) => (sent.has(name) ? undefined : frozen?.[name]);
  return { system: partOf('system'), tools: partOf('tools') };
}
