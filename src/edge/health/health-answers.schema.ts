import { count, time } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

/** How one of several upstreams is, as far as the isolate knows that answers. */
const upstreamState = z.object({
  name: z.addDescription(z.string(), 'The name of the upstream, as in the setting `UPSTREAMS`.'),
  kind: z.addDescription(z.string(), 'The kind of upstream, as in the setting `UPSTREAMS`.'),
  running: z.addDescription(count, 'The number of requests that are running at the upstream.'),
  max_concurrent: z.addDescription(
    z.nullable(count),
    'The most requests that may run at the upstream at the same time. Null if there is no limit.',
  ),
  models: z.addDescription(
    z.array(
      z.object({
        model: z.addDescription(z.string(), 'The id of the model.'),
        state: z.addDescription(
          z.enum(['closed', 'open', 'half_open']),
          '`closed`: the model is used. `open`: it failed and is not tried for a while. `half_open`: one request tests whether it works again.',
        ),
        due_at: z.addDescription(
          z.nullable(time),
          'When the circuit breaker becomes half open; ISO 8601, UTC. Null if it is not open.',
        ),
        tries: z.addDescription(count, 'Attempts in the last 30 seconds.'),
        failed: z.addDescription(count, 'How many of these attempts failed.'),
        elsewhere: z.addDescription(
          z.array(
            z.object({
              upstream: z.addDescription(z.string(), 'The name of the other upstream.'),
              requests: z.addDescription(count, 'The number of requests that it responded to.'),
            }),
          ),
          'How many requests other upstreams responded to since the circuit breaker last opened.',
        ),
      }),
    ),
    'The circuit breaker of each model that was requested.',
  ),
});

export const healthAnswer = z.object({
  status: z.addDescription(
    z.enum(['ok', 'degraded']),
    '`ok`, or `degraded` if an upstream rejects this deployment because of its key, its organization or its spend limit, as far as the responding isolate knows.',
  ),
  since: z.createOptionalField(time, 'When the deployment became degraded.'),
  todo: z.createOptionalField(z.string(), 'What the operator must do while the deployment is degraded.'),
  upstream: z.addDescription(z.enum(['anthropic', 'simulator']), 'The upstream: Claude, or the built-in simulator.'),
  plugins: z.addDescription(z.array(z.string()), 'The plugins that this deployment includes.'),
  warnings: z.createOptionalField(
    z.array(z.string()),
    'Warnings about settings that are valid but probably not intended.',
  ),
  tools: z.createOptionalField(
    z.array(z.string()),
    'In development: the names of the Worker’s own tools, which a run can name.',
  ),
  upstreams: z.createOptionalField(
    z.array(upstreamState),
    'The state of each upstream in `UPSTREAMS`, for admins with `?upstreams`. Each isolate has its own view, so responses may differ.',
  ),
});

export type HealthAnswer = z.output<typeof healthAnswer>;
