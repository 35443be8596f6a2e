import type { Scope } from '../../../identity/identity.ts';

/** All scopes. A scope that is missing here is a type error. */
const ALL: Record<Scope, true> = { messages: true, classify: true, prefixes: true, tools: true, admin: true };

export const SCOPE_NAMES = Object.keys(ALL) as Scope[];
