import * as z from '../../kit/http/zod.ts';
import { anyRunSchema } from './runs.schema.ts';

/** The tools of a Messages request: runs read what goes up all the same. */
export const toolsOfRuns = {
  tools: z.optionally(
    z.array(z.looseObject({ run: z.optional(anyRunSchema) })),
    'Tools. In a conversation the edge itself calls those with `run`, step after step: at an address (scope `tools`), or `"worker"` for one of its own, of which only the `name` must be said.',
  ),
};
