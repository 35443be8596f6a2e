/** Describes the tools of an agent that are agents themselves by those agents' own descriptions. */

import { ApiError } from '../http/errors.ts';
import { isObject, type Json } from '../json/object.ts';
import type { FoundAgent } from './find-agent.ts';

/**
 * Fills in missing descriptions of tools with `run: {agent}`. If the agent is not stored yet, or has no description, the tool
 * does not change. So agents that call each other can be stored in any order.
 *
 * @param find finds an agent as a call of the tool would
 * @throws ApiError 503 while an agent cannot be asked for
 */
export async function describedTools(tools: Json[], find: (agent: string) => Promise<FoundAgent>): Promise<Json[]> {
  return await Promise.all(
    tools.map(async (tool) => {
      const { agent } = isObject(tool.run) ? tool.run : {};
      if (typeof agent !== 'string' || tool.description !== undefined) return tool;
      const found = await find(agent).catch((thrown: unknown) => {
        if (thrown instanceof ApiError && thrown.type === 'not_found_error') return undefined;
        throw thrown;
      });
      const description = found?.definition.description;
      return description === undefined || description === '' ? tool : { ...tool, description };
    }),
  );
}
