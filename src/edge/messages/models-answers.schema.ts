import { capabilityFields, createPricesSchema } from '../claude/models/price-settings.ts';
import { createObjectTypeSchema } from '../kit/http/fields.ts';
import * as z from '../kit/http/zod.ts';

const usdPerMillion = z.addDescription(z.number(), 'US dollars per million tokens.');
const tokenPrices = z.object(createPricesSchema(usdPerMillion));

const longPrompt = z.optional(
  z.extend(tokenPrices, {
    above_tokens: z.addDescription(z.int(), 'The number of input tokens above which these prices apply.'),
  }),
);
const modelPrices = z.extend(tokenPrices, {
  long_prompt: z.addDescription(longPrompt, 'Prices of long prompts. Absent if they are the same.'),
  fast: z.createOptionalField(tokenPrices, 'Prices with `speed: "fast"`. Absent if the model does not support it.'),
  batch: z.addDescription(
    z.extend(tokenPrices, {
      long_prompt: z.addDescription(longPrompt, 'Prices of long prompts in batches. Absent if they are the same.'),
    }),
    'Prices in batches.',
  ),
});

/** A model as the upstream lists it, joined with the limits and prices that this edge knows. */
export const modelAnswer = z.looseObject({
  type: createObjectTypeSchema('model'),
  id: z.addDescription(z.string(), 'The id of the model, as requests name it in `model`.'),
  display_name: z.addDescription(z.string(), 'The name of the model for people, such as `Claude Haiku 5.5`.'),
  created_at: z.addDescription(z.iso.datetime(), 'When the model was released; ISO 8601, UTC.'),
  max_input_tokens: z.addDescription(z.nullable(z.int()), 'The largest context, in tokens. Null if unknown.'),
  max_tokens: z.addDescription(z.nullable(z.int()), 'The largest `max_tokens` of a request. Null if unknown.'),
  lifecycle: z.addDescription(
    z.nullable(z.enum(['active', 'deprecated', 'retired'])),
    'The state of the model. Null if the model is not in the model table.',
  ),
  retires_at: z.addDescription(
    z.nullable(z.string()),
    'When the model is retired; ISO 8601, UTC. Null if no date is announced.',
  ),
  line: z.addDescription(z.nullable(z.string()), 'The model line, such as `haiku`. Null if unknown.'),
  thinking: z.addDescription(capabilityFields.thinking, 'How the model supports thinking. Null if unknown.'),
  efforts: z.addDescription(capabilityFields.efforts, 'The values of `output_config.effort` that the model accepts.'),
  default_effort: z.addDescription(
    capabilityFields.default_effort,
    'The effort of requests that do not set it. Null if the model does not support efforts.',
  ),
  fast_until: z.addDescription(
    z.nullable(z.string()),
    'When `speed: "fast"` ends; ISO 8601, UTC. Null if no date is announced.',
  ),
  minimum_cacheable_tokens: z.addDescription(
    z.nullable(z.int()),
    'The fewest tokens of a prompt that can be cached. Null if unknown.',
  ),
  replacement: z.addDescription(
    z.nullable(z.string()),
    'The id of the model that replaces this one. Null if no replacement is announced.',
  ),
  prices: z.addDescription(z.nullable(modelPrices), 'Prices in US dollars per million tokens. Null if unknown.'),
  upstreams: z.createOptionalField(
    z.array(
      z.object({
        name: z.addDescription(z.string(), 'The name of the upstream, as in the setting `UPSTREAMS`.'),
        id: z.addDescription(z.string(), 'The id of the model at this upstream.'),
        prices: z.addDescription(
          z.nullable(modelPrices),
          'Prices at this upstream, in US dollars per million tokens. Null if unknown.',
        ),
      }),
    ),
    'The upstreams that serve the model, in the order in which they are tried. Absent if the deployment has only one.',
  ),
});
