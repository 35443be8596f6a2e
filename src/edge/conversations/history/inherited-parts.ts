import type { HistorySetting } from './history.schema.ts';

/** The system and the tools that a conversation was created with, as JSON texts. A request without its own gets these. */
export interface InheritedSystemAndTools {
  system: string | undefined;
  tools: string | undefined;
}

/** The defaults that a prefix or an agent gives to a new conversation. */
export interface NewConversationDefaults {
  model: string | undefined;
  maxTokens: number | undefined;
  history?: HistorySetting | undefined;
  /** Its tools that the edge calls itself, with their names, as a JSON list. */
  runs: string | undefined;
}

/**
 * Finds the system and tools that a request takes from its conversation, because it has none itself.
 *
 * @param members the members of a request, as JSON texts
 * @param frozen what its conversation was created with
 */
export function findInheritedSystemAndTools(
  members: ReadonlyMap<string, string>,
  frozen: Partial<InheritedSystemAndTools> | undefined,
): InheritedSystemAndTools {
  const findInheritedPart = (name: keyof InheritedSystemAndTools) => (members.has(name) ? undefined : frozen?.[name]);
  return { system: findInheritedPart('system'), tools: findInheritedPart('tools') };
}
