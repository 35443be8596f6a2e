/** Keeps the list of the agents that can be asked, and tells their names apart. */
import { signal } from '@preact/signals';
import { type NamedRow, type Page, SluiceError } from '../../client/index.ts';
import { readJson } from './client.ts';

const MOST_AGENTS = 1_000;
/** A version's name is long: these many characters tell it from the others. */
const VERSION_CHARACTERS = 8;

/** The agents; undefined until they are known. */
export const agents = signal<NamedRow[] | undefined>(undefined);

/** Whether the edge has agents at all: one without their room has no such route. */
export const hasAgents = signal(true);

export async function refreshAgents(): Promise<void> {
  const listed = await readJson<Page<NamedRow>>('/agents', { query: { limit: MOST_AGENTS } }).catch(
    (thrown: unknown) => {
      if (thrown instanceof SluiceError && thrown.status === 404) return undefined;
      throw thrown;
    },
  );
  hasAgents.value = listed !== undefined;
  agents.value = listed?.data ?? [];
}

/** @returns the name of a version `name@version` */
export function nameIn(version: string): string {
  return version.slice(0, version.lastIndexOf('@'));
}

/** @returns as much of a version `name@version` as tells it from the others */
export function shortVersion(version: string): string {
  return version.slice(nameIn(version).length + 1).slice(0, VERSION_CHARACTERS);
}
