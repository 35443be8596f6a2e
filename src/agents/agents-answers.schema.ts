import * as z from '../http/zod.ts';
import { nameRow } from '../versions/versions-answers.schema.ts';
import { putAgent } from './agents.schema.ts';

/** A version as it is stored. */
export const agentContent = z.object({
  type: z.literal('agent'),
  name: z.string(),
  version: z.described(z.string(), 'name@version: for ever the same.'),
  owner: nameRow.shape.owner,
  ...putAgent.fields.shape,
});
export type AgentContent = z.output<typeof agentContent>;

export const agentDeleted = z.object({ type: z.literal('agent_deleted'), name: z.string() });
