import * as z from '../../kit/http/zod.ts';

/** What is read of the upstream's answer. */
export const upstreamCount = z.looseObject({ input_tokens: z.number() });
