import * as z from '../../../kit/http/zod.ts';
import { forwardedToolShape, mayHaveSchema, rejectRunFieldsBesideRun } from '../../../registry/tools/tools.schema.ts';
import { createVersionRefSchema } from '../../../registry/versions/versions.schema.ts';
import { approval } from '../runs.schema.ts';

/** A tool that is an agent: its task is sent to a separate conversation. */
export const agentRunSchema = z.strictObject({
  agent: z.addDescription(
    createVersionRefSchema('agent'),
    'The agent that works on the task, in a separate conversation. Such tools require no scope.',
  ),
  timeout_seconds: z.createOptionalField(
    z.int().check(z.gte(1), z.lte(86_400)),
    'The number of seconds after which the subagent is stopped. Default: the rest of the run’s `max_seconds`.',
  ),
  approval,
});
export type SubagentToolRun = z.output<typeof agentRunSchema>;

export const agentTool = z
  .looseObject({ ...forwardedToolShape, ...mayHaveSchema, run: agentRunSchema })
  .check(rejectRunFieldsBesideRun);
