import { createApp } from '../../../src/edge/app.ts';

/** The edge without accounts: what relaying alone costs. */
export default { fetch: createApp({ isUnmetered: true }).fetch };
