/** The kinds of upstream that an entry of UPSTREAMS can name. */

import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';
import { anthropicKind } from './anthropic.ts';
import type { Kind } from './kind.ts';

/** Further kinds of upstream, by their names. */
export const KINDS = seam<Readonly<Record<string, Kind>>>()('kinds');

let added: Readonly<Record<string, Kind>> = {};

/** Adds kinds that no room has: the simulator's, which is for development alone. Called before a kind is looked for. */
export function addKinds(more: Readonly<Record<string, Kind>>): void {
  added = more;
}

/** All kinds by their names. */
export const kinds = ofRooms(
  (): Readonly<Record<string, Kind>> => Object.assign({ anthropic: anthropicKind }, ...pluggedInto(KINDS), added),
);
