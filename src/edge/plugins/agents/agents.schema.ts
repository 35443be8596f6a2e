import { modelByLabel, modelName } from '../../classify/model-by-label.schema.ts';
import { messagesRequest } from '../../claude/messages.schema.ts';
import type { RequestFieldDefinitions } from '../../claude/request/field-definition.ts';
import { secretNameShape } from '../../config/tool-secrets.ts';
import { historySetting } from '../../conversations/history/history.schema.ts';
import { createFieldError } from '../../kit/http/validate.ts';
import * as z from '../../kit/http/zod.ts';
import { fallbackModels } from '../../money/budget/limits.schema.ts';
import { prefixRef } from '../../registry/prefixes/prefixes.schema.ts';
import { runLimits } from '../../registry/tools/run-limits.schema.ts';
import { agentRef, createPutSchemas } from '../../registry/versions/versions.schema.ts';

/** The most bytes of a stored version. Each conversation keeps a copy of its own. */
export const MAX_AGENT_BYTES = 512 * 1024;

/** The field by which a request chooses among its agent's tools. */
export const narrowedTools = z.createOptionalField(
  z
    .array(
      z.union([z.string(), z.strictObject({ name: z.string(), approval: z.optional(z.literal('always')) })], {
        error: 'Input should be the name of a tool of the agent, or {"name": …, "approval": "always"}',
      }),
      { error: 'Input should be a list of tools of the agent' },
    )
    .check(z.maxLength(1_000)),
  'Of the agent’s tools only these are offered, by their names; with `{"name", "approval": "always"}` each call of one waits for an approval. Without it all are offered.',
);

/** What a request says of its agent. */
export const AGENT_MEMBERS: RequestFieldDefinitions = {
  agent: {
    schema: z.createOptionalField(
      agentRef,
      'The stored agent that answers: `name` or `name@version`; also as the header `sluice-agent`. A conversation keeps the version; without one, the agent may offer no tools with `run`. Its model, `max_tokens` and thinking hold, `system` and `tools` come behind its own, and the limits can only be lowered.',
    ),
    header: 'sluice-agent',
    mayBeNull: true,
    open: ['bound', 'count'],
  },
  agent_tools: {
    schema: narrowedTools,
    inPrompt: true,
    open: ['count'],
    withoutAgent: 'there is no agent here whose tools it could narrow. Name one by `agent`, or leave it out.',
  },
};

const anything = z.looseObject({});
const tag = { type: z.string({ error: createFieldError('Input should be a valid string') }).check(z.minLength(1)) };
const withType = z.looseObject(tag);
const thinking = z.looseObject({ ...tag, budget_tokens: z.optional(z.int()) }).check(
  z.refine(({ type, budget_tokens }) => type !== 'enabled' || budget_tokens !== undefined, {
    path: ['budget_tokens'],
    error: 'Field required',
  }),
);
const number = z.optional(z.number());
const word = z.optional(z.string().check(z.minLength(1), z.maxLength(64)));

/** An MCP server that the API itself calls. */
const calledServer = z.looseObject({
  ...tag,
  name: z.string(),
  url: z.string().check(z.maxLength(2_048)),
  authorization_token: z.createOptionalField(
    z.strictObject(secretNameShape, {
      error:
        'must be {"secret": "NAME"}: a token itself is never stored. The operator sets TOOL_SECRET_NAME=host=token',
    }),
    '`{"secret": "NAME"}`, for the setting TOOL_SECRET_NAME, whose host must be that of the `url`; it needs the scope `tools`.',
  ),
});
export type AgentMcpServer = z.output<typeof calledServer>;

/** The parts of a version. Only the API checks the rest. */
const agentFields = z
  .strictObject({
    description: z.optional(z.string().check(z.maxLength(1_000))),
    model: z.addDescription(
      z.union([modelName, modelByLabel], {
        error: createFieldError(
          'Input should be a model, or {"by": …, "models": {…}, "otherwise": …} to choose one by a classifier',
        ),
      }),
      'Who answers, whatever a request says; or how a classifier chooses who answers.',
    ),
    max_tokens: z.addDescription(
      messagesRequest.shape.max_tokens,
      'The longest answer in tokens, whatever a request says.',
    ),
    system: z.createOptionalField(
      z.union(
        [z.string(), z.array(z.looseObject({ type: z.literal('text'), text: z.string().check(z.minLength(1)) }))],
        {
          error: 'Input should be a string or a list of text blocks',
        },
      ),
      'The system prompt. What a request says as its `system` comes behind it.',
    ),
    prefix: z.createOptionalField(
      prefixRef,
      'The stored prefix whose system and tools it takes, in place of its own, at the moment when it is stored: `name`, or `name@version`.',
    ),
    tools: z.createOptionalField(
      z.array(anything),
      'Tools. The edge itself calls those with `run`; to store one with an address needs the scope `tools`. A request adds its own behind them.',
    ),
    mcp_servers: z.createOptionalField(
      z.array(calledServer).check(z.maxLength(20)),
      'MCP servers that the API calls. The names of those that `agent_tools` offers stand beside those of the tools.',
    ),
    container: z.createOptionalField(
      z.strictObject(
        { skills: z.array(anything).check(z.maxLength(20)) },
        { error: 'Input should be {"skills": […]}: an agent names no container by its id' },
      ),
      'The skills that each of its containers begins with.',
    ),
    fallbacks: z.createOptionalField(
      z.union([z.literal('default'), z.array(z.looseObject({ model: z.string() })).check(z.maxLength(20))], {
        error: 'Input should be "default", or a list of {"model": …}',
      }),
      'Models to which the API itself goes on where one declines; `fallback_models` are those of this edge.',
    ),
    betas: z.createOptionalField(
      z.array(z.string().check(z.regex(/^[\w.:-]{1,64}$/, 'must be the name of a beta'))).check(z.maxLength(20)),
      'Names that join the header `anthropic-beta` of each request.',
    ),
    thinking: z.optional(thinking),
    tool_choice: z.optional(withType),
    output_config: z.optional(z.looseObject({ effort: z.optional(z.string().check(z.minLength(1))) })),
    context_management: z.optional(z.looseObject({ edits: z.optional(z.array(withType)) })),
    stop_sequences: z.optional(z.array(z.string().check(z.regex(/\S/, 'must have more than white space')))),
    temperature: number,
    top_p: number,
    top_k: number,
    service_tier: word,
    speed: word,
    inference_geo: word,
    fallback_models: z.createOptionalField(
      fallbackModels,
      'Models that step in where its own is overloaded, or the budget does not pay for it.',
    ),
    history: z.createOptionalField(
      historySetting,
      'What happens to the histories of its conversations that grow too long, unless they say it.',
    ),
    limits: z.createOptionalField(
      z.strictObject(runLimits.shape),
      'The limits of each of its runs. A request may lower them, and never raise them.',
    ),
    approvers: z.addDescription(
      z._default(z.enum(['owner', 'admin'], { error: "Input should be 'owner' or 'admin'" }), 'owner'),
      'Who decides on calls that need an approval: the account whose conversation it is, or an admin alone.',
    ),
  })
  .check(
    z.refine(
      ({ thinking, max_tokens, betas = [] }) =>
        (thinking?.budget_tokens ?? 0) < max_tokens || betas.some((name) => name.startsWith('interleaved-thinking-')),
      { path: ['thinking', 'budget_tokens'], error: 'must be below max_tokens' },
    ),
  );
export type AgentFields = z.output<typeof agentFields>;

/** The two bodies of `PUT /agents/:name`. */
export const putAgent = createPutSchemas(agentFields, agentRef);
