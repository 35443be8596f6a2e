import { createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { loweredBySchema } from '../../money/contracts/lowered-by.schema.ts';
import { history } from '../history/history.schema.ts';

/** A conversation in its account's list. */
export const conversationRow = z.object({
  type: createObjectTypeSchema('conversation'),
  id: z.string(),
  title: z.nullable(z.string()),
  parent: z.createOptionalField(z.string(), 'Of a subagent’s: the conversation whose run has called it.'),
  tool_use_id: z.createOptionalField(z.string(), 'Of a subagent’s: the call that it answers.'),
  created_at: z.iso.datetime(),
  updated_at: z.iso.datetime(),
  turns: z.int(),
  messages: z.int(),
  cost_usd: z.number(),
  state: z.enum(['idle', 'running']),
  paused: z.addDescription(
    z.nullable(z.literal('approval')),
    '`approval`: it waits until a person has decided on calls; null otherwise. See `GET …/approvals`.',
  ),
});

/** A conversation as its own route answers it. */
export const conversationReport = z.extend(conversationRow, {
  turn: z.addDescription(z.nullable(z.string()), 'The turn that runs.'),
  model: z.nullable(z.string()),
  max_tokens: z.nullable(z.int()),
  system: z.unknown(),
  tools: z.addDescription(z.unknown(), 'Without the addresses of those that the edge calls.'),
  prefix: z.addDescription(z.nullable(z.string()), 'name@version: retained since it was created.'),
  agent: z.addDescription(
    z.nullable(z.object({ name: z.string(), version: z.string() })),
    'Its name, and name@version: copied when it was created.',
  ),
  metadata: z.nullable(z.record(z.string(), z.unknown())),
  retention_seconds: z.nullable(z.int()),
  history,
  usage: z.object({ input_tokens: z.int(), output_tokens: z.int() }),
  summaries: z.createOptionalField(
    z.array(
      z.object({
        until: z.addDescription(z.nullable(z.string()), 'The last message in whose place it goes up.'),
        until_shown: z.addDescription(
          z.nullable(z.string()),
          'The same with `view=shown`, where all steps of a run are one message.',
        ),
        content: z.string(),
        model: z.string(),
        created_at: z.iso.datetime(),
        cost_usd: z.number(),
      }),
    ),
    'What has stood in the place of its oldest messages, oldest first; absent while there was none.',
  ),
  dropped: z.createOptionalField(
    z.object({
      thinking: z.addDescription(
        z.int(),
        'Blocks of thinking: the API binds them to the conversation where they were made.',
      ),
      messages: z.addDescription(z.int(), 'Messages that do not go up: refused ones, and those without content.'),
      calls: z.addDescription(z.int(), 'Calls of the API’s own tools at the end that have no result.'),
      blank: z.addDescription(z.int(), 'Blocks of text that have only white space: the API accepts none.'),
    }),
    'Only in the answer to its creation: how much of `messages` was left out; absent where nothing was.',
  ),
});

/** A message in the history of a conversation. */
export const messageRow = z.object({
  type: createObjectTypeSchema('message'),
  id: z.string(),
  role: z.enum(['user', 'assistant', 'system']),
  content: z.addDescription(
    z.union([z.string(), z.array(z.looseObject({ type: z.string() }))]),
    'Empty where nothing is left of an interrupted answer: that row does not go up.',
  ),
  model: z.addDescription(z.nullable(z.string()), 'The model of an answer.'),
  stop_reason: z.addDescription(z.nullable(z.string()), 'Why an answer ended; null where it did not end by itself.'),
  lowered_by: z.createOptionalField(
    loweredBySchema,
    'Whose limit has lowered `max_tokens` of this answer; only where it was cut off there.',
  ),
  paused: z.addDescription(
    z.nullable(z.string()),
    'Why a run has paused whose answer this is; only with `view=shown`.',
  ),
  usage: z.addDescription(
    z.nullable(z.looseObject({ input_tokens: z.int(), output_tokens: z.int() })),
    'As the upstream reported it, on the last message of an answer. If that did not end: the output that it cost.',
  ),
  cost_usd: z.addDescription(z.nullable(z.number()), 'US dollars, at most nine decimals.'),
  created_at: z.iso.datetime(),
  status: z.addDescription(
    z.enum(['complete', 'stopped', 'interrupted', 'refused', 'running']),
    'How its turn has ended; what was refused is not sent again.',
  ),
  turn: z.addDescription(z.string(), 'The turn that it belongs to, as the header `sluice-turn` names it.'),
  origin: z.createOptionalField(
    z.enum(['edge', 'import']),
    '`edge`: no client has sent it, the edge has put it between two steps of a run. `import`: the conversation began with it.',
  ),
});

/** What was decided about a call. */
const decision = {
  decision: z.addDescription(
    z.nullable(z.enum(['approve', 'deny', 'cancel'])),
    'Null while nobody has decided; `cancel`: its turn was cancelled before.',
  ),
  reason: z.nullable(z.string()),
  changed_input: z.addDescription(
    z.unknown(),
    'What it is called with in place of `input`; null where that has not changed.',
  ),
  decided_at: z.nullable(z.iso.datetime()),
};

/** A call that waits for approval, or has waited. */
export const approvalRow = z.object({
  type: createObjectTypeSchema('approval'),
  id: z.string(),
  tool_use_id: z.string(),
  name: z.string(),
  input: z.addDescription(z.unknown(), 'What the model calls it with.'),
  input_text: z.addDescription(
    z.nullable(z.string()),
    '`input` as the JSON text that the tool gets: show this, since numbers are rounded where they are parsed.',
  ),
  turn: z.addDescription(z.string(), 'The turn that waits.'),
  approvers: z.addDescription(z.enum(['owner', 'admin']), 'Who decides.'),
  created_at: z.iso.datetime(),
  ...decision,
  continued_by: z.addDescription(z.nullable(z.string()), 'The turn that has gone on with it.'),
});

export const turnReport = z.object({
  type: createObjectTypeSchema('turn'),
  id: z.string(),
  continues: z.addDescription(
    z.nullable(z.string()),
    'The turn that has waited for approval, and that this goes on with.',
  ),
  conversation: z.string(),
  status: z.enum(['complete', 'stopped', 'interrupted', 'refused', 'running', 'failed']),
  paused: z.addDescription(
    z.nullable(z.string()),
    'Why a run has paused: a limit of its own, `approval`, `budget`, `revoked` or `upstream`. With the status `running` it waits, and continues by itself.',
  ),
  error: z.addDescription(
    z.nullable(z.object({ type: z.string(), message: z.string() })),
    'What it has ended with, as long as its events are kept.',
  ),
  began_at: z.iso.datetime(),
  ended_at: z.nullable(z.iso.datetime()),
  cost_usd: z.number(),
  steps: z.addDescription(
    z.array(
      z.object({
        request_id: z.addDescription(z.string(), 'Its name in the ledger.'),
        status: z.string(),
        model: z.string(),
        stop_reason: z.nullable(z.string()),
        lowered_by: z.createOptionalField(loweredBySchema, 'Whose limit has lowered `max_tokens`; only where it was.'),
        usage: z.nullable(z.looseObject({})),
        cost_usd: z.number(),
        ttft_ms: z.addDescription(z.nullable(z.number()), 'Milliseconds to its first byte.'),
        calls: z.addDescription(
          z.array(
            z.object({
              id: z.string(),
              name: z.string(),
              conversation: z.addDescription(z.optional(z.string()), 'Of a subagent’s: where it works.'),
              input: z.addDescription(
                z.unknown(),
                'What the model has called it with; absent where that is not stored.',
              ),
              approval: z.addDescription(
                z.nullable(z.object({ id: z.string(), ...decision })),
                'Where it needs, or needed, an approval.',
              ),
              ms: z.nullable(z.number()),
              tries: z.addDescription(z.int(), 'How often it was made: more than once only after a crash.'),
              is_error: z.nullable(z.boolean()),
              bytes: z.addDescription(z.nullable(z.int()), 'Of what the tool has answered.'),
            }),
          ),
          'The calls that the edge has made; null where one has not come back.',
        ),
      }),
    ),
    'The requests that went up: one, or the steps of a run.',
  ),
});

/** The event that is sent when a turn in the background has ended. */
export const turnEnded = z.object({
  type: createObjectTypeSchema('turn.ended'),
  event_id: z.addDescription(z.string(), 'The same however often it is told.'),
  created_at: z.iso.datetime(),
  account: z.string(),
  conversation: z.string(),
  turn: turnReport,
  message: z.addDescription(
    z.nullable(z.looseObject({ content: z.array(z.looseObject({ type: z.string() })) })),
    'The answer, as a caller gets it who does not stream; null where there is none, or where it is very long.',
  ),
});

/** The event that is sent when calls of a turn wait for approval. */
export const approvalRequested = z.object({
  type: createObjectTypeSchema('approval.requested'),
  event_id: turnEnded.shape.event_id,
  created_at: z.iso.datetime(),
  account: z.string(),
  conversation: z.string(),
  turn: z.string(),
  approvals: z.addDescription(z.array(approvalRow), 'Very long inputs are null here.'),
});

export const conversationDeleted = z.object({ type: createObjectTypeSchema('conversation_deleted'), id: z.string() });

export type ConversationRow = z.output<typeof conversationRow>;
/** How much an import leaves out. */
export type ImportOmissions = NonNullable<z.output<typeof conversationReport>['dropped']>;
