import { invalidRequest } from '../http/errors.ts';
import { validate } from '../http/validate.ts';
import { namedAgent } from './agents.schema.ts';

/**
 * @returns the agent that a request names in its body or its header
 * @throws ApiError 400 for what cannot be a name, or if body and header differ
 */
export function agentNamed(headers: Headers, body: Readonly<Record<string, unknown>>): string | undefined {
  const header = headers.get('sluice-agent') ?? undefined;
  const field = Object.hasOwn(body, 'agent') ? body.agent : undefined;
  const given = field ?? header;
  if (given === undefined) return undefined;
  const { agent } = validate(namedAgent, { agent: given });
  if (header !== undefined && header !== agent) {
    throw invalidRequest('agent: the body and the header sluice-agent name different ones. Send one.');
  }
  return agent;
}

/** @throws ApiError 400 for a request that names an agent, and no conversation */
export function refuseAgent(headers: Headers, body: Readonly<Record<string, unknown>>): void {
  if (agentNamed(headers, body) === undefined) return;
  throw invalidRequest(
    'agent: an agent needs a conversation, which keeps its steps. Send `conversation`, with an id of your own.',
  );
}
