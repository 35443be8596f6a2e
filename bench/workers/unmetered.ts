import { createApp } from '../../src/app.ts';

/** The edge without accounts: what relaying alone costs. */
export default {
  fetch: createApp({
    admit: async () => ({
      maxTokens: undefined,
      headers: {},
      settle: () => ({
        nanodollars: 0,
        done: Promise.resolve({ outcome: 'settled', cost: 0, overHold: false }),
      }),
      renew: async () => true,
    }),
  }).fetch,
};
