import { createObjectTypeSchema } from '../../kit/http/fields.ts';
import * as z from '../../kit/http/zod.ts';
import { loweredBySchema } from '../../money/contracts/lowered-by.schema.ts';
import { history } from '../history/history.schema.ts';

/** A conversation in its account's list. */
export const conversationRow = z.object({
  type: createObjectTypeSchema('conversation'),
  id: z.addDescription(z.string(), 'The id of the conversation.'),
  title: z.addDescription(z.nullable(z.string()), 'The title. Null if the conversation has no title.'),
  parent: z.createOptionalField(
    z.string(),
    'Only for a subagent’s conversation: the conversation whose run called the subagent.',
  ),
  tool_use_id: z.createOptionalField(
    z.string(),
    'Only for a subagent’s conversation: the id of the call that started it.',
  ),
  created_at: z.addDescription(z.iso.datetime(), 'When the conversation was created; ISO 8601, UTC.'),
  updated_at: z.addDescription(z.iso.datetime(), 'When the conversation last changed; ISO 8601, UTC.'),
  turns: z.addDescription(z.int(), 'The number of turns.'),
  messages: z.addDescription(z.int(), 'The number of stored messages.'),
  cost_usd: z.addDescription(z.number(), 'The cost of all turns so far, in US dollars.'),
  state: z.addDescription(z.enum(['idle', 'running']), '`running` while a turn is running, otherwise `idle`.'),
  paused: z.addDescription(
    z.nullable(z.literal('approval')),
    '`approval`: the conversation waits until a person has decided on calls; see `GET …/approvals`. Null if the conversation does not wait.',
  ),
});

/** A conversation as its own route answers it. */
export const conversationReport = z.extend(conversationRow, {
  paused: z.addDescription(
    z.nullable(z.string()),
    'Why the conversation or its newest run is paused, as in the report of the turn. `approval`: the conversation waits until a person has decided on calls. Null if neither is paused.',
  ),
  turn: z.addDescription(z.nullable(z.string()), 'The id of the running turn. Null if no turn is running.'),
  model: z.addDescription(
    z.nullable(z.string()),
    'The model of turns that do not set it. Null if the conversation has no default.',
  ),
  max_tokens: z.addDescription(
    z.nullable(z.int()),
    'The `max_tokens` of turns that do not set it. Null if the conversation has no default.',
  ),
  system: z.addDescription(
    z.unknown(),
    'The system prompt: a string, or a list of text blocks. Null if the conversation has no system prompt.',
  ),
  tools: z.addDescription(
    z.unknown(),
    'The default tools, for turns that do not set `tools`. The URLs that Sluice calls are omitted. Null if the conversation has no tools.',
  ),
  prefix: z.addDescription(
    z.nullable(z.string()),
    'The version of the prefix, `name@version`, fixed when the conversation was created. Null if the conversation has no prefix.',
  ),
  agent: z.addDescription(
    z.nullable(
      z.object({
        name: z.addDescription(z.string(), 'The name of the agent.'),
        version: z.addDescription(z.string(), 'The version of the agent, `name@version`.'),
      }),
    ),
    'The agent, whose version was copied when the conversation was created. Null if the conversation has no agent.',
  ),
  metadata: z.addDescription(
    z.nullable(z.record(z.string(), z.unknown())),
    'Your own key–value pairs. Null if none are stored.',
  ),
  retention_seconds: z.addDescription(
    z.nullable(z.int()),
    'How many seconds the conversation is stored after its last change. Null for the deployment’s `RETENTION_DAYS`.',
  ),
  history,
  usage: z.addDescription(
    z.object({
      input_tokens: z.addDescription(z.int(), 'Input tokens of all turns.'),
      output_tokens: z.addDescription(z.int(), 'Output tokens of all turns, thinking included.'),
    }),
    'The tokens that the conversation has used so far.',
  ),
  summaries: z.createOptionalField(
    z.array(
      z.object({
        until: z.addDescription(z.nullable(z.string()), 'The id of the last message that the summary replaces.'),
        until_shown: z.addDescription(
          z.nullable(z.string()),
          'The same id in the view `shown`, in which all steps of a run are one message.',
        ),
        content: z.addDescription(z.string(), 'The text of the summary.'),
        model: z.addDescription(z.string(), 'The id of the model that wrote the summary.'),
        created_at: z.addDescription(z.iso.datetime(), 'When the summary was written; ISO 8601, UTC.'),
        cost_usd: z.addDescription(z.number(), 'The cost of the summary, in US dollars.'),
      }),
    ),
    'The summaries that have replaced the oldest messages in prompts, oldest first. Absent if there was none.',
  ),
  dropped: z.createOptionalField(
    z.object({
      thinking: z.addDescription(
        z.int(),
        'Thinking blocks, which the API accepts only in the conversation in which they were generated.',
      ),
      messages: z.addDescription(
        z.int(),
        'Messages that are never sent, because they were refused or have no content.',
      ),
      calls: z.addDescription(z.int(), 'Calls of the API’s own tools at the end of the history that have no result.'),
      blank: z.addDescription(z.int(), 'Text blocks with only white space, which the API rejects.'),
    }),
    'How much of the imported `messages` was left out. Only in the response to the creation, and only if something was.',
  ),
});

/** A message in the history of a conversation. */
export const messageRow = z.object({
  type: createObjectTypeSchema('message'),
  id: z.addDescription(z.string(), 'The id of the message.'),
  role: z.addDescription(
    z.enum(['user', 'assistant', 'system']),
    'Who the message is from: `user`, `assistant` or `system`.',
  ),
  content: z.addDescription(
    z.union([
      z.string(),
      z.array(
        z.looseObject({ type: z.addDescription(z.string(), 'The type of the block, such as `text` or `tool_use`.') }),
      ),
    ]),
    'A string, or a list of content blocks. Empty if nothing is left of an interrupted response; such a message is never sent again.',
  ),
  model: z.addDescription(
    z.nullable(z.string()),
    'The id of the model of a response. Null if the message is not a response.',
  ),
  stop_reason: z.addDescription(
    z.nullable(z.string()),
    'Why the response ended, for example `end_turn`. Null if the response failed or was stopped, or the message is not a response.',
  ),
  lowered_by: z.createOptionalField(
    loweredBySchema,
    'The limit that lowered `max_tokens` of this response. Only if the response was cut off there.',
  ),
  paused: z.addDescription(
    z.nullable(z.string()),
    'Why the run of this response paused. Only in the view `shown`. Null if the run has not paused.',
  ),
  usage: z.addDescription(
    z.nullable(
      z.looseObject({
        input_tokens: z.addDescription(z.int(), 'Input tokens that were neither read from nor written to the cache.'),
        output_tokens: z.addDescription(z.int(), 'Output tokens, thinking included.'),
      }),
    ),
    'The usage that the upstream reported, on the last message of a response. For an incomplete response: the output that was billed.',
  ),
  cost_usd: z.addDescription(
    z.nullable(z.number()),
    'The cost of the response, in US dollars with at most nine decimals. Null if the message is not a response.',
  ),
  created_at: z.addDescription(z.iso.datetime(), 'When the message was stored; ISO 8601, UTC.'),
  status: z.addDescription(
    z.enum(['complete', 'stopped', 'interrupted', 'refused', 'running']),
    'How the turn of the message ended. `refused` messages are never sent again.',
  ),
  turn: z.addDescription(z.string(), 'The id of the turn, as in the header `sluice-turn`.'),
  origin: z.createOptionalField(
    z.enum(['edge', 'import']),
    '`edge`: Sluice added the message between two steps of a run. `import`: the message is from the history that the conversation was created with.',
  ),
});

/** What was decided about a call. */
const decision = {
  decision: z.addDescription(
    z.nullable(z.enum(['approve', 'deny', 'cancel'])),
    'The decision. Null if the decision is pending. `cancel`: the turn was cancelled before anyone decided.',
  ),
  reason: z.addDescription(z.nullable(z.string()), 'The reason given for a denial. Null if no reason was given.'),
  changed_input: z.addDescription(z.unknown(), 'The input that replaces the model’s. Null if the input is unchanged.'),
  decided_at: z.addDescription(
    z.nullable(z.iso.datetime()),
    'When the decision was made; ISO 8601, UTC. Null if the decision is pending.',
  ),
};

/** A call that waits for approval, or has waited. */
export const approvalRow = z.object({
  type: createObjectTypeSchema('approval'),
  id: z.addDescription(z.string(), 'The id of the approval, such as `appr_2m4gmfejmm3a_2_0`.'),
  tool_use_id: z.addDescription(z.string(), 'The id of the `tool_use` block that waits.'),
  name: z.addDescription(z.string(), 'The name of the tool.'),
  input: z.addDescription(z.unknown(), 'The input with which the model calls the tool.'),
  input_text: z.addDescription(
    z.nullable(z.string()),
    '`input` as the JSON text that the tool receives. Show this text to the person, because parsing rounds large numbers.',
  ),
  turn: z.addDescription(z.string(), 'The id of the turn that waits.'),
  approvers: z.addDescription(
    z.enum(['owner', 'admin']),
    'Who decides: the `owner` of the conversation, or only an `admin`.',
  ),
  created_at: z.addDescription(z.iso.datetime(), 'When the call began to wait; ISO 8601, UTC.'),
  ...decision,
  continued_by: z.addDescription(
    z.nullable(z.string()),
    'The id of the turn that continued after the decision. Null if no turn has continued yet.',
  ),
});

export const turnReport = z.object({
  type: createObjectTypeSchema('turn'),
  id: z.addDescription(z.string(), 'The id of the turn, as in the header `sluice-turn`.'),
  continues: z.addDescription(
    z.nullable(z.string()),
    'The id of the turn that waited for approval and that this turn continues. Null if this turn does not continue another turn.',
  ),
  conversation: z.addDescription(z.string(), 'The id of the conversation.'),
  status: z.addDescription(
    z.enum(['complete', 'stopped', 'interrupted', 'refused', 'running', 'failed']),
    '`running`, or how the turn ended.',
  ),
  paused: z.addDescription(
    z.nullable(z.string()),
    'Why the run paused: the name of one of its limits (such as `max_usd`), `repeated_call`, `approval`, `budget`, `revoked` or `upstream`. With the status `running`, the run waits and then continues automatically. Null if the run has not paused.',
  ),
  error: z.addDescription(
    z.nullable(
      z.object({
        type: z.addDescription(z.string(), 'The type of the error, such as `overloaded_error`.'),
        message: z.addDescription(z.string(), 'A sentence that explains the error.'),
      }),
    ),
    'The error with which the turn ended, as long as its events are stored. Null if the turn ended without an error.',
  ),
  began_at: z.addDescription(z.iso.datetime(), 'When the turn began; ISO 8601, UTC.'),
  ended_at: z.addDescription(
    z.nullable(z.iso.datetime()),
    'When the turn ended; ISO 8601, UTC. Null if the turn is running.',
  ),
  cost_usd: z.addDescription(z.number(), 'The cost of all steps, in US dollars.'),
  steps: z.addDescription(
    z.array(
      z.object({
        request_id: z.addDescription(z.string(), 'The id of the request in the ledger.'),
        status: z.addDescription(z.string(), 'The status of the request, as in the ledger: for example `complete`.'),
        model: z.addDescription(z.string(), 'The id of the model.'),
        stop_reason: z.addDescription(
          z.nullable(z.string()),
          'Why the response ended, for example `tool_use`. Null if the response failed or was stopped.',
        ),
        lowered_by: z.createOptionalField(loweredBySchema, 'The limit that lowered `max_tokens`. Only if one did.'),
        usage: z.addDescription(
          z.nullable(z.looseObject({})),
          'The usage that the upstream reported. Null if the upstream reported no usage.',
        ),
        cost_usd: z.addDescription(z.number(), 'The cost of the step, in US dollars.'),
        ttft_ms: z.addDescription(
          z.nullable(z.number()),
          'Milliseconds to the first byte of the response. Null if unknown.',
        ),
        calls: z.addDescription(
          z.array(
            z.object({
              id: z.addDescription(z.string(), 'The id of the `tool_use` block.'),
              name: z.addDescription(z.string(), 'The name of the tool.'),
              conversation: z.addDescription(
                z.optional(z.string()),
                'Only for a call of a subagent: the id of its conversation.',
              ),
              input: z.addDescription(z.unknown(), 'The input of the call. Absent if it is not stored.'),
              approval: z.addDescription(
                z.nullable(z.object({ id: z.addDescription(z.string(), 'The id of the approval.'), ...decision })),
                'The approval that the call needs or needed. Null if the call needs no approval.',
              ),
              ms: z.addDescription(
                z.nullable(z.number()),
                'How long the call took, in milliseconds. Null if the call has not returned.',
              ),
              tries: z.addDescription(z.int(), 'How often the call was made: more than once only after a crash.'),
              is_error: z.addDescription(
                z.nullable(z.boolean()),
                'Whether the call failed. Null if the call has not returned.',
              ),
              bytes: z.addDescription(
                z.nullable(z.int()),
                'The size of the result in bytes. Null if the call has not returned.',
              ),
            }),
          ),
          'The tool calls that Sluice made.',
        ),
      }),
    ),
    'The requests that were sent to the upstream: one, or the steps of a run.',
  ),
});

/** The event that is sent when a turn in the background has ended. */
export const turnEnded = z.object({
  type: createObjectTypeSchema('turn.ended'),
  event_id: z.addDescription(z.string(), 'The id of the event, which is the same in every delivery attempt.'),
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

export const conversationDeleted = z.object({
  type: createObjectTypeSchema('conversation_deleted'),
  id: z.addDescription(z.string(), 'The id of the deleted conversation.'),
});

export type ConversationRow = z.output<typeof conversationRow>;
/** How much an import leaves out. */
export type ImportOmissions = NonNullable<z.output<typeof conversationReport>['dropped']>;
