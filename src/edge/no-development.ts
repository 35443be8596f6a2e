import type { development as added } from './development.ts';

/** Plain `wrangler dev` adds nothing to this Worker: see `development.ts`. */
export const development: typeof added | undefined = undefined;
