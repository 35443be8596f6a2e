import type { Scope } from '../../identity/identity.ts';

/** What a token may do; a new scope that is missing here is an error of the types. */
const ALL: Record<Scope, true> = { messages: true, classify: true, prefixes: true, admin: true };

export const SCOPE_NAMES = Object.keys(ALL) as Scope[];
