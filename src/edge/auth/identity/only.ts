/** The restrictions of a restricted token: it may only use agents and classifiers that it names, in its own conversations. */

import { isOrigin, suggestOrigin } from '../../kit/http/headers/hosts.ts';
import * as z from '../../kit/http/zod.ts';
import { NAME_RULE, parseVersionRef } from '../../kit/kv/version-ref.ts';
import { DEPLOYMENT, type Scope } from './identity.ts';

/** Marks a name that the account itself has stored. Any other name is the deployment's. */
const OWN_MARK = 'own:';
const MAX_RESTRICTED_NAMES = 64;

export const RESTRICTED_SCOPES: readonly Scope[] = ['messages', 'classify'];

const restrictedRef = z.string().check(
  z.refine((value) => parseVersionRef(stripOwnerMark(value)) !== undefined, {
    error: `Input should be a name (${NAME_RULE}), name@version, or one of these after ${OWN_MARK}`,
  }),
);
const names = z.array(restrictedRef).check(z.minLength(1), z.maxLength(MAX_RESTRICTED_NAMES));
const conversationPattern = z.string().check(
  z.regex(/^(?=.)[A-Za-z0-9_-]{0,128}\*?$/, {
    error: 'Input should be the id of a conversation, or a prefix of ids followed by *',
  }),
);

const pageOrigin = z.string().check(
  z.refine(isOrigin, {
    error: ({ input }) =>
      `Input should be an origin, such as https://shop.example or capacitor://localhost. Wildcards are not supported: list each origin${suggestOrigin(input)}`,
  }),
);

/** The member `only` of a token, and of whom a Worker's own `authenticate` names. */
export const onlySchema = z
  .strictObject({
    agents: z.createOptionalField(
      names,
      'The agents that the token may use. A name refers to the deployment’s agent, or with the prefix `own:` to the account’s. To allow a specific version, list it as `name@version`.',
    ),
    classifiers: z.createOptionalField(names, 'The classifiers that the token may use, named like agents.'),
    conversations: z.createOptionalField(
      z.array(conversationPattern).check(z.minLength(1), z.maxLength(MAX_RESTRICTED_NAMES)),
      'The conversations that the token may use, by id or by the beginning of ids (`web-*`). Default: all of its account.',
    ),
    origins: z.createOptionalField(
      z.array(pageOrigin).check(z.minLength(1), z.maxLength(MAX_RESTRICTED_NAMES)),
      'The origins whose pages may send the token, out of `ALLOWED_ORIGINS`. Only browsers enforce it. Default: any.',
    ),
    max_requests: z.createOptionalField(
      z.int().check(z.gte(1)),
      'The most messages, turns and classifications in total, counted in the ledger (`RETENTION_DAYS`).',
    ),
    approvals: z.createOptionalField(
      z.boolean(),
      '`true`: the token can list and decide the approvals of its conversations, without changing inputs.',
    ),
    tools: z.createOptionalField(
      z.enum(['shown']),
      '`shown`: the token can read citations and the inputs and results of tools that Sluice or the API calls. Default: only which tools were called and which failed. Calls of the client’s own tools always include their inputs and results.',
    ),
  })
  .check(
    z.refine(({ agents, classifiers }) => agents !== undefined || classifiers !== undefined, {
      error: 'requires `agents` or `classifiers`, because a token without them cannot send requests',
    }),
  );

export type TokenRestrictions = z.output<typeof onlySchema>;

/** @returns those scopes that a restricted credential keeps. */
export function filterRestrictedScopes(
  scopes: readonly Scope[],
  only: TokenRestrictions | undefined,
): readonly Scope[] {
  return only ? scopes.filter((scope) => RESTRICTED_SCOPES.includes(scope)) : scopes;
}

/** The resource that a restricted token means by a name: its owner, and the version that the token lists. */
export interface ResolvedRestrictedName {
  owner: string;
  listedVersions: readonly string[];
}

/**
 * Finds the resource that a restricted token means by the name in a request, which has no owner mark.
 *
 * @returns undefined if the token may not use this name, or not this version of it
 */
export function resolveRestrictedName(
  names: readonly string[] = [],
  account: string,
  ref: string,
): ResolvedRestrictedName | undefined {
  for (const entry of names) {
    if (stripOwnerMark(entry) !== ref) continue;
    const { hash } = parseVersionRef(stripOwnerMark(entry)) ?? {};
    return { owner: resolveEntryOwner(entry, account), listedVersions: hash === undefined ? [] : [hash] };
  }
  return undefined;
}

/**
 * @returns whether a restricted token may use the agent with which a conversation was begun, in whatever version it was then.
 */
export function canUseStored(
  names: readonly string[] = [],
  account: string,
  stored: { owner: string; name: string; hash: string },
): boolean {
  return names.some((entry) => {
    const { name, hash } = parseVersionRef(stripOwnerMark(entry)) ?? {};
    const isVersion = hash === undefined || hash === stored.hash;
    return name === stored.name && isVersion && resolveEntryOwner(entry, account) === stored.owner;
  });
}

/** @returns whether a restricted token may use the conversation with this id. */
export function canUseConversation({ conversations }: TokenRestrictions, id: string): boolean {
  if (conversations === undefined) return true;
  return conversations.some((one) => (one.endsWith('*') ? id.startsWith(one.slice(0, -1)) : id === one));
}

/** @returns whether a caller does not see what tools were given and gave back. */
export function shouldHideToolContents(only: TokenRestrictions | undefined): boolean {
  return only !== undefined && only.tools !== 'shown';
}

/** @returns the names that a restricted token may use, for an error to its holder. */
export function describeAllowedNames(kind: 'agents' | 'classifiers', names: readonly string[] = []): string {
  if (names.length === 0) return `this credential cannot use ${kind}. Use another token.`;
  return `this credential can use only ${names.map(stripOwnerMark).join(', ')}. Name one of these ${kind}.`;
}

/** @returns the name without the owner mark, because the caller need not know the owner. */
function stripOwnerMark(entry: string): string {
  return entry.startsWith(OWN_MARK) ? entry.slice(OWN_MARK.length) : entry;
}

function resolveEntryOwner(entry: string, account: string): string {
  return entry.startsWith(OWN_MARK) ? account : DEPLOYMENT;
}
