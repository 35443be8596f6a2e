/** What a restricted token may ask: agents and classifiers by name, in its own conversations. Whoever holds it cannot do more. */

import { isOrigin } from '../../kit/http/headers/hosts.ts';
import * as z from '../../kit/http/zod.ts';
import { NAME_RULE, parseRef } from '../../kit/kv/version-ref.ts';
import { DEPLOYMENT, type Scope } from './identity.ts';

/** Marks a name that the account itself has stored. Any other name is the deployment's. */
const OWN = 'own:';
const MOST_BOUND_NAMES = 64;

export const BOUND_SCOPES: readonly Scope[] = ['messages', 'classify'];

const boundRef = z.string().check(
  z.refine((value) => parseRef(nameIn(value)) !== undefined, {
    error: `Input should be a name (${NAME_RULE}), name@version, or one of these behind ${OWN}`,
  }),
);
const names = z.array(boundRef).check(z.minLength(1), z.maxLength(MOST_BOUND_NAMES));
const pattern = z.string().check(
  z.regex(/^(?=.)[A-Za-z0-9_-]{0,128}\*?$/, {
    error: 'Input should be the id of a conversation, or how ids begin, and *',
  }),
);

const pageOrigin = z.string().check(
  z.refine(isOrigin, {
    error:
      'Input should be an origin, such as https://shop.example or capacitor://localhost. Wildcards are not supported: list each origin',
  }),
);

/** The member `only` of a token, and of whom a Worker's own `authenticate` names. */
export const onlySchema = z
  .strictObject({
    agents: z.optionally(
      names,
      'The agents that it may ask. A name is the deployment’s, or behind `own:` the account’s; a version only where it stands here.',
    ),
    classifiers: z.optionally(names, 'The classifiers that it may ask, named like agents.'),
    conversations: z.optionally(
      z.array(pattern).check(z.minLength(1), z.maxLength(MOST_BOUND_NAMES)),
      'The conversations that it may use, by id or by how ids begin (`web-*`). Default: all of its account.',
    ),
    origins: z.optionally(
      z.array(pageOrigin).check(z.minLength(1), z.maxLength(MOST_BOUND_NAMES)),
      'The origins whose pages may send it: those of ALLOWED_ORIGINS alone. It proves nothing outside of browsers. Default: any.',
    ),
    max_requests: z.optionally(
      z.int().check(z.gte(1)),
      'How many messages, turns and classifications it may ask for in all, of those that the ledger still has (RETENTION_DAYS).',
    ),
    approvals: z.optionally(
      z.boolean(),
      '`true`: it sees the calls that wait for an approval in its conversations, and decides, without changing their inputs.',
    ),
    tools: z.optionally(
      z.enum(['shown']),
      '`shown`: it reads the inputs and results of tools that the edge or the API calls, and what answers cite. Default: only which tools were called, and which failed. What the page itself is asked to call is whole in any case.',
    ),
  })
  .check(
    z.refine(({ agents, classifiers }) => agents !== undefined || classifiers !== undefined, {
      error: 'must name agents or classifiers: a token that may ask nothing is of no use',
    }),
  );

export type Only = z.output<typeof onlySchema>;

/** @returns those scopes that a credential keeps if it is bound. */
export function scopesOfBound(scopes: readonly Scope[], only: Only | undefined): readonly Scope[] {
  return only ? scopes.filter((scope) => BOUND_SCOPES.includes(scope)) : scopes;
}

/** What a restricted token means by a name: who must own it, and the version that the token lists. */
export interface BoundName {
  owner: string;
  listed: readonly string[];
}

/**
 * Finds what a restricted token means by the name in a request, which has no mark.
 *
 * @returns undefined if it may not ask this name, or not this version of it
 */
export function boundName(names: readonly string[] = [], account: string, ref: string): BoundName | undefined {
  for (const entry of names) {
    if (nameIn(entry) !== ref) continue;
    const { hash } = parseRef(nameIn(entry)) ?? {};
    return { owner: ownerIn(entry, account), listed: hash === undefined ? [] : [hash] };
  }
  return undefined;
}

/** @returns whether a restricted token may ask what a conversation was begun with, in whatever version it was then. */
export function allowsStored(
  names: readonly string[] = [],
  account: string,
  stored: { owner: string; name: string; hash: string },
): boolean {
  return names.some((entry) => {
    const { name, hash } = parseRef(nameIn(entry)) ?? {};
    const isVersion = hash === undefined || hash === stored.hash;
    return name === stored.name && isVersion && ownerIn(entry, account) === stored.owner;
  });
}

/** @returns whether a restricted token may use the conversation with this id. */
export function allowsConversation({ conversations }: Only, id: string): boolean {
  if (conversations === undefined) return true;
  return conversations.some((one) => (one.endsWith('*') ? id.startsWith(one.slice(0, -1)) : id === one));
}

/** @returns whether a caller does not see what tools were given and gave back. */
export function hidesTools(only: Only | undefined): boolean {
  return only !== undefined && only.tools !== 'shown';
}

/** @returns what a restricted token may ask, to be told to its holder. */
export function namesTold(names: readonly string[] = []): string {
  return names.map(nameIn).join(', ') || 'none';
}

/** @returns the name of a request without the mark: its caller need not know who has stored it. */
function nameIn(entry: string): string {
  return entry.startsWith(OWN) ? entry.slice(OWN.length) : entry;
}

function ownerIn(entry: string, account: string): string {
  return entry.startsWith(OWN) ? account : DEPLOYMENT;
}
