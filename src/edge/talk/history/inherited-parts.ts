import type { InheritedParts } from '../../rooms/agents/behind-agent.ts';

/**
 * Finds the system and tools that a request takes from its conversation, because it has none itself.
 *
 * @param sent the members of a request, as JSON texts
 * @param frozen what its conversation was created with
 */
export function inheritedParts(
  sent: ReadonlyMap<string, string>,
  frozen: Partial<InheritedParts> | undefined,
): InheritedParts {
  const partOf = (name: keyof InheritedParts) => (sent.has(name) ? undefined : frozen?.[name]);
  return { system: partOf('system'), tools: partOf('tools') };
}
