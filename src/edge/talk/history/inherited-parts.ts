/** The system and the tools that a conversation was created with, as JSON texts. A request without its own gets these. */
export interface InheritedParts {
  system: string | undefined;
  tools: string | undefined;
}

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
