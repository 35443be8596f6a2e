/** Keeps which plugins the edge includes: the page shows only what they offer. */
import { signal } from '@preact/signals';

/** The plugins on which a part of the page depends. */
export type PluginName = 'agents' | 'batches' | 'runs' | 'summaries' | 'transfer' | 'webhooks' | 'pools' | 'operator';

/** The names that `GET /health` lists; undefined until it has answered. */
export const includedPlugins = signal<ReadonlySet<string> | undefined>(undefined);

/** @returns whether the edge includes a plugin */
export function hasPlugin(name: PluginName): boolean {
  return includedPlugins.value?.has(name) ?? false;
}
