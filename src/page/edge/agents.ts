/** Keeps the list of the agents that can be asked, and tells their names apart. */
import { signal } from '@preact/signals';
import type { NamedResourceRow, Page } from '../../client/index.ts';
import { readJson } from './client.ts';
import { hasPlugin } from './plugins.ts';

const MAX_AGENTS = 1_000;
/** A version's name is long: these many characters tell it from the others. */
const SHORT_VERSION_CHARACTERS = 8;

/** The agents; undefined until they are known. */
export const agents = signal<NamedResourceRow[] | undefined>(undefined);

/** Reads the list of agents, where the edge has any. */
export async function refreshAgentList(): Promise<void> {
  if (!hasPlugin('agents')) {
    agents.value = [];
    return;
  }
  agents.value = (await readJson<Page<NamedResourceRow>>('/agents', { query: { limit: MAX_AGENTS } })).data;
}

/** @returns the name of a version `name@version` */
export function parseVersionName(version: string): string {
  return version.slice(0, version.lastIndexOf('@'));
}

/** @returns as much of a version `name@version` as tells it from the others */
export function shortenVersionHash(version: string): string {
  return version.slice(parseVersionName(version).length + 1).slice(0, SHORT_VERSION_CHARACTERS);
}
