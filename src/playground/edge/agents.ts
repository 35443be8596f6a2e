/** Keeps the list of the agents that can be asked. */
import { signal } from '@preact/signals';
import type { NamedRow, Page } from '../../client/index.ts';
import { readJson } from './client.ts';

const MOST_AGENTS = 1_000;

/** The agents; undefined until they are known. */
export const agents = signal<NamedRow[] | undefined>(undefined);

export async function refreshAgents(): Promise<void> {
  agents.value = (await readJson<Page<NamedRow>>('/agents', { query: { limit: MOST_AGENTS } })).data;
}
