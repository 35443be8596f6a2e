import * as z from '../../kit/http/zod.ts';
import type { Dimension } from '../../money/contracts/about.ts';
import type { Room } from '../room.ts';

/** Whether a bound token has asked. */
const OF_PAGE: Dimension<string> = {
  name: 'page',
  group: 'page',
  ofCaller: ({ only }) => only && 'bound',
  shown: { page: z.optionally(z.string(), 'Whether a bound token has asked.') },
};

/** Bound tokens: what a page may ask. */
export const pageTokensRoom: Room = { name: 'page-tokens', dimensions: [OF_PAGE] };
