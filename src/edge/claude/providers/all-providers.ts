/** The kinds of upstream that an entry of UPSTREAMS can name. */

import { getPluginMembers, memoizeFromPlugins } from '../../kit/plugins/plugins.ts';
import { anthropicProvider } from './anthropic.ts';
import type { Provider } from './provider.ts';

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Kinds of upstream that an entry of `UPSTREAMS` can name. */
    readonly providers?: Readonly<Record<string, Provider>>;
  }
}

let addedProviders: Readonly<Record<string, Provider>> = {};

/** Adds kinds that no plugin has: the simulator's, which is for development alone. Called before a kind is looked for. */
export function addProviders(more: Readonly<Record<string, Provider>>): void {
  addedProviders = more;
}

/** All kinds by their names. */
export const allProviders = memoizeFromPlugins(
  (): Readonly<Record<string, Provider>> =>
    Object.assign({ anthropic: anthropicProvider }, ...getPluginMembers('providers'), addedProviders),
);
