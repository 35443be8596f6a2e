import * as z from 'zod';

/** What `GET /health` answers. */
export const healthAnswer = z.object({
  status: z.literal('ok'),
  upstream: z.enum(['anthropic', 'simulator']).describe('Who answers: Claude, or the built-in simulator.'),
});

export type HealthAnswer = z.output<typeof healthAnswer>;
