import { count, time } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

/** How one of several upstreams is, as far as the isolate knows that answers. */
const upstreamState = z.object({
  name: z.string(),
  kind: z.string(),
  running: z.addDescription(count, 'Requests that run there now.'),
  max_concurrent: z.nullable(count),
  models: z.array(
    z.object({
      model: z.string(),
      state: z.addDescription(
        z.enum(['closed', 'open', 'half_open']),
        'closed: it is called. open: it failed and is left alone. half_open: one request finds out whether it is back.',
      ),
      due_at: z.addDescription(z.nullable(time), 'When it is half open.'),
      tries: z.addDescription(count, 'In the last 30 s.'),
      failed: count,
      elsewhere: z.addDescription(
        z.array(z.object({ upstream: z.string(), requests: count })),
        'How many requests other upstreams have answered in its place since it was left alone.',
      ),
    }),
  ),
});

export const healthAnswer = z.object({
  status: z.addDescription(
    z.enum(['ok', 'degraded']),
    'degraded: an upstream refuses this deployment (its key, its organization, or what it may spend), as far as the isolate knows that answers.',
  ),
  since: z.createOptionalField(time, 'Since when it is degraded.'),
  todo: z.createOptionalField(z.string(), 'What its operator must do while it is degraded.'),
  upstream: z.addDescription(z.enum(['anthropic', 'simulator']), 'Who answers: Claude, or the built-in simulator.'),
  plugins: z.addDescription(z.array(z.string()), 'The plugins that this edge includes.'),
  warnings: z.createOptionalField(z.array(z.string()), 'Settings that are valid, and hardly what was meant.'),
  tools: z.createOptionalField(
    z.array(z.string()),
    'In development: the names of the Worker’s own tools, which a run can name.',
  ),
  upstreams: z.createOptionalField(
    z.array(upstreamState),
    'With `?upstreams`, for admins: each of UPSTREAMS. Isolates find out by themselves, so another one may tell something else.',
  ),
});

export type HealthAnswer = z.output<typeof healthAnswer>;
