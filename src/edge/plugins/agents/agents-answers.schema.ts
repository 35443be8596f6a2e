import { createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { createStoredVersionFields } from '../../registry/versions/versions-answers.schema.ts';
import { putAgent } from './agents.schema.ts';

/** A version as it is stored. */
export const agentContent = z.object({ ...createStoredVersionFields('agent'), ...putAgent.fields.shape });
export type AgentContent = z.output<typeof agentContent>;

/** The answer to a `PUT`: the version that the name points to now. */
export const agentReport = z.object({
  ...agentContent.shape,
  warnings: z.addDescription(
    z.array(z.string()),
    'MCP tools that were left out, and schemas of tools or output formats that Claude will reject.',
  ),
});

export const agentDeleted = z.object({
  type: createObjectTypeSchema('agent_deleted'),
  name: z.addDescription(z.string(), 'The name of the deleted agent.'),
});
