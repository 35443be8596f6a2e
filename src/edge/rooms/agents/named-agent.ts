import { invalidRequest } from '../../kit/http/errors.ts';
import { extensionField } from '../../kit/http/extension-field.ts';
import { namedAgent } from './agents.schema.ts';

/**
 * @returns the agent that a request names in its body or its header
 * @throws ApiError 400 for what cannot be a name, or if body and header differ
 */
export function agentNamed(headers: Headers, body: Readonly<Record<string, unknown>>): string | undefined {
  return extensionField('agent', namedAgent, body.agent ?? undefined, headers);
}

/** @throws ApiError 400 for a request that narrows the tools of an agent, and stands behind none */
export function refuseNarrowing(body: Readonly<Record<string, unknown>>): void {
  if (!Object.hasOwn(body, 'agent_tools')) return;
  throw invalidRequest(
    'agent_tools: there is no agent here whose tools it could narrow. Name one by `agent`, or leave it out.',
  );
}
