import { agents, createApp, runs } from 'sluice';
import * as z from 'zod';

export { Account, Conversation } from 'sluice';

const zones = { Bern: 'Europe/Zurich', Lima: 'America/Lima' } as const;

export default createApp({
  plugins: [agents, runs],
  tools: {
    get_time: {
      description: 'Tells the time in a city.',
      schema: z.object({ city: z.enum(['Bern', 'Lima']) }),
      run: async ({ city }) => ({ time: new Date().toLocaleTimeString('en', { timeZone: zones[city] }) }),
    },
  },
});
