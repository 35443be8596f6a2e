import * as z from '../../kit/http/zod.ts';

/** The limits of a run: members of its request. */
export const runLimits = z.object({
  max_turns: z.addDescription(
    z._default(z.int().check(z.gte(1), z.lte(100)), 10),
    'The most requests to the model in a run.',
  ),
  max_usd: z.createOptionalField(
    z.number().check(z.gt(0), z.lte(1_000)),
    'The most that the run may cost, in US dollars. `max_tokens` is lowered to fit.',
  ),
  max_seconds: z.createOptionalField(
    z.int().check(z.gte(1), z.lte(86_400)),
    'The number of seconds after which no further step starts. 540 if the response does not stream.',
  ),
  max_tool_calls: z.addDescription(
    z._default(z.int().check(z.gte(0), z.lte(1_000)), 100),
    'The most tool calls that Sluice makes.',
  ),
  parallel_tools: z.addDescription(
    z._default(z.int().check(z.gte(1), z.lte(32)), 6),
    'The most tool calls that run at the same time.',
  ),
});
export type RunLimits = z.output<typeof runLimits>;
