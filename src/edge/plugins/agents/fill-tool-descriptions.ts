/** Describes the tools of an agent that are agents themselves by those agents' own descriptions. */

import { ApiError, createInvalidRequestError } from '../../kit/http/errors.ts';
import { isObject, type JsonObject } from '../../kit/json/object.ts';
import type { FoundVersion } from '../../money/versions/kv-copies.ts';
import type { Agent } from './agent.ts';

/** The most agents without a description: each one is looked up before the agent is stored, while other requests wait. */
const MAX_DESCRIBED_AGENTS = 100;

/**
 * Fills in missing descriptions of tools with `run: {agent}`. If that agent is not stored yet, or has no description, the tool
 * does not change, so agents that call each other can be stored in any order.
 *
 * @param find finds an agent as a call of the tool would
 * @throws ApiError 400 for too many agents, 503 if the store of an agent cannot be reached
 */
export async function fillAgentToolDescriptions(
  tools: JsonObject[],
  find: (agent: string) => Promise<FoundVersion<Agent>>,
): Promise<JsonObject[]> {
  const agents = new Set(tools.flatMap((tool) => findAgentOfUndescribedTool(tool) ?? []));
  if (agents.size > MAX_DESCRIBED_AGENTS) {
    throw createInvalidRequestError(
      `tools: at most ${MAX_DESCRIBED_AGENTS} agents can be used without a description. Add a description to the others.`,
    );
  }
  const descriptions = new Map<string | undefined, string>();
  for (const agent of agents) {
    const found = await find(agent).catch((thrown: unknown) => {
      if (thrown instanceof ApiError && thrown.type === 'not_found_error') return undefined;
      throw thrown;
    });
    descriptions.set(agent, found?.value.definition.description ?? '');
  }
  return tools.map((tool) => {
    const description = descriptions.get(findAgentOfUndescribedTool(tool)) ?? '';
    return description === '' ? tool : { ...tool, description };
  });
}

/** @returns the agent that a tool calls, if the tool has no description of its own */
export function findAgentOfUndescribedTool(tool: unknown): string | undefined {
  const { run, description } = isObject(tool) ? tool : {};
  const { agent } = isObject(run) ? run : {};
  return typeof agent === 'string' && description === undefined ? agent : undefined;
}
