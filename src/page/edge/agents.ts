/** Keeps the list of available agents, and distinguishes their names. */

import type { NamedResourceRow, Page } from '../../client/index.ts';
import { readJson } from './client.ts';
import { createTokenSignal } from './credential.ts';
import { hasUnrestrictedScope, isRestricted, listRestrictedNames } from './identity.ts';
import { hasPlugin } from './plugins.ts';

const MAX_AGENTS = 1_000;
/** The number of characters of a version's long hash that distinguish it from others. */
const SHORT_VERSION_CHARACTERS = 8;

/** The agents; undefined until they are known. */
export const agents = createTokenSignal<NamedResourceRow[] | undefined>(undefined);

/** Reads the list of agents, where the edge has any. A restricted token cannot read it. */
export async function refreshAgentList(): Promise<void> {
  if (!hasPlugin('agents') || !hasUnrestrictedScope('messages')) {
    agents.value = [];
    return;
  }
  agents.value = (await readJson<Page<NamedResourceRow>>('/agents', { query: { limit: MAX_AGENTS } })).data;
}

/** @returns the names of the agents that the token can use */
export function listUsableAgents(): readonly string[] {
  return isRestricted() ? listRestrictedNames('agents') : [...new Set(agents.value?.map(({ name }) => name))];
}

/** @returns the name of a version `name@version` */
export function parseVersionName(version: string): string {
  return version.slice(0, version.lastIndexOf('@'));
}

/** @returns a version `name@version` with a shortened hash */
export function shortenVersionHash(version: string): string {
  return version.slice(parseVersionName(version).length + 1).slice(0, SHORT_VERSION_CHARACTERS);
}
