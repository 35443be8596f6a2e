import { modelByLabel } from '../../../classify/model-by-label.schema.ts';
import * as z from '../../../kit/http/zod.ts';

export const position = z.int().check(z.gte(1));
export const nonEmpty = z.string().check(z.minLength(1), z.maxLength(1_000));
const objects = z.array(z.looseObject({}));

const agent = z.looseObject({
  model: z.union([z.string(), modelByLabel]),
  max_tokens: z.int().check(z.gte(0)),
  system: z.optional(z.union([z.string(), objects])),
  tools: objects,
  limits: z.looseObject({}),
  approvers: z.enum(['owner', 'admin']),
});

/** The lines of a conversation's frozen texts. */
export const FROZEN_LINES = {
  system: { parts: [z.union([z.string(), objects])] },
  tools: { parts: [objects] },
  runs: { parts: [objects] },
  agent: { parts: [agent] },
} as const;
