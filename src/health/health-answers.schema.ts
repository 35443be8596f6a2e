import * as z from '../http/zod.ts';

/** What `GET /health` answers. */
export const healthAnswer = z.object({
  status: z.literal('ok'),
  upstream: z.described(z.enum(['anthropic', 'simulator']), 'Who answers: Claude, or the built-in simulator.'),
});

export type HealthAnswer = z.output<typeof healthAnswer>;
