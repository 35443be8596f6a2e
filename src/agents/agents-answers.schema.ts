import { count, usd } from '../http/fields.ts';
import * as z from '../http/zod.ts';
import { storedVersion } from '../versions/versions-answers.schema.ts';
import { putAgent } from './agents.schema.ts';

/** A version as it is stored. */
export const agentContent = z.object({ ...storedVersion('agent'), ...putAgent.fields.shape });
export type AgentContent = z.output<typeof agentContent>;

const arm = z.described(
  z.enum(['chosen', 'control', 'asked']),
  '`control`: answered by `otherwise`, to compare with. `asked`: the requests have named the model, and are not compared.',
);
const bounded = z.object({ value: z.number(), low: z.number(), high: z.number() });

/** What an agent's choice of models has cost and saved. */
export const agentStats = z.object({
  type: z.literal('agent_stats'),
  name: z.string(),
  from: z.string(),
  to: z.nullable(z.string()),
  data: z.described(
    z.array(z.object({ version: z.string(), arm, model: z.string(), requests: count, cost_usd: usd })),
    'By version, arm and model. What labels have cost is with the model of the classifier.',
  ),
  arms: z.array(
    z.object({
      arm,
      conversations: z.described(count, 'A message without a conversation counts as one.'),
      requests: count,
      cost_usd: usd,
      cost_usd_per_conversation: z.nullable(usd),
      stepped_up: z.described(count, 'How often a conversation went on with a dearer model.'),
      asked_again: z.described(count, 'How often a question was asked again or edited: in a copy, or after a rewind.'),
      stopped: z.described(count, 'How many answers were stopped by who asked.'),
    }),
  ),
  days: z.array(
    z.object({ day: z.iso.date(), arm, conversations: z.described(count, 'That began on this day.'), cost_usd: usd }),
  ),
  saved: z.described(
    z.nullable(
      z.object({
        share: z.described(bounded, 'Of what the conversations would have cost without the choice.'),
        usd: z.described(bounded, 'By all conversations whose models were chosen.'),
      }),
    ),
    'Against the control arm, with the bounds of the 95 % confidence interval; negative where the choice has cost more. null: an arm has fewer than 100 conversations.',
  ),
});
export type AgentStats = z.output<typeof agentStats>;

export const agentDeleted = z.object({ type: z.literal('agent_deleted'), name: z.string() });
