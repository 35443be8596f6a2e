/** The kinds of upstream that an entry of UPSTREAMS can name. */

import { ofRooms, pluggedInto, seam } from '../../kit/rooms/rooms.ts';
import { anthropicKind } from './anthropic.ts';
import type { Kind } from './kind.ts';
import { simulatorKind } from './simulator.ts';

/** Whether the simulator is part of this bundle, as in upstream.ts. The deployed Worker does not contain it. */
declare const SLUICE_SIMULATOR: boolean | undefined;

/** Further kinds of upstream, by their names. */
export const KINDS = seam<Readonly<Record<string, Kind>>>()('kinds');

/** All kinds by their names. */
export const kinds = ofRooms(
  (): Readonly<Record<string, Kind>> =>
    Object.assign(
      { anthropic: anthropicKind },
      ...pluggedInto(KINDS),
      typeof SLUICE_SIMULATOR === 'undefined' || SLUICE_SIMULATOR ? { simulator: simulatorKind } : {},
    ),
);
