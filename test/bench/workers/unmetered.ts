import { createApp } from '../../../src/app.ts';

/** The edge without accounts: what relaying alone costs. */
export default { fetch: createApp({ isUnmetered: true }).fetch };
