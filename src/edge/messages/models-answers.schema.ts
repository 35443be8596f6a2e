import { capabilityFields, createPricesSchema } from '../claude/models/price-settings.ts';
import { createObjectTypeSchema } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

const usdPerMillion = z.addDescription(z.number(), 'US dollars per million tokens.');
const tokenPrices = z.object(createPricesSchema(usdPerMillion));

const longPrompt = z.optional(z.extend(tokenPrices, { above_tokens: z.int() }));
const modelPrices = z.extend(tokenPrices, {
  long_prompt: longPrompt,
  fast: z.optional(tokenPrices),
  batch: z.addDescription(z.extend(tokenPrices, { long_prompt: longPrompt }), 'Prices in batches.'),
});

/** A model as the upstream lists it, joined with the limits and prices that this edge knows. */
export const modelAnswer = z.looseObject({
  type: createObjectTypeSchema('model'),
  id: z.string(),
  display_name: z.string(),
  created_at: z.iso.datetime(),
  max_input_tokens: z.nullable(z.int()),
  max_tokens: z.nullable(z.int()),
  lifecycle: z.addDescription(
    z.nullable(z.enum(['active', 'deprecated', 'retired'])),
    'null: the model is not in this edge’s table.',
  ),
  retires_at: z.nullable(z.string()),
  line: z.nullable(z.string()),
  thinking: z.addDescription(
    capabilityFields.thinking,
    'What it does if a request says nothing about thinking, the types that it takes, and the efforts beside which it can be switched off.',
  ),
  efforts: capabilityFields.efforts,
  default_effort: capabilityFields.default_effort,
  fast_until: z.addDescription(z.nullable(z.string()), 'When `speed: "fast"` ends, if that is announced.'),
  minimum_cacheable_tokens: z.addDescription(z.nullable(z.int()), 'null: the model is not in this edge’s table.'),
  replacement: z.nullable(z.string()),
  prices: z.nullable(modelPrices),
  upstreams: z.createOptionalField(
    z.array(z.object({ name: z.string(), id: z.string(), prices: z.nullable(modelPrices) })),
    'Where there are several: those that serve it, in the order in which they are tried, with its id and prices there.',
  ),
});
