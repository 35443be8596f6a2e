/** Reads what is asked of a conversation, as it crosses to its object and as the object has stored it, in two forms. */
import type { Json } from '../../kit/json/object.ts';
import type { TurnRequest } from './conversation.ts';

/** What is asked of rooms: by the names that clients use, the members of the form that is written. */
const MEMBERS_ASKED = {
  show: 'show',
  background: 'background',
  retry: 'retry',
  deliver_url: 'deliverUrl',
  prefix: 'prefix',
  agent: 'agent',
  agent_owner: 'agentOwner',
  agent_listed: 'agentListed',
  model: 'model',
  fallback_models: 'fallbacks',
  parent: 'parent',
} as const satisfies Record<string, keyof TurnRequest>;

/**
 * Reads a request that has what is asked of rooms among its other members, as this release writes it, or by name in `asked`,
 * as the next one does. What is asked of no room here is left out.
 */
export function readRequest<Request extends object>(sent: Request & { asked?: Json }): Request {
  if (sent.asked === undefined) return sent;
  const { asked, ...request } = sent;
  const given = Object.entries(MEMBERS_ASKED).filter(([name]) => Object.hasOwn(asked, name));
  return Object.assign(request, Object.fromEntries(given.map(([name, member]) => [member, asked[name]]))) as Request;
}
