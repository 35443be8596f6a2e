/** The kinds of upstream that an entry of UPSTREAMS can name. */

import { contributions, memoizeByPlugins } from '../../kit/plugins/plugins.ts';
import { anthropicKind } from './anthropic.ts';
import type { Kind } from './kind.ts';

declare module '../../kit/plugins/plugins.ts' {
  interface Plugin {
    /** Kinds of upstream that an entry of `UPSTREAMS` can name. */
    readonly providers?: Readonly<Record<string, Kind>>;
  }
}

let added: Readonly<Record<string, Kind>> = {};

/** Adds kinds that no plugin has: the simulator's, which is for development alone. Called before a kind is looked for. */
export function addKinds(more: Readonly<Record<string, Kind>>): void {
  added = more;
}

/** All kinds by their names. */
export const kinds = memoizeByPlugins(
  (): Readonly<Record<string, Kind>> =>
    Object.assign({ anthropic: anthropicKind }, ...contributions('providers'), added),
);
