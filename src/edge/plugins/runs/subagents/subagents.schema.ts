import * as z from '../../../kit/http/zod.ts';
import { besideRun, goesUp, mayHaveSchema } from '../../../registry/tools/tools.schema.ts';
import { refSchema } from '../../../registry/versions/versions.schema.ts';
import { approval } from '../runs.schema.ts';

/** A tool that is an agent: its task goes to a conversation of its own. */
export const agentRunSchema = z.strictObject({
  agent: z.described(
    refSchema('agent'),
    'The agent that works on the task, in a conversation of its own; no scope is needed.',
  ),
  timeout_seconds: z.optionally(
    z.int().check(z.gte(1), z.lte(86_400)),
    'After so many seconds it is stopped. Default: what is left of the run’s `max_seconds`.',
  ),
  approval,
});
export type AgentRun = z.output<typeof agentRunSchema>;

export const agentTool = z.looseObject({ ...goesUp, ...mayHaveSchema, run: agentRunSchema }).check(besideRun);
